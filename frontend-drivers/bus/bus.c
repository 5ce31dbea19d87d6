// SPDX-License-Identifier: GPL-2.0-only
/*
 * The bus of split devices: looks for them in the store, and tells drivers what the other side does (docs/abi/bus.md).
 */
#define pr_fmt(fmt) "paravane: " fmt

#include <linux/export.h>
#include <linux/init.h>
#include <linux/kmod.h>
#include <linux/list.h>
#include <linux/mutex.h>
#include <linux/slab.h>
#include <linux/wait.h>

#include "bus.h"

#define FRONTS	"device"	/* TYPE/NUMBER below it */
#define BACKS	"backend"	/* TYPE/DOMAIN/NUMBER below it */

static const char *const state_names[] = {
	[PVN_GONE] = "", [PVN_NEW] = "new", [PVN_OFFERED] = "offered", [PVN_READY] = "ready",
	[PVN_CONNECTED] = "connected", [PVN_CLOSING] = "closing", [PVN_CLOSED] = "closed",
};

static DECLARE_WAIT_QUEUE_HEAD(states);		/* somebody's has changed */
static DECLARE_COMPLETION(looked);		/* once, at least */

static struct workqueue_struct *look_queue;	/* ordered: one look at a time */
static struct workqueue_struct *device_queue;

/* --- states ----------------------------------------------------------------------------------------------------- */

/* A state that nobody knows is one that we do not wait for. */
static enum pvn_state read_state(const char *home)
{
	char text[16];
	int state;
	int error = pvn_store_read(home, "state", text, sizeof(text));

	if (error)
		return error == -E2BIG ? PVN_NEW : PVN_GONE;
	state = match_string(state_names, ARRAY_SIZE(state_names), text);
	return state <= PVN_GONE ? PVN_NEW : state;
}

int pvn_set_state(struct pvn_device *device, enum pvn_state state)
{
	int error;

	if (state == PVN_CONNECTED)
		pvn_store_remove(device->home, "error");	/* it is over */
	error = pvn_store_update(device->home, "state", "%s", state_names[state]);

	WRITE_ONCE(device->state, state);
	wake_up_all(&states);
	return error;
}
EXPORT_SYMBOL_GPL(pvn_set_state);

void pvn_wait_for_other(struct pvn_device *device, unsigned long wanted)
{
	unsigned long left = 5 * HZ;
	int seen;

	do {
		seen = atomic_read(&device->changes);
		device->other_state = read_state(device->other);
		if (BIT(device->other_state) & wanted)
			return;
		left = wait_event_timeout(states, atomic_read(&device->changes) != seen, left);
	} while (left);
	dev_warn(&device->dev, "the other side does not answer: it is %s\n", state_names[device->other_state]);
}
EXPORT_SYMBOL_GPL(pvn_wait_for_other);

void pvn_device_error(struct pvn_device *device, const char *format, ...)
{
	struct va_format text = { .fmt = format };
	va_list arguments;

	va_start(arguments, format);
	text.va = &arguments;
	dev_err(&device->dev, "%pV\n", &text);
	pvn_store_update(device->home, "error", "%pV", &text);
	va_end(arguments);
}
EXPORT_SYMBOL_GPL(pvn_device_error);

bool pvn_device_online(struct pvn_device *device)
{
	u64 online;

	return pvn_store_read_number(device->home, "online", &online) || online;
}
EXPORT_SYMBOL_GPL(pvn_device_online);

/* --- devices and drivers ---------------------------------------------------------------------------------------- */

static void look_at_other(struct work_struct *work)
{
	struct pvn_device *device = container_of(to_delayed_work(work), struct pvn_device, work);

	if (xchg(&device->attach, false) && device_attach(&device->dev) < 0)
		dev_warn(&device->dev, "its driver does not begin\n");
	device_lock(&device->dev);
	if (device->dev.driver) {
		device->other_state = read_state(device->other);
		to_pvn_driver(device->dev.driver)->changed(device);
	}
	device_unlock(&device->dev);
}

void pvn_device_look(struct pvn_device *device)
{
	mod_delayed_work(device_queue, &device->work, 0);
}
EXPORT_SYMBOL_GPL(pvn_device_look);

void pvn_device_look_later(struct pvn_device *device)
{
	queue_delayed_work(device_queue, &device->work, HZ);
}
EXPORT_SYMBOL_GPL(pvn_device_look_later);

static void attach_later(struct pvn_device *device)
{
	WRITE_ONCE(device->attach, true);
	pvn_device_look_later(device);
}

static void other_changed(struct pvn_watch *watch)
{
	struct pvn_device *device = container_of(watch, struct pvn_device, other_watch);

	atomic_inc(&device->changes);
	wake_up_all(&states);
	pvn_device_look(device);
}

static void online_changed(struct pvn_watch *watch)
{
	pvn_device_look(container_of(watch, struct pvn_device, online_watch));
}

static int bus_match(struct device *dev, const struct device_driver *driver)
{
	const struct pvn_device *device = to_pvn_device(dev);
	const struct pvn_driver *ours = to_pvn_driver(driver);

	return device->back == ours->back && !strcmp(device->type, ours->type);
}

