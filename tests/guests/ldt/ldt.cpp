// SPDX-License-Identifier: MIT
// A guest's LDT holds code and data of ring 3 and nothing else; it is the running vCPU's own, and selectors that outlive their
// descriptors harm nobody.  A gate in it, or a segment of ring 0 or 1, would lead out of the guest.
#include "hostile.hpp"

char const guest_name[] = "ldt";

extern "C" char user_begin[], user_32[], user_32_done[], user_spin32[];
asm(R"(
.section .user, "ax"
.global user_begin, user_32, user_32_done, user_spin32
user_begin:
.code32
user_32:
    mov %fs:4, %ebx
    int $0x80
user_32_done:
    hlt
user_spin32:
    jmp user_spin32
.code64
.text
)");

namespace {

constexpr std::uint64_t entries = 8192, pages = entries * 8 / 4096;
// Present, ring 3, accessed clear: page-granular 32-bit code and data, and a limit of one page.
constexpr std::uint64_t code = 0x00c0fa0000000000, data = 0x00c0f20000000000, present = 1ull << 47, large_limit = 0x000f00000000ffff;
constexpr std::uint64_t with_base(std::uint64_t d, std::uint64_t base) { return d | (base & 0xffffff) << 16 | (base & 0xff000000) << 32; }
constexpr std::uint64_t selector(std::uint64_t index) { return index * 8 + 7; }

std::uint64_t* table;

long set(void const* address, std::uint64_t count) { return hypercall(PVN_VCPU_SET_LDT, reinterpret_cast<std::uint64_t>(address), count); }

std::uint64_t to_load;
guest::Caught load_fs(std::uint64_t s)
{
    to_load = s;
    return guest::catch_trap([] { asm volatile("mov %w0, %%fs" : : "r"(to_load)); });
}
std::uint64_t fs_base()
{
    std::uint64_t base;
    asm volatile("rdfsbase %0" : "=r"(base));
    return base;
}
std::uint64_t fs()
{
    std::uint64_t s;
    asm volatile("mov %%fs, %k0" : "=r"(s));
    return s;
}

int upcalls;
void on_event(guest::Registers& r)
{
    CHECK_EQUAL(r.vector, guest::event_vector);
    guest::vcpu().event_pending = 0;
    guest::vcpu().pending_words = 0;
    for (auto& word : guest::domain().event_pending) word = 0;
    if ((r.cs & 3) != 3) return;
    CHECK_EQUAL(r.cs, selector(3));
    CHECK_EQUAL(r.ss, selector(1));
    if (++upcalls == 3)
        r.rip += static_cast<std::uint64_t>(user_32 - user_spin32);
    else
        guest::arm_timer(2000000);
}

guest::Registers user_context_32(char const* at)
{
    auto context = guest::user_context(at);
    context.rip = static_cast<std::uint64_t>(at - user_begin);  // the segment begins there
    context.cs = selector(3);
    context.ss = selector(1);
    context.rsp = guest::user_stack_top;
    return context;
}

void refused()
{
    CHECK_EQUAL(set(reinterpret_cast<char*>(table) + 8, 1), -PVN_E_INVALID);
    CHECK_EQUAL(set(table, entries + 1), -PVN_E_INVALID);
    CHECK_EQUAL(set(table, 1ull << 32), -PVN_E_INVALID);
    CHECK_EQUAL(set(table, 0), -PVN_E_INVALID);
    CHECK_EQUAL(set(nullptr, 1), -PVN_E_INVALID);
    CHECK_EQUAL(set(reinterpret_cast<void*>(0x12345000), 1), -PVN_E_BAD_ADDRESS);
    CHECK_EQUAL(set(reinterpret_cast<void*>(PVN_SLOT_CPU_TABLES), 1), -PVN_E_BAD_ADDRESS);
    CHECK_EQUAL(set(reinterpret_cast<void*>(0x0000800000000000), 1), -PVN_E_BAD_ADDRESS);
    // Every type of descriptor, with every DPL.
    auto const kept = table[entries - 1];
    for (std::uint64_t type = 0; type < 32; ++type)
        for (std::uint64_t dpl = 0; dpl < 4; ++dpl) {
            table[entries - 1] = large_limit | present | dpl << 45 | type << 40;
            CHECK_EQUAL(set(table, entries), type >= 16 && dpl == 3 ? 0 : -PVN_E_INVALID);
        }
    table[entries - 1] = kept;
}

}  // namespace

