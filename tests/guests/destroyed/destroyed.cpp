// SPDX-License-Identifier: MIT
// A domain is destroyed in the middle of whatever it calls, again and again, and under a hypervisor whose calls stop wherever they can (`stops`): nothing of it is left,
// and nothing else has changed.  dom0 builds it by hand, a loop that makes one call.
#include "by_hand.hpp"

char const guest_name[] = "destroyed";

// RBP: number, R12, R13, R14, R15: arguments, RBX: the vDSO's entry.
extern "C" char loop_of_calls[], loop_end[];
asm(R"(
.section .rodata
.global loop_of_calls, loop_end
loop_of_calls:
    mov %rbp, %rax
    mov %r12, %rdi
    mov %r13, %rsi
    mov %r14, %rdx
    mov %r15, %r10
    call *%rbx
    jmp loop_of_calls
loop_end:
.text
)");

namespace {

using guest::free_frames;
using guest::in_memory;
using guest::by_hand::at;
using guest::by_hand::in_window;

// The domain's pages, of which `bare`, `gone` and what is behind are not mapped.
enum Page : std::uint64_t { list = guest::by_hand::first_own, list_of_list, grant_table, data, bare, gone, pages = guest::by_hand::most_pages };
using guest::by_hand::base;
using guest::by_hand::l1;
using guest::by_hand::l4;
using guest::by_hand::stack;

struct Call {
    std::uint64_t number, a0, a1, a2;
};

// What the domain calls for ever, and what it needs for that in its memory, which is in dom0's window.
using Prepare = Call (*)(std::uint64_t id, guest::by_hand::Mfns mfns);
Prepare const calls[] = {
    [](std::uint64_t, guest::by_hand::Mfns) -> Call {  // a frame becomes a table and a frame again
        for (unsigned i = 0; i < 128; ++i) in_window<pvn_mmu_op>(list)[i] = {i % 2 == 0 ? PVN_MMU_OP_PROMOTE : PVN_MMU_OP_DEMOTE, 0, bare, i % 2 == 0 ? 1u : 0u, 0, 0};
        return {PVN_MMU_QUEUE, at(list), 128, 0};
    },
    [](std::uint64_t, guest::by_hand::Mfns mfns) -> Call {  // entries come and go, and roots
        for (unsigned i = 0; i < 128; ++i) in_window<pvn_mmu_op>(list)[i] = {PVN_MMU_OP_WRITE, 0, l1 * 4096 + (256 + i / 2) * 8, i % 2 == 0 ? mfns[data] * 4096 | 3 : 0, 0, 0};
        in_window<pvn_mmu_op>(list)[127] = {PVN_MMU_OP_SET_ROOT, 0, l4, 0, 0, 0};
        return {PVN_MMU_QUEUE, at(list), 128, 0};
    },
    [](std::uint64_t, guest::by_hand::Mfns) -> Call {  // memory is given back, and got again
        for (unsigned i = 0; i < pages - gone; ++i) in_window<std::uint64_t>(list_of_list)[i] = gone + i;
        for (unsigned i = 0; i < 32; ++i)
            in_window<pvn_call>(list)[i] = {i % 2 == 0 ? std::uint64_t{PVN_MEMORY_GIVE_BACK} : std::uint64_t{PVN_MEMORY_POPULATE}, 0, {at(list_of_list), pages - gone, 0, 0, 0, 0}};
        return {PVN_MULTI, at(list), 32, 0};
    },
    [](std::uint64_t id, guest::by_hand::Mfns) -> Call {  // grants to itself are copied by, mapped and unmapped
        for (unsigned i = 0; i < 512; ++i) in_window<std::uint64_t>(grant_table)[i] = PVN_GRANT_VALID | id << PVN_GRANT_DOMAIN_SHIFT | data << PVN_GRANT_PFN_SHIFT;
        for (unsigned i = 0; i < 40; ++i) in_window<pvn_grant_copy>(list_of_list)[i] = {stack * 4096, i, static_cast<std::uint16_t>(id), 0, 0, 64, 0};
        auto* const maps = reinterpret_cast<pvn_grant_map*>(in_window<char>(list_of_list) + 1024);
        auto* const ends = reinterpret_cast<pvn_grant_unmap*>(in_window<char>(list_of_list) + 3072);
        for (unsigned i = 0; i < 40; ++i) maps[i] = {static_cast<std::uint16_t>(id), 0, i, base + (256 + i) * 4096, 0, 0}, ends[i] = {i, 0};
        auto* const batch = in_window<pvn_call>(list);
        batch[0] = {PVN_GRANT_SET_TABLE, 0, {0, grant_table, 0, 0, 0, 0}};
        batch[1] = {PVN_GRANT_COPY, 0, {at(list_of_list), 40, 0, 0, 0, 0}};
        batch[2] = {PVN_GRANT_MAP, 0, {at(list_of_list) + 1024, 40, 0, 0, 0, 0}};
        batch[3] = {PVN_GRANT_UNMAP, 0, {at(list_of_list) + 3072, 40, 0, 0, 0, 0}};
        return {PVN_MULTI, at(list), 4, 0};
    },
    [](std::uint64_t id, guest::by_hand::Mfns) -> Call {  // ports
        for (unsigned i = 0; i < 60; ++i)
            in_window<pvn_call>(list)[i] = i % 3 == 0   ? pvn_call{PVN_EVENT_ALLOC, 0, {0, 0, 0, 0, 0, 0}}
                                           : i % 3 == 1 ? pvn_call{PVN_EVENT_BIND_IPI, 0, {0, 0, 0, 0, 0, 0}}
                                                        : pvn_call{PVN_EVENT_CLOSE, 0, {1 + i, 0, 0, 0, 0, 0}};
        (void)id;
        return {PVN_MULTI, at(list), 60, 0};
    },
    [](std::uint64_t, guest::by_hand::Mfns) -> Call {  // a descriptor table
        for (unsigned i = 0; i < 512; ++i) in_window<std::uint64_t>(list)[i] = 0x00cff3000000ffff;
        return {PVN_VCPU_SET_LDT, at(list), 512, 0};
    },
    [](std::uint64_t, guest::by_hand::Mfns) -> Call { return {PVN_SCHED_BLOCK, 0, 0, 0}; },
    [](std::uint64_t, guest::by_hand::Mfns) -> Call { return {PVN_SCHED_YIELD, 0, 0, 0}; },
};

void live_and_die(Prepare prepare, std::uint64_t calls_made)
{
    Call call{};
    auto const id = guest::by_hand::make(pages, bare, 1, {loop_of_calls, loop_end}, [&](std::uint64_t itself, guest::by_hand::Mfns mfns) { call = prepare(itself, mfns); });
    auto context = guest::by_hand::context(0);
    context.rbp = call.number, context.r12 = call.a0, context.r13 = call.a1, context.r14 = call.a2;
    CHECK_EQUAL(hypercall(PVN_DOMAIN_SET_CONTEXT, id, 0, in_memory(&context)), 0);
    CHECK_EQUAL(hypercall(PVN_DOMAIN_UNPAUSE, id), 0);

    pvn_vcpu_info info{};
    do {
        CHECK_EQUAL(hypercall(PVN_DOMAIN_VCPU_INFO, id, 0, in_memory(&info)), 0);
        CHECK_EQUAL(guest::domain_info(id).flags & PVN_DOMAIN_SHUT_DOWN, 0u);
    } while (info.hypercalls < calls_made && call.number != PVN_SCHED_BLOCK);
    CHECK_EQUAL(guest::destroy_domain(id), 0);
}

}  // namespace

void guest_main()
{
    guest::install_traps();
    guest::by_hand::prepare();
    live_and_die(calls[0], 1);
    auto const before = free_frames();
    for (auto const prepare : calls)
        for (std::uint64_t round = 0; round < 24; ++round) {
            live_and_die(prepare, round);
            CHECK_EQUAL(free_frames(), before);
            if (round % 8 == 0) CHECK_EQUAL(hypercall(PVN_DOMAIN_AUDIT), 0);
        }
}