static int bus_probe(struct device *dev)
{
	struct pvn_device *device = to_pvn_device(dev);
	int error = to_pvn_driver(dev->driver)->probe(device);

	/* What was seen of the other side was seen by nobody. */
	if (!error)
		pvn_device_look(device);
	if (error == -ENOMEM)
		attach_later(device);
	return error;
}

static void bus_remove(struct device *dev)
{
	to_pvn_driver(dev->driver)->remove(to_pvn_device(dev));
}

static int bus_uevent(const struct device *dev, struct kobj_uevent_env *env)
{
	const struct pvn_device *device = to_pvn_device(dev);

	return add_uevent_var(env, "MODALIAS=pvn:%s-%s", device->type, device->back ? "back" : "front");
}

static ssize_t state_show(struct device *dev, struct device_attribute *attribute, char *buffer)
{
	return sysfs_emit(buffer, "%s\n", state_names[to_pvn_device(dev)->state]);
}
static DEVICE_ATTR_RO(state);

static ssize_t home_show(struct device *dev, struct device_attribute *attribute, char *buffer)
{
	return sysfs_emit(buffer, "%s\n", to_pvn_device(dev)->home);
}
static DEVICE_ATTR_RO(home);

static ssize_t modalias_show(struct device *dev, struct device_attribute *attribute, char *buffer)
{
	const struct pvn_device *device = to_pvn_device(dev);

	return sysfs_emit(buffer, "pvn:%s-%s\n", device->type, device->back ? "back" : "front");
}
static DEVICE_ATTR_RO(modalias);

static struct attribute *device_attrs[] = {
	&dev_attr_state.attr, &dev_attr_home.attr, &dev_attr_modalias.attr, NULL,
};
ATTRIBUTE_GROUPS(device);

static const struct bus_type pvn_bus = {
	.name = "paravane",
	.match = bus_match,
	.probe = bus_probe,
	.remove = bus_remove,
	.uevent = bus_uevent,
	.dev_groups = device_groups,
};

int __pvn_register_driver(struct pvn_driver *driver, struct module *owner, const char *module_name)
{
	if (!pvn_domain())
		return -ENODEV;
	driver->driver.bus = &pvn_bus;
	driver->driver.owner = owner;
	driver->driver.mod_name = module_name;
	return driver_register(&driver->driver);
}
EXPORT_SYMBOL_GPL(__pvn_register_driver);

void pvn_unregister_driver(struct pvn_driver *driver)
{
	driver_unregister(&driver->driver);
}
EXPORT_SYMBOL_GPL(pvn_unregister_driver);

/* --- looking for devices ---------------------------------------------------------------------------------------- */

static void release_device(struct device *dev)
{
	kfree(to_pvn_device(dev));
}

/* -ENOMEM: it is there, and was not added. */
static int add_device(const char *type, bool back, unsigned int domain, unsigned int number)
{
	struct pvn_device *device = kzalloc(sizeof(*device), GFP_KERNEL);
	u64 other_domain;
	int error;

	if (!device)
		return -ENOMEM;
	INIT_DELAYED_WORK(&device->work, look_at_other);
	strscpy(device->type, type);
	device->back = back;
	device->number = number;
	device->present = true;
	device->dev.bus = &pvn_bus;
	device->dev.release = release_device;
	if (back)
		snprintf(device->home, sizeof(device->home), BACKS "/%s/%u/%u", type, domain, number);
	else
		snprintf(device->home, sizeof(device->home), FRONTS "/%s/%u", type, number);
	/* Places are made whole.  One that lacks something is not ours to understand, or is going. */
	error = pvn_store_read(device->home, back ? "frontend" : "backend", device->other, sizeof(device->other));
	if (!error)
		error = pvn_store_read_number(device->home, back ? "frontend-domain" : "backend-domain", &other_domain);
	if (error || other_domain > U16_MAX) {
		kfree(device);
		return error == -ENOMEM ? error : 0;
	}
	device->other_domain = other_domain;
	device->state = read_state(device->home);
	if (back)
		error = dev_set_name(&device->dev, "%s-back-%u-%u", type, domain, number);
	else
		error = dev_set_name(&device->dev, "%s-%u", type, number);
	if (!error) {
		error = device_register(&device->dev);
		if (error)
			put_device(&device->dev);
	} else {
		kfree(device);
	}
	if (error)
		return error == -ENOMEM ? error : 0;
	error = pvn_watch(&device->other_watch, 1, other_changed, device->other, "");
	if (!error && back)
		error = pvn_watch(&device->online_watch, 0, online_changed, device->home, "online");
	if (error)
		dev_err(&device->dev, "cannot watch the other side: %d\n", error);
	if (!READ_ONCE(device->dev.driver)) {
		attach_later(device);
		request_module_nowait("pvn:%s-%s", type, back ? "back" : "front");
	}
	return 0;
}

static void remove_device(struct pvn_device *device)
{
	device->gone = true;
	device_unregister(&device->dev);	/* its driver may still wait for the other side */
	pvn_unwatch(&device->other_watch);
	pvn_unwatch(&device->online_watch);
	cancel_delayed_work_sync(&device->work);
}