void guest_main()
{
    guest::use_user_memory();
    guest::install_traps();
    guest::set_handler(on_event);
    auto const self = guest::start().domain_id;
    auto const own_base = std::uint64_t{0x11110000} * self;

    auto none = load_fs(selector(0));
    CHECK_EQUAL(none.vector, 13);
    CHECK_EQUAL(none.error, 4u);

    table = static_cast<std::uint64_t*>(guest::allocate_page());
    for (std::uint64_t i = 1; i < pages; ++i) (void)guest::allocate_page();  // consecutive
    table[0] = with_base(data, own_base);
    table[1] = data | large_limit;
    table[2] = with_base(data, own_base) & ~present;
    table[3] = with_base(code | large_limit, guest::user_address(user_begin));
    table[4] = 0x0000890000000000 & ~present;   // not present, and no segment at all
    table[5] = with_base(data | large_limit, guest::user_stack);
    table[entries - 1] = with_base(data, own_base + 0x2000);
    refused();
    CHECK_EQUAL(set(table, entries), 0);
    CHECK_EQUAL(table[0] >> 40 & 1, 0u);        // the guest's own memory is left alone

    // All of it is there, up to the limit; bases are those of the table.
    CHECK_EQUAL(load_fs(selector(entries - 1)).vector, -1);
    CHECK_EQUAL(fs_base(), own_base + 0x2000);
    CHECK_EQUAL(load_fs(selector(0)).vector, -1);
    CHECK_EQUAL(fs_base(), own_base);
    auto const absent = load_fs(selector(2));
    CHECK_EQUAL(absent.vector, 11);
    CHECK_EQUAL(absent.error, 2u * 8 + 4);
    CHECK_EQUAL(load_fs(selector(4)).vector, 13);
    std::uint64_t rights = 0;
    asm volatile("lar %1, %0" : "+r"(rights) : "r"(selector(2)) : "cc");
    CHECK_EQUAL(rights & 0xff00, 0x7200u);      // not present, but visible to LAR

    // Nothing of it can be written, and a refused call leaves it.
    auto const write = guest::catch_trap([] { *reinterpret_cast<std::uint64_t volatile*>(PVN_SLOT_BASE + 0xa0000) = ~std::uint64_t{0}; });
    CHECK_EQUAL(write.vector, 14);
    CHECK_EQUAL(write.error, 3u);
    table[7] = large_limit | present | 0x00200b0000000000;  // 64-bit code of ring 0
    CHECK_EQUAL(set(table, entries), -PVN_E_INVALID);
    CHECK_EQUAL(load_fs(selector(7)).vector, 13);
    CHECK_EQUAL(load_fs(selector(0)).vector, -1);
    table[7] = 0;

    // User GS.
    CHECK_EQUAL(hypercall(PVN_VCPU_SET_USER_GS, selector(0)), 0);
    CHECK_EQUAL(guest::vcpu().user_gs_base, own_base);
    for (auto const index : {2ull, 4ull, 6ull}) CHECK_EQUAL(hypercall(PVN_VCPU_SET_USER_GS, selector(index)), -PVN_E_INVALID);
    CHECK_EQUAL(hypercall(PVN_VCPU_SET_USER_GS, 0), 0);

    // 32-bit code of ring 3 in it: runs, is interrupted, and goes on.
    CHECK_EQUAL(load_fs(selector(5)).vector, -1);
    *reinterpret_cast<std::uint32_t volatile*>(guest::user_stack + 4) = 0x600d0000 + self;
    guest::vcpu().event_mask = 1;
    guest::arm_timer(2000000);
    auto const& stopped = guest::run_user(user_context_32(user_spin32));
    CHECK_EQUAL(stopped.registers.vector, std::uint64_t{PVN_TRAP_INT80});
    CHECK_EQUAL(stopped.registers.cs, selector(3));
    CHECK_EQUAL(stopped.registers.ss, selector(1));
    CHECK_EQUAL(stopped.registers.rip, static_cast<std::uint64_t>(user_32_done - user_begin));
    CHECK_EQUAL(stopped.registers.rbx, 0x600d0000u + self);
    CHECK_EQUAL(upcalls, 3);

    // A frame with a segment of it that cannot be resumed: the CPU's fault, with the user's registers; also if Paravane finishes.
    guest::vcpu().event_entry = 0;
    for (bool const pending : {false, true}) {
        struct { std::uint64_t cs, ss, vector, error; } const bad[] = {
            {selector(2), selector(1), 13, 2 * 8 + 4},  // data as code
            {selector(3), selector(2), 12, 2 * 8 + 4},  // SS not present
            {selector(3), selector(4), 13, 4 * 8 + 4},
            {selector(4), selector(1), 13, 4 * 8 + 4},
            {selector(6), selector(1), 13, 6 * 8 + 4},
        };
        for (auto const& b : bad) {
            auto context = user_context_32(user_32);
            context.cs = b.cs, context.ss = b.ss;
            guest::vcpu().event_pending = pending;
            auto const& e = guest::run_user(context);
            guest::vcpu().event_pending = 0;
            guest::vcpu().event_mask = 1;
            // [sdm/2] IRET: #SS for a stack segment that is not present; QEMU's TCG says #NP.
            if (b.vector != 12 || e.registers.vector != 11) CHECK_EQUAL(e.registers.vector, b.vector);
            CHECK_EQUAL(e.registers.error, b.error);
            CHECK_EQUAL(e.registers.cs, b.cs);
            CHECK_EQUAL(e.registers.ss, b.ss);
            CHECK_EQUAL(e.registers.rip, context.rip);
        }
    }
    // Code not present is #NP.
    table[3] &= ~present;
    CHECK_EQUAL(set(table, 8), 0);
    for (bool const pending : {false, true}) {
        guest::vcpu().event_pending = pending;
        auto const& e = guest::run_user(user_context_32(user_32));
        guest::vcpu().event_pending = 0;
        guest::vcpu().event_mask = 1;
        CHECK_EQUAL(e.registers.vector, 11u);
        CHECK_EQUAL(e.registers.error, 3u * 8 + 4);
    }

    // The other domain, with a table of another size: each keeps its own, whoever runs in between.
    for (int i = 0; i < 20; ++i) {
        std::uint64_t const count = i % 2 == 0 ? 8 : 1025 + self;
        CHECK_EQUAL(set(table, count), 0);
        guest::let_others_run();
        CHECK_EQUAL(load_fs(selector(0)).vector, -1);
        CHECK_EQUAL(fs_base(), own_base);
        CHECK_EQUAL(load_fs(selector(count)).error, count * 8 + 4);
    }

    // A selector that outlives its descriptor.
    CHECK_EQUAL(load_fs(selector(5)).vector, -1);
    asm volatile("mov %w0, %%ds; mov %w0, %%es" : : "r"(selector(1)));
    CHECK_EQUAL(set(nullptr, 0), 0);
    auto const stolen = guest::vcpu().runstate.time[PVN_RUNSTATE_RUNNABLE];
    guest::let_others_run();
    CHECK_EQUAL(fs(), guest::vcpu().runstate.time[PVN_RUNSTATE_RUNNABLE] != stolen ? 0 : selector(5));
    CHECK_EQUAL(load_fs(selector(0)).vector, 13);
    guest::vcpu().event_pending = 1;
    CHECK_EQUAL(guest::run_user(user_context_32(user_32)).registers.vector, 13u);
    guest::vcpu().event_pending = 0;
    CHECK_EQUAL(hypercall(PVN_VCPU_SET_USER_GS, selector(0)), -PVN_E_INVALID);
    CHECK_EQUAL(set(table, 8), 0);  // left to the domain's end
}
