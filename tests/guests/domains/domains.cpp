// SPDX-License-Identifier: MIT
// Each call by which dom0 makes, fills, sets up, looks at and ends domains does what it says, up to its bounds, and refuses what is wrong with the first error of its
// list, changing nothing.  Requests to a domain are in `requests`, pools and affinities in `pools` and `processors`.
#include "domains.hpp"

char const guest_name[] = "domains";

namespace {

using guest::create_domain;
using guest::destroy_domain;
using guest::domain_info;
using guest::free_frames;
using guest::in_memory;

constexpr std::uint64_t other = 1;  // one that runs from the start: this very guest
constexpr std::uint64_t no_domains[] = {200, 255, 256, 65536, 65536 + other, 1ul << 32 | other, ~0ul};
constexpr std::uint64_t not_mapped = 0x1000, in_slot = PVN_SLOT_VCPU_PAGE, not_canonical = 0x0000800000000000;
constexpr std::uint64_t foreign = 0x20000000;  // dom0's window on other domains: pages of one level-1 table

std::uint64_t created(std::uint64_t limit, std::uint64_t p2m_frames, std::uint32_t vcpus = 1)
{
    auto const id = create_domain(limit, p2m_frames, vcpus);
    CHECK(id > 0 && id < 256);
    return static_cast<std::uint64_t>(id);
}

std::uint64_t mfn_of(std::uint64_t id, std::uint64_t pfn)
{
    std::uint64_t mfn = 0;
    CHECK_EQUAL(hypercall(PVN_DOMAIN_GET_MFNS, id, pfn, in_memory(&mfn), 1), 1);
    return mfn;
}

long map_foreign(std::uint64_t id, std::uint64_t const* pfns, std::uint32_t count, std::uint64_t flags = 0, std::uint64_t address = foreign)
{
    pvn_map_foreign map{static_cast<std::uint16_t>(id), static_cast<std::uint16_t>(flags), count, address, in_memory(pfns)};
    return hypercall(PVN_MEMORY_MAP_FOREIGN, in_memory(&map));
}
long map_foreign(std::uint64_t id, std::uint64_t pfn, std::uint64_t flags = 0) { return map_foreign(id, &pfn, 1, flags); }

// Every call that names a domain.  Those that change something of it, or its memory, are for other domains than the caller's.
struct Named {
    std::uint64_t number, a1, a2, a3;
    bool other_only;
};
void names_a_domain()
{
    static pvn_sched_parameters sched{256, 0, 0, 0, 0};
    static pvn_vcpu_context context{};
    static std::uint64_t place[32];
    Named const calls[] = {{PVN_DOMAIN_DESTROY, 0, 0, 0, true},
                           {PVN_DOMAIN_PAUSE, 0, 0, 0, true},
                           {PVN_DOMAIN_UNPAUSE, 0, 0, 0, true},
                           {PVN_DOMAIN_SET_CONTEXT, 0, in_memory(&context), 0, true},
                           {PVN_DOMAIN_GET_CONTEXT, 0, in_memory(&context), 0, true},
                           {PVN_DOMAIN_POPULATE, 0, 1, 0, true},
                           {PVN_DOMAIN_MMU_QUEUE, in_memory(place), 1, 0, true},
                           {PVN_DOMAIN_EVENT_ALLOC, 0, 0, 0, true},
                           {PVN_DOMAIN_REQUEST_POWER, PVN_SHUTDOWN_POWER_OFF, 0, 0, true},
                           {PVN_DOMAIN_REQUEST_VCPUS, 1, 0, 0, true},
                           {PVN_DOMAIN_SET_LIMIT, 0, 0, 0, false},
                           {PVN_DOMAIN_SET_SCHED, in_memory(&sched), 0, 0, false},
                           {PVN_DOMAIN_GET_SCHED, in_memory(&sched), 0, 0, false},
                           {PVN_DOMAIN_GET_MFNS, 0, in_memory(place), 1, false},
                           {PVN_DOMAIN_VCPU_INFO, 0, in_memory(place), 0, false},
                           {PVN_DOMAIN_SET_AFFINITY, 0, 1, 1, false},
                           {PVN_DOMAIN_TAKE_TO_POOL, 0, 0, 0, false},
                           {PVN_DOMAIN_GET_TRAPS, in_memory(place), 1, 0, false}};
    for (auto const& call : calls) {
        for (auto const id : no_domains) CHECK_EQUAL(hypercall(call.number, id, call.a1, call.a2, call.a3), -PVN_E_NOT_FOUND);
        if (call.other_only) CHECK_EQUAL(hypercall(call.number, 0, call.a1, call.a2, call.a3), -PVN_E_DENIED);
    }
    // A domain is dying from the first DESTROY on: then it is only looked at.
    auto const dying = created(8, 8);
    CHECK_EQUAL(hypercall(PVN_DOMAIN_DESTROY, dying), -PVN_E_AGAIN);
    CHECK((domain_info(dying).flags & PVN_DOMAIN_DYING) != 0);
    for (auto const& call : calls)
        if (call.other_only && call.number != PVN_DOMAIN_DESTROY) CHECK_EQUAL(hypercall(call.number, dying, call.a1, call.a2, call.a3), -PVN_E_DENIED);
    CHECK_EQUAL(hypercall(PVN_EVENT_ALLOC, dying), -PVN_E_NOT_FOUND);
    CHECK_EQUAL(hypercall(PVN_EVENT_BIND_DOMAIN, dying, 1), -PVN_E_NOT_FOUND);
    CHECK_EQUAL(map_foreign(dying, 0), -PVN_E_NOT_FOUND);
    CHECK_EQUAL(destroy_domain(dying), 0);
    CHECK_EQUAL(hypercall(PVN_DOMAIN_DESTROY, dying), -PVN_E_NOT_FOUND);
}

void create()
{
    auto const before = free_frames();
    pvn_domain_create good{};
    for (auto const address : {0ul, not_mapped, in_slot, not_canonical}) CHECK_EQUAL(hypercall(PVN_DOMAIN_CREATE, address), -PVN_E_BAD_ADDRESS);
    good.limit = good.p2m_frames = 8;
    good.vcpus = 1;
    for (auto const flag : {1u, 2u, 0x80000000u}) {
        auto request = good;
        request.flags = flag;
        CHECK_EQUAL(hypercall(PVN_DOMAIN_CREATE, in_memory(&request)), -PVN_E_INVALID);
    }
    for (auto const vcpus : {0u, 65u, ~0u}) CHECK_EQUAL(create_domain(8, 8, vcpus), -PVN_E_INVALID);
    for (auto const frames : {0ul, (1ul << 27) + 1, ~0ul}) CHECK_EQUAL(create_domain(0, frames, 1), -PVN_E_INVALID);
    for (auto const limit : {9ul, ~0ul}) CHECK_EQUAL(create_domain(limit, 8, 1), -PVN_E_INVALID);
    CHECK_EQUAL(create_domain(0, 1ul << 27, 1), -PVN_E_NO_MEMORY);  // 1 GiB for its P2M alone
    CHECK_EQUAL(free_frames(), before);

    for (unsigned i = 0; i < 16; ++i) good.uuid[i] = static_cast<std::uint8_t>(0xa0 + i);
    good.limit = 5;
    good.vcpus = 64;
    auto const id = hypercall(PVN_DOMAIN_CREATE, in_memory(&good));
    CHECK(id > 1);
    auto const info = domain_info(static_cast<std::uint64_t>(id));
    for (unsigned i = 0; i < 16; ++i) CHECK_EQUAL(info.uuid[i], 0xa0 + i);
    CHECK_EQUAL(info.flags & ~PVN_DOMAIN_BLOCKED, PVN_DOMAIN_PAUSED);
    CHECK_EQUAL(info.frames, 0u);
    CHECK_EQUAL(info.limit, 5u);
    CHECK_EQUAL(info.vcpus, 64u);
    CHECK_EQUAL(info.weight, 256u);
    CHECK_EQUAL(info.cpu_time, 0u);
    CHECK_EQUAL(destroy_domain(static_cast<std::uint64_t>(id)), 0);
    CHECK_EQUAL(free_frames(), before);

    // All ids; then those that were given back again.
    std::uint64_t count = 0;
    long result;
    for (; (result = create_domain(1, 1, 1)) > 0; ++count) {}
    CHECK_EQUAL(result, -PVN_E_NO_SPACE);
    CHECK_EQUAL(count, 254u);  // but dom0's and the other one's
    static pvn_domain_info all[300];
    CHECK_EQUAL(hypercall(PVN_DOMAIN_INFO, 0, in_memory(all), 300), 256);
    for (unsigned i = 0; i < 256; ++i) CHECK_EQUAL(all[i].id, i);
    CHECK_EQUAL(hypercall(PVN_DOMAIN_INFO, 250, in_memory(all), 300), 6);
    CHECK_EQUAL(hypercall(PVN_DOMAIN_INFO, 3, in_memory(all), 2), 2);
    CHECK(all[0].id == 3 && all[1].id == 4);
    for (auto const first : {256ul, 65536ul, 1ul << 32, ~0ul}) CHECK_EQUAL(hypercall(PVN_DOMAIN_INFO, first, in_memory(all), 1), 0);
    for (auto const address : {0ul, not_mapped, in_slot, not_canonical}) CHECK_EQUAL(hypercall(PVN_DOMAIN_INFO, 0, address, 1), -PVN_E_BAD_ADDRESS);
    CHECK_EQUAL(hypercall(PVN_DOMAIN_INFO, 0, not_mapped, 0), 0);
    CHECK_EQUAL(destroy_domain(77), 0);
    CHECK_EQUAL(create_domain(1, 1, 1), 77);
    for (std::uint64_t domain = 2; domain < 256; ++domain) CHECK_EQUAL(destroy_domain(domain), 0);
    CHECK_EQUAL(free_frames(), before);
}

// Pauses are counted; nobody runs without a context.
void pause_and_unpause(std::uint64_t id)
{
    CHECK_EQUAL(hypercall(PVN_DOMAIN_UNPAUSE, id), -PVN_E_INVALID);  // made paused, and without a context
    for (unsigned i = 1; i < 65535; ++i) CHECK_EQUAL(hypercall(PVN_DOMAIN_PAUSE, id), 0);
    CHECK_EQUAL(hypercall(PVN_DOMAIN_PAUSE, id), -PVN_E_BUSY);
    for (unsigned i = 1; i < 65535; ++i) CHECK_EQUAL(hypercall(PVN_DOMAIN_UNPAUSE, id), 0);
    CHECK_EQUAL(hypercall(PVN_DOMAIN_UNPAUSE, id), -PVN_E_INVALID);
    CHECK((domain_info(id).flags & PVN_DOMAIN_PAUSED) != 0);

    CHECK_EQUAL(hypercall(PVN_DOMAIN_UNPAUSE, other), -PVN_E_INVALID);
    CHECK_EQUAL(hypercall(PVN_DOMAIN_PAUSE, other), 0);
    CHECK_EQUAL(hypercall(PVN_DOMAIN_PAUSE, other), 0);
    CHECK_EQUAL(hypercall(PVN_DOMAIN_UNPAUSE, other), 0);
    CHECK((domain_info(other).flags & (PVN_DOMAIN_PAUSED | PVN_DOMAIN_RUNNING)) == PVN_DOMAIN_PAUSED);
    CHECK_EQUAL(hypercall(PVN_DOMAIN_UNPAUSE, other), 0);
    CHECK_EQUAL(domain_info(other).flags & PVN_DOMAIN_PAUSED, 0u);
}

// `id` has a P2M of 2048 frames and a limit of 1030.
void populate(std::uint64_t id)
{
    for (auto const first : {2048ul, 1ul << 52, ~0ul}) CHECK_EQUAL(hypercall(PVN_DOMAIN_POPULATE, id, first, 1), -PVN_E_RANGE);
    CHECK_EQUAL(hypercall(PVN_DOMAIN_POPULATE, id, 0, 0), 0);
    CHECK_EQUAL(domain_info(id).frames, 0u);
    CHECK_EQUAL(hypercall(PVN_DOMAIN_POPULATE, id, 0, ~0ul), 1024);
    CHECK_EQUAL(hypercall(PVN_DOMAIN_POPULATE, id, 0, 1), -PVN_E_EXISTS);
    CHECK_EQUAL(hypercall(PVN_DOMAIN_POPULATE, id, 1022, 8), -PVN_E_EXISTS);
    CHECK_EQUAL(hypercall(PVN_DOMAIN_POPULATE, id, 2046, 8), 2);  // up to the P2M's end
    CHECK_EQUAL(hypercall(PVN_DOMAIN_POPULATE, id, 1030, 8), 4);  // up to the limit
    CHECK_EQUAL(hypercall(PVN_DOMAIN_POPULATE, id, 1100, 1), -PVN_E_NO_MEMORY);
    CHECK_EQUAL(domain_info(id).frames, 1030u);

    for (auto const limit : {2049ul, 1ul << 32, ~0ul}) CHECK_EQUAL(hypercall(PVN_DOMAIN_SET_LIMIT, id, limit), -PVN_E_RANGE);
    CHECK_EQUAL(domain_info(id).limit, 1030u);
    CHECK_EQUAL(hypercall(PVN_DOMAIN_SET_LIMIT, id, 2048), 0);
    CHECK_EQUAL(hypercall(PVN_DOMAIN_POPULATE, id, 1100, 1), 1);
    CHECK_EQUAL(hypercall(PVN_DOMAIN_SET_LIMIT, id, 3), 0);
    CHECK_EQUAL(domain_info(id).limit, 3u);
    CHECK_EQUAL(domain_info(id).frames, 1031u);
    CHECK_EQUAL(hypercall(PVN_DOMAIN_POPULATE, id, 1200, 1), -PVN_E_NO_MEMORY);

    static std::uint64_t mfns[1100];
    for (auto const address : {0ul, not_mapped, in_slot, not_canonical}) CHECK_EQUAL(hypercall(PVN_DOMAIN_GET_MFNS, id, 0, address, 1), -PVN_E_BAD_ADDRESS);
    CHECK_EQUAL(hypercall(PVN_DOMAIN_GET_MFNS, id, 0, in_memory(mfns), ~0ul), 1024);
    for (unsigned pfn = 0; pfn < 1024; ++pfn) CHECK_EQUAL(guest::m2p()[mfns[pfn]], pfn);
    CHECK_EQUAL(hypercall(PVN_DOMAIN_GET_MFNS, id, 1024, in_memory(mfns), 7), 7);
    CHECK(mfns[5] == PVN_NO_FRAME && mfns[6] != PVN_NO_FRAME);
    CHECK_EQUAL(hypercall(PVN_DOMAIN_GET_MFNS, id, 2040, in_memory(mfns), 100), 8);
    for (auto const first : {2048ul, ~0ul}) CHECK_EQUAL(hypercall(PVN_DOMAIN_GET_MFNS, id, first, in_memory(mfns), 1), 0);
}

// The tables of `id` are written as if by itself, while it is paused.  Leaves a root at pfn 4, with a table of each level below it.
void page_tables(std::uint64_t id)
{
    static pvn_mmu_op ops[4097];
    auto const queue = [](std::uint64_t domain, std::uint64_t count) { return hypercall(PVN_DOMAIN_MMU_QUEUE, domain, in_memory(ops), count); };
    // First which domain, and that it is paused.
    for (auto const count : {1ul, 4097ul}) {
        CHECK_EQUAL(queue(200, count), -PVN_E_NOT_FOUND);
        CHECK_EQUAL(queue(0, count), -PVN_E_DENIED);
        CHECK_EQUAL(queue(other, count), -PVN_E_BUSY);
    }
    CHECK_EQUAL(queue(id, 4097), -PVN_E_INVALID);
    for (std::uint64_t off = 1; off < 8; ++off) CHECK_EQUAL(hypercall(PVN_DOMAIN_MMU_QUEUE, id, in_memory(ops) + off, 1), -PVN_E_INVALID);
    for (auto const address : {0ul, not_mapped, in_slot, not_canonical}) CHECK_EQUAL(hypercall(PVN_DOMAIN_MMU_QUEUE, id, address, 1), -PVN_E_BAD_ADDRESS);
    CHECK_EQUAL(queue(id, 0), 0);
    for (std::uint32_t kind = 0; kind < 16; ++kind) {
        if (kind == PVN_MMU_OP_WRITE || kind == PVN_MMU_OP_WRITE_RUN || kind == PVN_MMU_OP_PROMOTE || kind == PVN_MMU_OP_DEMOTE) continue;
        ops[0] = {kind, 0, 0, 0, 0, 0};
        CHECK_EQUAL(queue(id, 1), -PVN_E_NOT_IMPLEMENTED);
        CHECK_EQUAL(ops[0].result, -PVN_E_NOT_IMPLEMENTED);
    }
    for (auto const kind : {PVN_MMU_OP_WRITE, PVN_MMU_OP_PROMOTE, PVN_MMU_OP_DEMOTE}) {
        ops[0] = {static_cast<std::uint32_t>(kind), 0, 4096, 1, 0, 1};
        CHECK_EQUAL(queue(id, 1), -PVN_E_INVALID);
        ops[0] = {static_cast<std::uint32_t>(kind), 2, 4096, 1, 0, 0};
        CHECK_EQUAL(queue(id, 1), -PVN_E_INVALID);
    }
    // The first that is refused ends it, and those before it stay done.
    std::uint64_t count = 0;
    for (std::uint64_t level = 1; level <= 4; ++level) {
        ops[count++] = {PVN_MMU_OP_PROMOTE, 0, level, level, 0, 0};
        if (level > 1) ops[count++] = {PVN_MMU_OP_WRITE, 0, level * 4096 + 8, mfn_of(id, level - 1) * 4096 | 7, 0, 0};
    }
    ops[count++] = {PVN_MMU_OP_DEMOTE, 0, 1, 0, 0, 0};
    ops[count++] = {PVN_MMU_OP_WRITE, 0, 4096, mfn_of(id, 16) * 4096 | 7, 0, 0};
    CHECK_EQUAL(queue(id, count), -PVN_E_BUSY);
    CHECK_EQUAL(ops[count - 2].result, -PVN_E_BUSY);
    CHECK_EQUAL(map_foreign(id, 1, PVN_MAP_READ_ONLY), 0);
    CHECK_EQUAL(reinterpret_cast<std::uint64_t const*>(foreign)[0], 0u);
    // Of operations as of any queue's.
    ops[0] = {PVN_MMU_OP_PROMOTE, 0, 1, 1, 0, 0};
    CHECK_EQUAL(queue(id, 1), -PVN_E_EXISTS);
    ops[0] = {PVN_MMU_OP_DEMOTE, 0, 16, 0, 0, 0};
    CHECK_EQUAL(queue(id, 1), -PVN_E_WRONG_TYPE);
    // dom0's own frames are none of the domain's.
    ops[0] = {PVN_MMU_OP_WRITE, 0, 4096, guest::p2m()[guest::pfn_of(guest::allocate_page())] * 4096 | 7, 0, 0};
    CHECK_EQUAL(queue(id, 1), -PVN_E_RANGE);
    ops[0] = {PVN_MMU_OP_WRITE, 0, 4096, mfn_of(id, 16) * 4096 | 7, 0, 0};
    CHECK_EQUAL(queue(id, 1), 0);
    CHECK_EQUAL(reinterpret_cast<std::uint64_t const*>(foreign)[0], mfn_of(id, 16) * 4096 | 7);
    CHECK_EQUAL(map_foreign(id, PVN_NO_FRAME), 0);
}

void contexts(std::uint64_t id)
{
    pvn_vcpu_context good{}, got{};
    good.rip = 0xffffffff80000000, good.rsp = 0x7ffffffff000, good.fs_base = 0x1000, good.gs_base = 0xffffff0000000000;
    good.rflags = 0x8d5 | 0x3000 | 0x40000 | 0x200000;  // arithmetic ones; IOPL, AC and ID are not taken
    good.rax = 1, good.rbx = 2, good.rcx = 3, good.rdx = 4, good.rsi = 5, good.rdi = 6, good.rbp = 7, good.r8 = 8, good.r15 = 15;
    good.root_pfn = 4;
    auto const set = [&](std::uint64_t domain, std::uint64_t vcpu, pvn_vcpu_context const& context) { return hypercall(PVN_DOMAIN_SET_CONTEXT, domain, vcpu, in_memory(&context)); };
    auto const get = [&](std::uint64_t domain, std::uint64_t vcpu) { return hypercall(PVN_DOMAIN_GET_CONTEXT, domain, vcpu, in_memory(&got)); };

    for (auto const vcpu : {2ul, 64ul, 1ul << 32, ~0ul}) {
        CHECK_EQUAL(set(id, vcpu, good), -PVN_E_NOT_FOUND);
        CHECK_EQUAL(get(id, vcpu), -PVN_E_NOT_FOUND);
        CHECK_EQUAL(hypercall(PVN_DOMAIN_VCPU_INFO, id, vcpu, in_memory(&got)), -PVN_E_NOT_FOUND);
        CHECK_EQUAL(hypercall(PVN_DOMAIN_SET_AFFINITY, id, vcpu, 1, 1), -PVN_E_NOT_FOUND);
    }
    for (auto const address : {0ul, not_mapped, in_slot, not_canonical}) {
        CHECK_EQUAL(hypercall(PVN_DOMAIN_SET_CONTEXT, id, 0, address), -PVN_E_BAD_ADDRESS);
        CHECK_EQUAL(hypercall(PVN_DOMAIN_GET_CONTEXT, id, 0, address), -PVN_E_BAD_ADDRESS);
        CHECK_EQUAL(hypercall(PVN_DOMAIN_VCPU_INFO, id, 0, address), -PVN_E_BAD_ADDRESS);
        CHECK_EQUAL(hypercall(PVN_DOMAIN_SET_SCHED, id, address), -PVN_E_BAD_ADDRESS);
    }
    CHECK_EQUAL(set(other, 0, good), -PVN_E_BUSY);
    CHECK_EQUAL(get(other, 0), -PVN_E_BUSY);

    for (auto const field : {&pvn_vcpu_context::rip, &pvn_vcpu_context::rsp, &pvn_vcpu_context::fs_base, &pvn_vcpu_context::gs_base})
        for (auto const address : {not_canonical, 0xffff7ffffffffffful, std::uint64_t{PVN_SLOT_BASE}, std::uint64_t{PVN_SLOT_VDSO}, std::uint64_t{PVN_SLOT_END} - 1}) {
            auto bad = good;
            bad.*field = address;
            CHECK_EQUAL(set(id, 0, bad), -PVN_E_INVALID);
        }
    auto bad = good;
    bad.flags = 1;
    CHECK_EQUAL(set(id, 0, bad), -PVN_E_INVALID);
    bad = good, bad.cs = PVN_USER_CS;
    CHECK_EQUAL(set(id, 0, bad), -PVN_E_INVALID);
    bad = good, bad.ss = PVN_USER_SS;
    CHECK_EQUAL(set(id, 0, bad), -PVN_E_INVALID);
    for (auto const root : {1090ul, 2048ul, 1ul << 52, ~0ul}) {
        bad = good, bad.root_pfn = root;
        CHECK_EQUAL(set(id, 0, bad), -PVN_E_RANGE);
    }
    for (auto const root : {3ul, 16ul}) {  // a table of level 3, and none
        bad = good, bad.root_pfn = root;
        CHECK_EQUAL(set(id, 0, bad), -PVN_E_WRONG_TYPE);
    }
    CHECK_EQUAL(get(id, 0), 0);  // none of them was taken
    CHECK(got.rip == 0 && got.root_pfn == PVN_NO_FRAME);
    CHECK_EQUAL(hypercall(PVN_DOMAIN_UNPAUSE, id), -PVN_E_INVALID);

    CHECK_EQUAL(set(id, 0, good), 0);
    CHECK_EQUAL(get(id, 0), 0);
    CHECK(got.rip == good.rip && got.rsp == good.rsp && got.fs_base == good.fs_base && got.gs_base == good.gs_base && got.root_pfn == 4);
    CHECK(got.rax == 1 && got.rbx == 2 && got.rcx == 3 && got.rdx == 4 && got.rsi == 5 && got.rdi == 6 && got.rbp == 7 && got.r8 == 8 && got.r15 == 15);
    CHECK_EQUAL(got.rflags, 0x8d5u | 0x202u);
    CHECK(got.cs == PVN_KERNEL_CS && got.ss == PVN_KERNEL_SS);
    // The root is in use: no table any more only when that has ended.
    pvn_mmu_op demote{PVN_MMU_OP_DEMOTE, 0, 4, 0, 0, 0};
    CHECK_EQUAL(hypercall(PVN_DOMAIN_MMU_QUEUE, id, in_memory(&demote), 1), -PVN_E_BUSY);
}

void scheduling(std::uint64_t id)
{
    pvn_sched_parameters before{}, after{};
    CHECK_EQUAL(hypercall(PVN_DOMAIN_GET_SCHED, id, in_memory(&before)), 0);
    pvn_sched_parameters const bad[] = {{0, 0, 0, 0, 0}, {65536, 0, 0, 0, 0}, {256, 2, 0, 0, 0}, {256, 0x80000001, 0, 0, 0}, {256, PVN_SCHED_WARP, (1ul << 60) + 1, 0, 0}};
    for (auto const& parameters : bad) CHECK_EQUAL(hypercall(PVN_DOMAIN_SET_SCHED, id, in_memory(&parameters)), -PVN_E_INVALID);
    CHECK_EQUAL(hypercall(PVN_DOMAIN_GET_SCHED, id, in_memory(&after)), 0);
    CHECK(before.weight == after.weight && before.flags == after.flags && before.warp == after.warp);
    for (auto const& parameters : {pvn_sched_parameters{1, 0, 0, 0, 0}, pvn_sched_parameters{65535, PVN_SCHED_WARP, 1ul << 60, 0, 0}}) {
        CHECK_EQUAL(hypercall(PVN_DOMAIN_SET_SCHED, id, in_memory(&parameters)), 0);
        CHECK_EQUAL(domain_info(id).weight, parameters.weight);
    }
}

void windows(std::uint64_t id)
{
    for (auto const address : {0ul, not_mapped, in_slot, not_canonical}) CHECK_EQUAL(hypercall(PVN_MEMORY_MAP_FOREIGN, address), -PVN_E_BAD_ADDRESS);
    static std::uint64_t pfns[513];
    for (std::uint64_t i = 0; i < 513; ++i) pfns[i] = 16 + i;
    for (auto const count : {0u, 513u, 0x10001u, ~0u}) CHECK_EQUAL(map_foreign(id, pfns, count), -PVN_E_INVALID);
    for (auto const flags : {2u, 3u, 0x8000u}) CHECK_EQUAL(map_foreign(id, pfns, 1, flags), -PVN_E_INVALID);
    CHECK_EQUAL(map_foreign(id, pfns, 1, 0, foreign + 8), -PVN_E_INVALID);
    CHECK_EQUAL(map_foreign(id, reinterpret_cast<std::uint64_t*>(in_memory(pfns) + 4), 1), -PVN_E_INVALID);
    for (auto const domain : {200ul, 256ul, 65535ul}) CHECK_EQUAL(map_foreign(domain, pfns, 1), -PVN_E_NOT_FOUND);
    for (auto const address : {0x7000000000ul, in_slot & ~0xffful, not_canonical}) CHECK_EQUAL(map_foreign(id, pfns, 1, 0, address), -PVN_E_BAD_ADDRESS);
    CHECK_EQUAL(map_foreign(id, reinterpret_cast<std::uint64_t*>(not_mapped), 1), -PVN_E_BAD_ADDRESS);
    for (auto const pfn : {1090ul, 2048ul, 1ul << 52, ~0ul - 1}) CHECK_EQUAL(map_foreign(id, pfn), -PVN_E_RANGE);
    CHECK_EQUAL(map_foreign(id, 4), -PVN_E_WRONG_TYPE);  // a table is not written to
    CHECK_EQUAL(map_foreign(id, 4, PVN_MAP_READ_ONLY), 0);

    // A whole table of them; what stands before one that is refused is mapped.
    CHECK_EQUAL(map_foreign(id, pfns, 512), 0);
    reinterpret_cast<std::uint64_t volatile*>(foreign)[0] = 0x1234;
    pfns[1] = 2048;
    CHECK_EQUAL(map_foreign(id, pfns, 3, PVN_MAP_READ_ONLY), -PVN_E_RANGE);
    CHECK_EQUAL(reinterpret_cast<std::uint64_t volatile*>(foreign)[0], 0x1234u);
    auto const store = [](std::uint64_t page) { return guest::catch_trap([=] { reinterpret_cast<std::uint64_t volatile*>(foreign + page * 4096)[0] = 1; }).vector; };
    CHECK_EQUAL(store(0), 14);
    CHECK_EQUAL(store(2), -1);

    // Who maps some of it keeps the domain from going.
    CHECK_EQUAL(destroy_domain(id), -PVN_E_BUSY);
    CHECK((domain_info(id).flags & PVN_DOMAIN_DYING) != 0);
    CHECK_EQUAL(destroy_domain(id), -PVN_E_BUSY);
    CHECK_EQUAL(store(2), -1);
    for (std::uint64_t page = 0; page < 512; ++page) CHECK_EQUAL(guest::write_entry(guest::entry_of(foreign + page * 4096), 0), 0);
    CHECK_EQUAL(destroy_domain(id), 0);
}

void ports(std::uint64_t id)
{
    for (auto const remote : no_domains) CHECK_EQUAL(hypercall(PVN_DOMAIN_EVENT_ALLOC, id, remote), -PVN_E_NOT_FOUND);
    CHECK_EQUAL(hypercall(PVN_DOMAIN_EVENT_ALLOC, id, 0), 1);
    CHECK_EQUAL(hypercall(PVN_DOMAIN_EVENT_ALLOC, id, other), 2);
    CHECK_EQUAL(hypercall(PVN_EVENT_BIND_DOMAIN, id, 2), -PVN_E_DENIED);  // is for the other one
    auto const port = hypercall(PVN_EVENT_BIND_DOMAIN, id, 1);
    CHECK(port > 0);
    for (long next = 3; next < PVN_EVENT_PORTS; ++next) CHECK_EQUAL(hypercall(PVN_DOMAIN_EVENT_ALLOC, id, 0), next);
    CHECK_EQUAL(hypercall(PVN_DOMAIN_EVENT_ALLOC, id, 0), -PVN_E_NO_SPACE);
    CHECK_EQUAL(hypercall(PVN_EVENT_CLOSE, static_cast<std::uint64_t>(port)), 0);
}

void looks(std::uint64_t id)
{
    for (auto const address : {0ul, not_mapped, in_slot, not_canonical}) CHECK_EQUAL(hypercall(PVN_DOMAIN_GET_TRAPS, 0, address, 1), -PVN_E_BAD_ADDRESS);
    pvn_trap_count traps[2];
    CHECK_EQUAL(hypercall(PVN_DOMAIN_GET_TRAPS, id, in_memory(traps), 2), 0);  // it has not run
    CHECK_EQUAL(hypercall(PVN_DOMAIN_GET_TRAPS, 0, in_memory(traps), 2), 1);   // the `cli` below
    CHECK(traps[0].count == 1 && traps[0].bytes[0] == 0xfa);
    pvn_vcpu_info vcpu{};
    CHECK_EQUAL(hypercall(PVN_DOMAIN_VCPU_INFO, other, 0, in_memory(&vcpu)), 0);
    CHECK(vcpu.hypercalls > 0);
    CHECK_EQUAL(hypercall(PVN_DOMAIN_AUDIT), 0);
    // Only with an option that this boot has not.
    CHECK_EQUAL(hypercall(PVN_SYSTEM_FAIL_ALLOCATION, 1), -PVN_E_DENIED);
}

}  // namespace

void guest_main()
{
    guest::install_traps();
    if ((guest::start().flags & PVN_START_PRIVILEGED) == 0)
        for (;;) (void)hypercall(PVN_SCHED_BLOCK);
    asm volatile("cli");
    while (domain_info(other).cpu_time == 0 || (domain_info(other).flags & PVN_DOMAIN_BLOCKED) == 0) (void)hypercall(PVN_SCHED_YIELD);
    // The tables for the window, which stay.
    CHECK_EQUAL(guest::map_user(foreign, guest::pfn_of(guest::allocate_page()), 3), 0);
    CHECK_EQUAL(guest::write_entry(guest::entry_of(foreign), 0), 0);

    create();
    auto const before = free_frames();
    names_a_domain();
    auto const id = created(1030, 2048, 2);
    pause_and_unpause(id);
    populate(id);
    page_tables(id);
    contexts(id);
    scheduling(id);
    ports(id);
    looks(id);
    windows(id);
    CHECK_EQUAL(free_frames(), before);
}
