// SPDX-License-Identifier: MIT
// A domain that dom0 makes by hand: out of a few pages, with code of its own that needs none of this library.
#pragma once

#include <string_view>

#include "domains.hpp"

extern "C" void* memcpy(void*, void const*, std::size_t);

namespace guest::by_hand {

// Its first pages, by pfn: four tables, code, and a stack.  The tables map its pages from `code` on at base + pfn * 4096.
enum Page : std::uint64_t { l1, l2, l3, l4, code, stack, first_own };
inline constexpr std::uint64_t most_pages = 32, base = 0x200000, window = 0x20000000;

constexpr std::uint64_t at(std::uint64_t pfn) { return base + pfn * 4096; }

// Where dom0 sees a page while the domain is filled.
template <class T>
T* in_window(std::uint64_t pfn) { return reinterpret_cast<T*>(window + pfn * 4096); }

// The tables of the window, which stay.  Before the first domain.
inline void prepare()
{
    CHECK_EQUAL(map_user(window, pfn_of(allocate_page()), 3), 0);
    CHECK_EQUAL(write_entry(entry_of(window), 0), 0);
}

using Mfns = std::uint64_t const (&)[most_pages];

// A paused domain without contexts.  Its tables map its pages below `mapped`; fill(id, mfns) does the rest, while all are in the window.
template <class Fill>
std::uint64_t make(std::uint64_t pages, std::uint64_t mapped, std::uint32_t vcpus, std::string_view instructions, Fill fill)
{
    auto const created = create_domain(pages, pages, vcpus);
    CHECK(created > 0);
    auto const id = static_cast<std::uint64_t>(created);
    CHECK_EQUAL(hypercall(PVN_DOMAIN_POPULATE, id, 0, pages), static_cast<long>(pages));
    static std::uint64_t pfns[most_pages], mfns[most_pages];
    CHECK_EQUAL(hypercall(PVN_DOMAIN_GET_MFNS, id, 0, in_memory(mfns), pages), static_cast<long>(pages));
    pvn_map_foreign request{static_cast<std::uint16_t>(id), 0, static_cast<std::uint32_t>(pages), window, in_memory(pfns)};
    for (std::uint64_t pfn = 0; pfn < pages; ++pfn) pfns[pfn] = pfn;
    CHECK_EQUAL(hypercall(PVN_MEMORY_MAP_FOREIGN, in_memory(&request)), 0);

    memcpy(in_window<char>(code), instructions.data(), instructions.size());
    in_window<std::uint64_t>(l4)[0] = mfns[l3] * 4096 | 7;
    in_window<std::uint64_t>(l3)[0] = mfns[l2] * 4096 | 7;
    in_window<std::uint64_t>(l2)[1] = mfns[l1] * 4096 | 7;
    for (std::uint64_t pfn = code; pfn < mapped; ++pfn) in_window<std::uint64_t>(l1)[pfn] = mfns[pfn] * 4096 | 3;
    fill(id, mfns);

    for (auto& pfn : pfns) pfn = PVN_NO_FRAME;
    CHECK_EQUAL(hypercall(PVN_MEMORY_MAP_FOREIGN, in_memory(&request)), 0);
    pvn_mmu_op promotions[4];
    for (std::uint64_t level = 1; level <= 4; ++level) promotions[level - 1] = {PVN_MMU_OP_PROMOTE, 0, level - 1, level, 0, 0};
    CHECK_EQUAL(hypercall(PVN_DOMAIN_MMU_QUEUE, id, in_memory(promotions), 4), 0);
    return id;
}

// In which a vCPU begins with the code at that place.  RBX: the vDSO's entry.
inline pvn_vcpu_context context(std::uint64_t place)
{
    pvn_vcpu_context begin{};
    begin.rip = at(code) + place, begin.rsp = at(stack) + 4096, begin.root_pfn = l4, begin.rbx = PVN_VDSO_HYPERCALL;
    return begin;
}

}  // namespace guest::by_hand
