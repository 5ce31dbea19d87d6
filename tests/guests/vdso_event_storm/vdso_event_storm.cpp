// SPDX-License-Identifier: MIT
// A device interrupt at each instruction of the guest vDSO: the event is delivered once, in a context of the guest's and never in a
// half-undone one, and the entry does what it does without.  A lost wake-up or a stack that grows would show here and nowhere else.
//
// The emulator counts an instruction as four nanoseconds (config: -icount), so that a timer that is set a little later each time hits
// one instruction after the other.
#include "hostile.hpp"

char const guest_name[] = "vdso_event_storm";

extern "C" {
extern char user_wait[], user_waited[], kernel_wait[], kernel_waited[];
void jump_to_return(guest::Registers*);
extern char trap_return[];
volatile std::uint32_t spins;
volatile std::uint8_t arrived;
}
asm(R"(
.section .user, "ax"
.global user_wait, user_waited
user_wait: jmp user_wait
user_waited: ud2
.text
.global kernel_wait, kernel_waited, jump_to_return
kernel_wait:
    incl spins(%rip)
    cmpb $0, arrived(%rip)
    je kernel_wait
kernel_waited: ud2
jump_to_return: mov %rdi, %rsp; jmp trap_return
)");

namespace {

constexpr std::uint64_t kernel_gs = 0xffffffff81234000, user_gs = 0x00007f0011223000;
alignas(16) std::uint64_t stack[512], target_stack[64];
std::uint64_t timer;

struct {
    int count;
    std::uint64_t rip, cs, rsp, rflags, gs_base;
} upcall;

void on_event(guest::Registers& r)
{
    CHECK_EQUAL(r.vector, guest::event_vector);
    std::uint64_t base;
    asm volatile("rdgsbase %0" : "=r"(base));
    CHECK_EQUAL(base, kernel_gs);
    CHECK(guest::vcpu().event_mask != 0);
    upcall = {upcall.count + 1, r.rip, r.cs, r.rsp, r.rflags, base};
    guest::vcpu().event_pending = 0;
    guest::vcpu().pending_words = 0;
    guest::domain().event_pending[timer / 64] = 0;
    arrived = 1;
    if ((r.cs & 3) == 3) r.rip = guest::user_address(user_waited);
}

// The timer will fire `delay` nanoseconds from here.
void begin(std::uint64_t delay)
{
    guest::vcpu().event_mask = 1;
    guest::vcpu().event_pending = 0;
    guest::vcpu().pending_words = 0;
    guest::domain().event_pending[timer / 64] = 0;
    guest::vcpu().user_gs_base = user_gs;
    upcall = {};
    spins = 0;
    arrived = 0;
    CHECK_EQUAL(hypercall(PVN_VCPU_SET_TIMER, guest::now() + delay), 0);
}

// Each says whether the interrupt came after all that is of interest.
bool return_to_kernel(std::uint64_t delay)
{
    auto* const r = reinterpret_cast<guest::Registers*>(stack + 500) - 1;
    *r = {};
    guest::set_pattern(*r);
    r->rip = reinterpret_cast<std::uint64_t>(kernel_wait);
    r->cs = PVN_KERNEL_CS, r->ss = PVN_KERNEL_SS;
    r->rsp = reinterpret_cast<std::uint64_t>(target_stack + 64);
    r->rflags = 0x202;
    begin(delay);
    auto const caught = guest::catch_trap_of([](void* c) { jump_to_return(static_cast<guest::Registers*>(c)); }, r);
    CHECK_EQUAL(caught.vector, 6);
    CHECK_EQUAL(caught.rip, reinterpret_cast<std::uint64_t>(kernel_waited));
    auto const& e = guest::last_entry();
    CHECK(guest::has_pattern(e.registers));
    CHECK_EQUAL(e.registers.rsp, reinterpret_cast<std::uint64_t>(target_stack + 64));
    CHECK_EQUAL(upcall.rsp, reinterpret_cast<std::uint64_t>(target_stack + 64));
    CHECK(upcall.rip >= reinterpret_cast<std::uint64_t>(kernel_wait) && upcall.rip < reinterpret_cast<std::uint64_t>(kernel_waited));
    return spins > 3;
}

bool return_to_user(std::uint64_t delay)
{
    auto const context = guest::user_context(user_wait);
    begin(delay);
    auto const& e = guest::run_user(context);
    CHECK_EQUAL(e.registers.vector, 6u);
    CHECK_EQUAL(e.registers.rip, guest::user_address(user_waited));
    CHECK(guest::has_pattern(e.registers));
    CHECK_EQUAL(e.registers.rsp, context.rsp);
    CHECK_EQUAL(e.registers.rflags & ~std::uint64_t{0x10000}, context.rflags);
    CHECK_EQUAL(e.gs_base, kernel_gs);
    CHECK_EQUAL(guest::vcpu().user_gs_base, user_gs);
    CHECK_EQUAL(upcall.rip, guest::user_address(user_wait));
    CHECK_EQUAL(upcall.cs, std::uint64_t{PVN_USER_CS});
    CHECK_EQUAL(upcall.rsp, context.rsp);
    return false;  // cannot be seen from outside
}

std::uint64_t call(std::uint64_t entry, std::uint64_t number)
{
    register std::uint64_t rbx asm("rbx") = 0x1bbb;
    register std::uint64_t rdx asm("rdx") = 0x1ddd;
    std::uint64_t rax = number, before, after;
    asm volatile("mov %%rsp, %[before]; call *%[entry]; mov %%rsp, %[after]"
                 : [before] "=&r"(before), [after] "=&r"(after), "+a"(rax), "+r"(rbx), "+r"(rdx) : [entry] "r"(entry) : "rcx", "r11", "memory", "cc");
    CHECK_EQUAL(before, after);
    CHECK_EQUAL(rbx, 0x1bbbu);
    CHECK_EQUAL(rdx, 0x1dddu);
    return rax;
}

bool unmask(std::uint64_t delay)
{
    begin(delay);
    (void)call(PVN_VDSO_UNMASK_EVENTS, 0);
    CHECK_EQUAL(guest::vcpu().event_mask, 0u);
    while (arrived == 0) spins = spins + 1;
    return spins > 3;
}

bool block(std::uint64_t delay)
{
    begin(delay);
    (void)call(PVN_VDSO_BLOCK, 0);
    CHECK_EQUAL(guest::vcpu().event_mask, 0u);
    CHECK_EQUAL(upcall.count, 1);
    return false;
}

bool call_masked(std::uint64_t delay)
{
    begin(delay);
    CHECK_EQUAL(call(PVN_VDSO_HYPERCALL, PVN_SYSTEM_VERSION), std::uint64_t{PVN_ABI_VERSION});
    CHECK_EQUAL(upcall.count, 0);
    while (__atomic_load_n(&guest::vcpu().event_pending, __ATOMIC_RELAXED) == 0) spins = spins + 1;
    (void)call(PVN_VDSO_UNMASK_EVENTS, 0);
    return spins > 3;
}

bool call_unmasked(std::uint64_t delay)
{
    begin(delay);
    guest::vcpu().event_mask = 0;
    CHECK_EQUAL(call(PVN_VDSO_HYPERCALL, PVN_SYSTEM_VERSION), std::uint64_t{PVN_ABI_VERSION});
    (void)call(PVN_VDSO_UNMASK_EVENTS, 0);  // what came before the mask was cleared
    while (arrived == 0) spins = spins + 1;
    return spins > 3;
}

}  // namespace