struct place {
	char type[32];
	bool back;
	unsigned int domain;
};

static int is_it(struct device *dev, const void *data)
{
	const struct pvn_device *device = to_pvn_device(dev);
	const char *home = data;

	return !strcmp(device->home, home);
}

static int find_device(void *data, const char *name)
{
	struct place *place = data;
	char home[PVN_PATH_MAX];
	struct device *dev;
	unsigned int number;

	if (kstrtouint(name, 10, &number))
		return 0;
	if (place->back)
		snprintf(home, sizeof(home), BACKS "/%s/%u/%u", place->type, place->domain, number);
	else
		snprintf(home, sizeof(home), FRONTS "/%s/%u", place->type, number);
	dev = bus_find_device(&pvn_bus, NULL, home, is_it);
	if (!dev)
		return add_device(place->type, place->back, place->domain, number);
	to_pvn_device(dev)->present = true;
	put_device(dev);
	return 0;
}

/* What has vanished meanwhile is no error. */
static int look_below(const char *path, int (*each)(void *, const char *), struct place *place)
{
	int error = pvn_store_list(path, each, place);

	return error == -ENOENT ? 0 : error;
}

static int look_in_domain(void *data, const char *name)
{
	struct place *place = data;
	char path[PVN_PATH_MAX];

	if (kstrtouint(name, 10, &place->domain))
		return 0;
	snprintf(path, sizeof(path), BACKS "/%s/%u", place->type, place->domain);
	return look_below(path, find_device, place);
}

static int look_at_type(void *data, const char *name)
{
	struct place *place = data;
	char path[PVN_PATH_MAX];

	if (strscpy(place->type, name) < 0)
		return 0;
	snprintf(path, sizeof(path), "%s/%s", place->back ? BACKS : FRONTS, name);
	return look_below(path, place->back ? look_in_domain : find_device, place);
}

static int forget_presence(struct device *dev, void *data)
{
	to_pvn_device(dev)->present = false;
	return 0;
}

static int is_absent(struct device *dev, const void *data)
{
	return !to_pvn_device(dev)->present;
}

static void look_for_devices(struct work_struct *work)
{
	struct place fronts = { .back = false }, backs = { .back = true };
	struct device *dev;
	int error;

	bus_for_each_dev(&pvn_bus, NULL, NULL, forget_presence);
	error = look_below(FRONTS, look_at_type, &fronts) ?: look_below(BACKS, look_at_type, &backs);
	if (error) {
		/* What was not seen may be there all the same. */
		queue_delayed_work(look_queue, to_delayed_work(work), HZ);
		return;
	}
	while ((dev = bus_find_device(&pvn_bus, NULL, NULL, is_absent))) {
		remove_device(to_pvn_device(dev));
		put_device(dev);
	}
	complete_all(&looked);
}

static DECLARE_DELAYED_WORK(look_work, look_for_devices);

static void places_changed(struct pvn_watch *watch)
{
	mod_delayed_work(look_queue, &look_work, 0);
}

static struct pvn_watch fronts_watch, backs_watch;

/* The first looks follow: a watch fires when it begins. */
static void begin_to_look(struct work_struct *work)
{
	int error = pvn_watch(&fronts_watch, 2, places_changed, FRONTS, "");

	if (!error)
		error = pvn_watch(&backs_watch, 3, places_changed, BACKS, "");
	if (error)
		pr_err("no devices are looked for: %d\n", error);
}

static DECLARE_WORK(begin_work, begin_to_look);

static int __init bus_init(void)
{
	int error;

	if (!pvn_domain())
		return 0;
	look_queue = alloc_ordered_workqueue("pvn-bus", WQ_MEM_RECLAIM);
	device_queue = alloc_workqueue("pvn-device", WQ_MEM_RECLAIM | WQ_UNBOUND, 0);
	if (!look_queue || !device_queue)
		return -ENOMEM;
	error = bus_register(&pvn_bus);
	if (!error)
		queue_work(look_queue, &begin_work);
	return error;
}
/* Modules can be asked for once the initial file system is on its way: its call of this kind comes before. */
rootfs_initcall(bus_init);

/* --- the start -------------------------------------------------------------------------------------------------- */

static int is_on_its_way(struct device *dev, void *data)
{
	const struct pvn_device *device = to_pvn_device(dev);
	enum pvn_state state = READ_ONCE(device->state);

	return !device->back && dev->driver && state != PVN_CONNECTED && state != PVN_CLOSED;
}

/* The root may be on one of them. */
static int __init wait_for_devices(void)
{
	unsigned long left = 20 * HZ;

	if (!pvn_domain() || pvn_privileged() || !pvn_start_info->store_pfn)
		return 0;
	left = wait_for_completion_timeout(&looked, left);
	if (left)
		left = wait_event_timeout(states, !bus_for_each_dev(&pvn_bus, NULL, NULL, is_on_its_way), left);
	if (!left)
		pr_warn("not all devices are connected yet; going on without\n");
	return 0;
}
late_initcall(wait_for_devices);
