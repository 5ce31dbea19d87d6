// SPDX-License-Identifier: GPL-2.0-only
/*
 * The store, as this kernel uses it: one request at a time over the domain's ring, and watches (docs/abi/store.md).
 * dom0's ring is made here and handed to the daemon through /dev/pvn.
 */
#define pr_fmt(fmt) "paravane: " fmt

#include <linux/export.h>
#include <linux/init.h>
#include <linux/kernel.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/wait.h>

#include <paravane/store_ring.h>

#include "bus.h"
#include "pb_decode.h"
#include "pb_encode.h"
#include "store.h"
#include "store.pb.h"

/* A message and the length before it, two bytes at most. */
#define REQUEST_MAX	(pvn_store_Request_size + 2)
static_assert(REQUEST_MAX <= PVN_STORE_REQUESTS_SIZE);
static_assert(pvn_store_FromStore_size + 2 <= PVN_STORE_ANSWERS_SIZE);

static struct pvn_store_ring *ring;
static u32 ring_port;
static u64 ring_pfn;
static u32 produced, consumed;		/* of requests, of answers, in bytes: what stands in the ring is for the daemon to read */

static DEFINE_MUTEX(lock);		/* one request at a time: guards what follows, and `produced` */
static pvn_store_Request request;
static u8 request_bytes[REQUEST_MAX];
static u32 last_id;
static pvn_store_Reply reply;

/*
 * The request whose reply is waited for; 0: none.  Whoever holds the lock sets it, and owns `reply` when it is 0 again.
 */
static u32 wanted_id;

static bool broken;			/* this side has stopped to listen: what came made no sense */
static DECLARE_WAIT_QUEUE_HEAD(moved);	/* by the daemon */
static struct workqueue_struct *work_queue;

static DEFINE_MUTEX(watches_lock);	/* guards the list and each call of fired() */
static LIST_HEAD(watches);
static u64 last_token;

/* --- what comes ------------------------------------------------------------------------------------------------- */

static u32 answers_here(void)
{
	return smp_load_acquire(&ring->answers_produced) - consumed;
}

static bool read_answer_byte(pb_istream_t *stream, pb_byte_t *to, size_t count)
{
	u32 *at = stream->state;

	while (count--)
		*to++ = READ_ONCE(ring->answers[(*at)++ % PVN_STORE_ANSWERS_SIZE]);
	return true;
}

static void take_event(const pvn_store_Event *event)
{
	struct pvn_watch *watch;

	mutex_lock(&watches_lock);
	list_for_each_entry(watch, &watches, entry)
		if (watch->token == event->token)
			watch->fired(watch);
	mutex_unlock(&watches_lock);
}

static void take_reply(const pvn_store_Reply *what)
{
	/* After the daemon was started anew a reply may come twice. */
	if (what->id && what->id == smp_load_acquire(&wanted_id)) {
		reply = *what;
		smp_store_release(&wanted_id, 0);
	}
}

/* The daemon makes a message visible as a whole. */
static void take_answers(struct work_struct *work)
{
	static pvn_store_FromStore message;	/* the work runs once at a time */
	u32 count;

	while (!broken && (count = answers_here())) {
		u32 at = consumed;
		pb_istream_t stream = { .callback = read_answer_byte, .state = &at, .bytes_left = count };

		if (count > PVN_STORE_ANSWERS_SIZE ||
		    !pb_decode_ex(&stream, pvn_store_FromStore_fields, &message, PB_DECODE_DELIMITED)) {
			pr_err("the store sent what is no message; it is not used any more\n");
			WRITE_ONCE(broken, true);
			break;
		}
		consumed = at;
		smp_store_release(&ring->answers_consumed, at);
		pvn_notify(ring_port);
		if (message.which_what == pvn_store_FromStore_reply_tag)
			take_reply(&message.what.reply);
		else if (message.which_what == pvn_store_FromStore_event_tag)
			take_event(&message.what.event);
	}
	wake_up(&moved);
}

static DECLARE_WORK(answers_work, take_answers);

static irqreturn_t signalled(int irq, void *data)
{
	queue_work(work_queue, &answers_work);
	return IRQ_HANDLED;
}

/* --- what is asked ---------------------------------------------------------------------------------------------- */

static u32 room_in_ring(void)
{
	return PVN_STORE_REQUESTS_SIZE - (produced - smp_load_acquire(&ring->requests_consumed));
}

static bool given_up(void)
{
	return READ_ONCE(broken) || READ_ONCE(ring->state) == PVN_STORE_BROKEN;
}

/*
 * Sends `request` and waits for `reply`; both are the holder's of the lock.  The wait has no end but the daemon's: it is
 * idle, no load and no hung task, for dom0's daemon may be started much later.
 */