void guest_main()
{
    guest::use_user_memory();
    guest::install_traps();
    guest::set_handler(on_event);
    asm volatile("wrgsbase %0" : : "r"(kernel_gs));
    guest::vcpu().kernel_gs_base = kernel_gs;
    timer = static_cast<std::uint64_t>(hypercall(PVN_EVENT_BIND_VIRQ, PVN_VIRQ_TIMER, 0));
    CHECK_EQUAL(hypercall(PVN_EVENT_UNMASK, timer), 0);

    // From how many nanoseconds on the interrupt finds us waiting for it, after a return to the kernel.
    std::uint64_t late = 0;
    while (!return_to_kernel(late)) CHECK((late += 32) < 400000);
    constexpr std::uint64_t before = 2400, after = 800, step = 2;
    auto const first = late > before ? late - before : 0;
    using Entry = bool (*)(std::uint64_t);
    for (Entry const entry : {Entry{return_to_kernel}, Entry{return_to_user}, Entry{unmask}, Entry{block}, Entry{call_masked}, Entry{call_unmasked}}) {
        bool const tells = entry != return_to_user && entry != block;
        bool was_late = false;
        for (auto delay = first; delay < late + after || (tells && !was_late); delay += step) {
            CHECK(delay < late + 80000);
            was_late = entry(delay) || was_late;
            CHECK_EQUAL(upcall.count, 1);
        }
    }
}
