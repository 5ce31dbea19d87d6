// SPDX-License-Identifier: MIT
#include "guest.hpp"

extern "C" {
extern char trap_stubs[], trap_return[], user_start[], user_end[];
extern std::uint64_t entry_flags;
void syscall_stub();

void* memset(void* to, int value, std::size_t bytes)
{
    auto* p = static_cast<unsigned char volatile*>(to);
    while (bytes-- != 0) *p++ = static_cast<unsigned char>(value);
    return to;
}
void* memcpy(void* to, void const* from, std::size_t bytes)
{
    void* at = to;
    asm volatile("rep movsb" : "+D"(at), "+S"(from), "+c"(bytes) : : "memory");
    return to;
}
void* memmove(void* to, void const* from, std::size_t bytes)
{
    auto* const t = static_cast<char volatile*>(to);
    auto const* const f = static_cast<char const*>(from);
    if (t < f) return memcpy(to, from, bytes);
    while (bytes-- != 0) t[bytes] = f[bytes];
    return to;
}
std::size_t strlen(char const* text)
{
    std::size_t n = 0;
    while (text[n] != 0) ++n;
    return n;
}
}

namespace guest {
namespace {

pvn_start_info const* info;
Handler handler, step_handler;
std::uint64_t next_page;
alignas(16) char kernel_stack[16384];

struct Recovery {
    std::uint64_t rip, rsp, rbp, rbx, r12, r13, r14, r15;
    bool armed, user, masked;
    Caught caught;
    Entry entry;
} recovery;
alignas(16) char resume_stack[8192];

// By family and operation of the call: a bit for each error, and bit 0 for none.
constexpr std::size_t families = 12, operations = 32;
std::uint64_t met[families][operations][2];

void note(std::uint64_t number, long result)
{
    auto const family = number >> 8, operation = number & 0xff;
    auto const error = result < 0 ? static_cast<std::uint64_t>(-result) : 0;
    if (family >= families || operation >= operations || error >= 128) return;
    auto& word = met[family][operation][error / 64];
    auto const bit = std::uint64_t{1} << error % 64;
    if ((word & bit) == 0) __atomic_fetch_or(&word, bit, __ATOMIC_RELAXED);
}

}  // namespace

void note_result(std::uint64_t number, std::uint64_t list, std::uint64_t count, long result)
{
    if (result == -PVN_E_NOT_IMPLEMENTED && number != PVN_MMU_QUEUE && number != PVN_DOMAIN_MMU_QUEUE) return;  // no call
    note(number, result);
    if (result <= 0) return;
    auto const each = [&]<class Element>(Element const* element) {
        for (std::uint64_t i = 0; i < count; ++i)
            if (element[i].status < 0) note(number, element[i].status);
    };
    if (number == PVN_GRANT_MAP) each(reinterpret_cast<pvn_grant_map const*>(list));
    if (number == PVN_GRANT_UNMAP) each(reinterpret_cast<pvn_grant_unmap const*>(list));
    if (number == PVN_GRANT_COPY) each(reinterpret_cast<pvn_grant_copy const*>(list));
}

pvn_start_info const& start() { return *info; }

void print(std::string_view text) { (void)hypercall(PVN_SYSTEM_CONSOLE_WRITE, reinterpret_cast<std::uint64_t>(text.data()), text.size()); }

void print_hex(std::uint64_t value)
{
    char text[18] = {'0', 'x'};
    for (int i = 0; i < 16; ++i) text[2 + i] = "0123456789abcdef"[value >> (60 - 4 * i) & 15];
    print({text, 18});
}

// One line for each, as many as go into one call.
void list_results()
{
    // Each line in one call, so that what other domains say does not come in between.
    char line[] = "met nnn eee\n";
    auto const put_hex = [&](std::size_t at, std::uint64_t value) {
        for (int shift = 8; shift >= 0; shift -= 4) line[at++] = "0123456789abcdef"[value >> shift & 15];
    };
    for (std::uint64_t number = 0; number < families << 8; ++number) {
        if ((number & 0xff) >= operations) continue;
        for (std::uint64_t error = 0; error < 128; ++error) {
            if ((met[number >> 8][number & 0xff][error / 64] >> error % 64 & 1) == 0) continue;
            put_hex(4, number), put_hex(8, error);
            print(line);
        }
    }
}

void pass()
{
    list_results();
    // In one call likewise.
    char line[80] = "PASS: ";
    std::size_t end = 6;
    for (char const* name = guest_name; *name != 0 && end < sizeof line - 1;) line[end++] = *name++;
    line[end++] = '\n';
    print({line, end});
    (void)hypercall(PVN_SCHED_SHUTDOWN, PVN_SHUTDOWN_POWER_OFF);
    for (;;) asm volatile("pause");
}

void fail(char const* file, int line, char const* what, std::uint64_t got)
{
    print("FAIL: ");
    print(file);
    print(" line ");
    print_hex(static_cast<std::uint64_t>(line));
    print(": ");
    print(what);
    print(" got ");
    print_hex(got);
    print("\n");
    (void)hypercall(PVN_SCHED_SHUTDOWN, PVN_SHUTDOWN_CRASH);
    for (;;) asm volatile("pause");
}

void set_handler(Handler h) { handler = h; }
void set_step_handler(Handler h) { step_handler = h; }

void install_traps(std::uint32_t flags)
{
    auto& page = vcpu();
    auto const stub = [](unsigned n) { return reinterpret_cast<std::uint64_t>(trap_stubs) + n * 16; };
    for (unsigned n = 0; n < PVN_TRAP_COUNT; ++n)
        page.trap[n] = {stub(n), flags | (n == 3 || n == 4 || n == PVN_TRAP_INT80 ? PVN_TRAP_FROM_USER : 0u), 0};
    page.event_entry = stub(33);
    page.syscall_entry = reinterpret_cast<std::uint64_t>(&syscall_stub);
    page.kernel_sp = reinterpret_cast<std::uint64_t>(kernel_stack + sizeof kernel_stack);
}

// The recovery point is in the caller's frame: what is callee-saved is put back, and the call returns.
__attribute__((noinline)) Caught catch_trap_of(void (*code)(void*), void* argument)
{
    recovery.caught = {-1, 0, 0, 0, 0, 0};
    recovery.armed = true;
    asm volatile(
        "lea 1f(%%rip), %%rax; mov %%rax, 0(%0); mov %%rsp, 8(%0); mov %%rbp, 16(%0); mov %%rbx, 24(%0)\n"
        "mov %%r12, 32(%0); mov %%r13, 40(%0); mov %%r14, 48(%0); mov %%r15, 56(%0)\n"
        "mov %2, %%rdi; call *%1\n"
        "1:"
        : : "r"(&recovery), "r"(code), "r"(argument)
        : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "memory", "cc");
    recovery.armed = false;
    return recovery.caught;
}

Entry const& last_entry() { return recovery.entry; }

__attribute__((noinline)) Entry const& run_user(Registers const& context)
{
    auto* const frame = reinterpret_cast<Registers*>(resume_stack + sizeof resume_stack - 16) - 1;
    *frame = context;
    recovery.masked = vcpu().event_mask != 0;
    vcpu().event_mask = 1;
    recovery.user = true;
    asm volatile(
        "lea 1f(%%rip), %%rax; mov %%rax, 0(%0); mov %%rsp, 8(%0); mov %%rbp, 16(%0); mov %%rbx, 24(%0)\n"
        "mov %%r12, 32(%0); mov %%r13, 40(%0); mov %%r14, 48(%0); mov %%r15, 56(%0)\n"
        "mov %1, %%rsp; jmp trap_return\n"
        "1:"
        : : "r"(&recovery), "r"(frame)
        : "rax", "rcx", "rdx", "rsi", "rdi", "r8", "r9", "r10", "r11", "memory", "cc");
    return recovery.entry;
}

void use_user_memory()
{
    std::uint64_t at = user_code;
    for (auto const* page = user_start; page != user_end; page += 4096, at += 4096) {
        auto const e = map_user(at, pfn_of(page), 5);
        if (e != 0) fail(__FILE__, __LINE__, "user code can be mapped", static_cast<std::uint64_t>(e));
    }
    auto const e = map_user(user_stack, pfn_of(allocate_page()), 7 | 1ull << 63);
    if (e != 0) fail(__FILE__, __LINE__, "a user stack can be mapped", static_cast<std::uint64_t>(e));
}

std::uint64_t user_address(void const* p) { return user_code + static_cast<std::uint64_t>(static_cast<char const*>(p) - user_start); }

Registers user_context(void const* code)
{
    Registers r{};
    set_pattern(r);
    r.rip = user_address(code), r.cs = PVN_USER_CS, r.rflags = 0x202, r.rsp = user_stack_top, r.ss = PVN_USER_SS;
    return r;
}

// In the order of GUEST_PATTERN; RSP has no part in it.
static constexpr std::uint64_t Registers::*pattern_order[] = {
    &Registers::rax, &Registers::rbx, &Registers::rcx, &Registers::rdx, &Registers::rsi, &Registers::rdi, &Registers::rbp, nullptr,
    &Registers::r8, &Registers::r9, &Registers::r10, &Registers::r11, &Registers::r12, &Registers::r13, &Registers::r14, &Registers::r15};

void set_pattern(Registers& r)
{
    for (unsigned i = 0; i < 16; ++i)
        if (pattern_order[i] != nullptr) r.*pattern_order[i] = 0x0101010101010101 * (0xa0 + i);
}

bool has_pattern(Registers const& r)
{
    for (unsigned i = 0; i < 16; ++i)
        if (pattern_order[i] != nullptr && r.*pattern_order[i] != 0x0101010101010101 * (0xa0 + i)) return false;
    return true;
}

extern "C" void guest_trap(Registers* r)
{
    if (step_handler != nullptr && r->vector == 1 && (r->cs & 3) == 0) return step_handler(*r);
    bool const user_stop = recovery.user && (r->cs & 3) == 3 && r->vector != event_vector;
    if ((recovery.armed && r->vector < 33) || user_stop) {
        recovery.armed = recovery.user = false;
        std::uint64_t gs_base;
        asm volatile("rdgsbase %0" : "=r"(gs_base));
        recovery.entry = {*r, reinterpret_cast<std::uint64_t>(&r->ss + 1), entry_flags, gs_base, vcpu().event_mask != 0};
        recovery.caught = {static_cast<int>(r->vector), r->error, r->rip, vcpu().fault_address, r->rflags, r->cs};
        r->rip = recovery.rip;
        r->rsp = recovery.rsp;
        r->rbp = recovery.rbp;
        r->rbx = recovery.rbx;
        r->r12 = recovery.r12;
        r->r13 = recovery.r13;
        r->r14 = recovery.r14;
        r->r15 = recovery.r15;
        r->cs = PVN_KERNEL_CS;
        r->ss = PVN_KERNEL_SS;
        r->rflags &= ~std::uint64_t{0x54500};
        if (user_stop) r->rflags = recovery.masked ? 2 : 0x202;
        return;
    }
    if (handler != nullptr) return handler(*r);
    print("unexpected trap ");
    print_hex(r->vector);
    print(" error ");
    print_hex(r->error);
    print(" rip ");
    print_hex(r->rip);
    print(" address ");
    print_hex(vcpu().fault_address);
    print("\n");
    fail(__FILE__, __LINE__, "no unexpected trap", r->vector);
}

void* allocate_page()
{
    if (next_page == info->mapped_end_pfn) fail(__FILE__, __LINE__, "free pages left", next_page);
    auto* const page = address_of(next_page++);
    memset(page, 0, 4096);
    return page;
}

std::uint64_t entry_of(std::uint64_t address, unsigned level)
{
    auto table = info->tables_pfn;
    for (unsigned l = 4;; --l) {
        auto const entry = table * 4096 + (address >> (3 + 9 * l) & 511) * 8;
        if (l == level) return entry;
        auto const value = read_entry(entry);
        if ((value & 1) == 0) return 0;
        table = m2p()[(value & 0x000ffffffffff000) / 4096];
    }
}

std::uint64_t read_entry(std::uint64_t entry_address)
{
    return *reinterpret_cast<std::uint64_t const volatile*>(info->virtual_base + entry_address);
}

static long one(std::uint32_t kind, std::uint64_t target, std::uint64_t value, std::uint32_t flags)
{
    pvn_mmu_op op{kind, flags, target, value, 0, 0};
    return hypercall(PVN_MMU_QUEUE, reinterpret_cast<std::uint64_t>(&op), 1);
}
long write_entry(std::uint64_t entry_address, std::uint64_t value, std::uint32_t flags) { return one(PVN_MMU_OP_WRITE, entry_address, value, flags); }
long promote(std::uint64_t pfn, unsigned level) { return one(PVN_MMU_OP_PROMOTE, pfn, level, 0); }
long demote(std::uint64_t pfn) { return one(PVN_MMU_OP_DEMOTE, pfn, 0, 0); }

long protect(void* page, bool writable)
{
    auto const entry = entry_of(reinterpret_cast<std::uint64_t>(page));
    auto const value = read_entry(entry);
    return write_entry(entry, writable ? value | 2 : value & ~std::uint64_t{2});
}

long map_user(std::uint64_t address, std::uint64_t pfn, std::uint64_t flags)
{
    for (unsigned level = 4; level > 1; --level) {
        auto const entry = entry_of(address, level);
        if ((read_entry(entry) & 1) != 0) continue;
        auto* const table = allocate_page();
        if (auto const e = protect(table, false); e != 0) return e;
        if (auto const e = promote(pfn_of(table), level - 1); e != 0) return e;
        if (auto const e = write_entry(entry, p2m()[pfn_of(table)] * 4096 | 7); e != 0) return e;
    }
    return write_entry(entry_of(address), p2m()[pfn] * 4096 | flags);
}

void enter_user(std::uint64_t rip, std::uint64_t rsp, std::uint64_t rflags)
{
    asm volatile(
        "push $0x2b; push %1; push %2; push $0x33; push %0; jmp *%3"
        : : "r"(rip), "r"(rsp), "r"(rflags), "r"(static_cast<std::uint64_t>(PVN_VDSO_RETURN_FROM_TRAP)) : "memory");
    __builtin_unreachable();
}

}  // namespace guest

extern "C" void guest_main_with_info(pvn_start_info const* start_info)
{
    guest::info = start_info;
    guest::next_page = start_info->first_free_pfn;
    guest_main();
    guest::pass();
}