static int ask(void)
{
	pb_ostream_t stream = pb_ostream_from_buffer(request_bytes, sizeof(request_bytes));
	u32 i;

	lockdep_assert_held(&lock);
	if (!ring)
		return -ENODEV;
	if (!++last_id)
		++last_id;
	request.id = last_id;
	if (!pb_encode_ex(&stream, pvn_store_Request_fields, &request, PB_ENCODE_DELIMITED))
		return -EINVAL;
	wait_event_idle(moved, given_up() || room_in_ring() >= stream.bytes_written);
	if (given_up())
		return -EPIPE;
	smp_store_release(&wanted_id, last_id);
	for (i = 0; i < stream.bytes_written; i++)
		ring->requests[(produced + i) % PVN_STORE_REQUESTS_SIZE] = request_bytes[i];
	produced += stream.bytes_written;
	smp_store_release(&ring->requests_produced, produced);
	pvn_notify(ring_port);
	wait_event_idle(moved, given_up() || !smp_load_acquire(&wanted_id));
	if (given_up())
		return -EPIPE;
	return -(int)reply.error;
}

/* `to` gets FOLDER/NAME, or one of them; false: too long. */
static bool join(char *to, size_t size, const char *folder, const char *name)
{
	int length = snprintf(to, size, "%s%s%s", folder, *folder && *name ? "/" : "", name);

	return length < size;
}

/* The lock is taken and a request begun; NULL if the path is too long. */
static pvn_store_Request *begin(u16 kind)
{
	mutex_lock(&lock);
	memset(&request, 0, sizeof(request));
	request.which_what = kind;
	return &request;
}

static int end(int error)
{
	mutex_unlock(&lock);
	return error;
}

int pvn_store_read(const char *folder, const char *name, char *value, size_t size)
{
	char *path = begin(pvn_store_Request_read_tag)->what.read.path;
	int error;

	if (!join(path, sizeof(request.what.read.path), folder, name))
		return end(-ENAMETOOLONG);
	error = ask();
	if (error)
		return end(error);
	if (reply.which_what != pvn_store_Reply_value_tag)
		return end(-EPROTO);
	if (reply.what.value.size >= size)
		return end(-E2BIG);
	memcpy(value, reply.what.value.bytes, reply.what.value.size);
	value[reply.what.value.size] = 0;
	return end(0);
}
EXPORT_SYMBOL_GPL(pvn_store_read);

int pvn_store_read_number(const char *folder, const char *name, u64 *number)
{
	char value[24];
	int error = pvn_store_read(folder, name, value, sizeof(value));

	return error ? error : kstrtou64(value, 10, number);
}
EXPORT_SYMBOL_GPL(pvn_store_read_number);

static int write_value(u32 transaction, const char *folder, const char *name, const char *format, va_list arguments)
{
	pvn_store_Write *write = &begin(pvn_store_Request_write_tag)->what.write;
	char value[PVN_VALUE_MAX];
	int size;

	request.transaction = transaction;
	if (!join(write->path, sizeof(write->path), folder, name))
		return end(-ENAMETOOLONG);
	static_assert(sizeof(value) == sizeof(write->value.bytes) + 1);
	size = vsnprintf(value, sizeof(value), format, arguments);
	if (size >= sizeof(value))
		return end(-E2BIG);
	memcpy(write->value.bytes, value, size);
	write->value.size = size;
	return end(ask());
}

int pvn_store_write(const char *folder, const char *name, const char *format, ...)
{
	va_list arguments;
	int error;

	va_start(arguments, format);
	error = write_value(0, folder, name, format, arguments);
	va_end(arguments);
	return error;
}
EXPORT_SYMBOL_GPL(pvn_store_write);

static int begin_transaction(u32 *transaction)
{
	int error;

	begin(pvn_store_Request_begin_tag);
	error = ask();
	*transaction = reply.what.transaction;
	return end(!error && reply.which_what != pvn_store_Reply_transaction_tag ? -EPROTO : error);
}

static int look_for(u32 transaction, const char *path)
{
	pvn_store_Request *ours = begin(pvn_store_Request_read_tag);

	ours->transaction = transaction;
	return end(strscpy(ours->what.read.path, path) < 0 ? -ENAMETOOLONG : ask());
}

static int end_transaction(u32 transaction, bool commit)
{
	pvn_store_Request *ours = begin(pvn_store_Request_end_tag);

	ours->transaction = transaction;
	ours->what.end.commit = commit;
	return end(ask());
}

int pvn_store_update(const char *folder, const char *name, const char *format, ...)
{
	va_list arguments;
	u32 transaction;
	int error;

	do {
		error = begin_transaction(&transaction);
		if (error)
			return error;
		error = look_for(transaction, folder);
		if (!error) {
			va_start(arguments, format);
			error = write_value(transaction, folder, name, format, arguments);
			va_end(arguments);
		}
		if (error)
			end_transaction(transaction, false);
		else
			error = end_transaction(transaction, true);
	} while (error == -EAGAIN);
	return error;
}
EXPORT_SYMBOL_GPL(pvn_store_update);

int pvn_store_remove(const char *folder, const char *name)
{
	char *path = begin(pvn_store_Request_remove_tag)->what.remove.path;

	return end(join(path, sizeof(request.what.remove.path), folder, name) ? ask() : -ENAMETOOLONG);
}
EXPORT_SYMBOL_GPL(pvn_store_remove);

int pvn_store_list(const char *path, int (*each)(void *data, const char *name), void *data)
{
	pvn_store_Names *names = kmalloc(sizeof(*names), GFP_KERNEL);
	char after[sizeof(request.what.list.after)] = "";
	int error = 0, i;

	if (!names)
		return -ENOMEM;
	do {
		pvn_store_List *list = &begin(pvn_store_Request_list_tag)->what.list;

		strscpy(list->after, after);
		error = join(list->path, sizeof(list->path), path, "") ? ask() : -ENAMETOOLONG;
		if (!error && reply.which_what != pvn_store_Reply_names_tag)
			error = -EPROTO;
		if (!error)
			*names = reply.what.names;
		end(0);
		for (i = 0; !error && i < names->name_count; i++)
			error = each(data, names->name[i]);
		if (!error && names->name_count)
			strscpy(after, names->name[names->name_count - 1]);
	} while (!error && names->more && names->name_count);
	kfree(names);
	return error;
}
EXPORT_SYMBOL_GPL(pvn_store_list);

/* --- watches ---------------------------------------------------------------------------------------------------- */

static int change_watch(u16 kind, const struct pvn_watch *watch)
{
	pvn_store_Request *ours = begin(kind);

	if (kind == pvn_store_Request_watch_tag) {
		strscpy(ours->what.watch.path, watch->path);
		ours->what.watch.depth = watch->depth;
		ours->what.watch.token = watch->token;
	} else {
		strscpy(ours->what.unwatch.path, watch->path);
		ours->what.unwatch.token = watch->token;
	}
	return end(ask());
}

static void forget(struct pvn_watch *watch)
{
	mutex_lock(&watches_lock);
	list_del(&watch->entry);
	mutex_unlock(&watches_lock);
	watch->fired = NULL;
}

int pvn_watch(struct pvn_watch *watch, u32 depth, void (*fired)(struct pvn_watch *), const char *folder, const char *name)
{
	int error;

	if (!join(watch->path, sizeof(watch->path), folder, name))
		return -ENAMETOOLONG;
	watch->depth = depth;
	watch->fired = fired;
	mutex_lock(&watches_lock);
	watch->token = ++last_token;
	list_add_tail(&watch->entry, &watches);
	mutex_unlock(&watches_lock);
	error = change_watch(pvn_store_Request_watch_tag, watch);
	if (error)
		forget(watch);
	return error;
}
EXPORT_SYMBOL_GPL(pvn_watch);

void pvn_unwatch(struct pvn_watch *watch)
{
	if (!watch->fired)
		return;
	change_watch(pvn_store_Request_unwatch_tag, watch);
	forget(watch);
}
EXPORT_SYMBOL_GPL(pvn_unwatch);

/* --- the ring ---------------------------------------------------------------------------------------------------- */

int pvn_store_ring(u64 *pfn, u32 *port)
{
	if (!ring)
		return -ENODEV;
	*pfn = ring_pfn;
	*port = ring_port;
	return 0;
}

static int __init find_ring(void)
{
	struct pvn_store_ring *own;
	int port;

	if (!pvn_privileged()) {
		if (!pvn_start_info->store_pfn)
			return -ENODEV;
		ring_pfn = pvn_start_info->store_pfn;
		ring_port = pvn_start_info->store_port;
		ring = __va(ring_pfn << PAGE_SHIFT);
		return 0;
	}
	own = (struct pvn_store_ring *)get_zeroed_page(GFP_KERNEL);
	if (!own)
		return -ENOMEM;
	port = pvn_alloc_port(pvn_start_info->domain_id);
	if (port < 0) {
		free_page((unsigned long)own);
		return port;
	}
	ring = own;
	ring_pfn = __pa(own) >> PAGE_SHIFT;
	ring_port = port;
	return 0;
}

static int __init store_init(void)
{
	int error;

	if (!pvn_domain())
		return 0;
	work_queue = alloc_ordered_workqueue("pvn-store", WQ_MEM_RECLAIM);
	if (!work_queue)
		return -ENOMEM;
	error = find_ring();
	if (error)
		return error;
	produced = ring->requests_produced;
	consumed = ring->answers_consumed;
	error = pvn_bind_port(ring_port, signalled, 0, "pvn-store", NULL);
	if (error < 0) {
		ring = NULL;
		return error;
	}
	queue_work(work_queue, &answers_work);
	return 0;
}
subsys_initcall(store_init);
