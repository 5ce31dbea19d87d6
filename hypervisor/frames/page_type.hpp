// SPDX-License-Identifier: MIT
// Page types: why a frame can be a page table or a writable page, never both.
#pragma once

#include <cstdint>

#include "lib/id.hpp"

namespace pvn::frames {

// What a frame is used as.  It has one type at a time, which changes only while no type reference is there.
enum class PageType : std::uint8_t {
    none,      // no typed use: at most mapped read-only
    l1,        // page tables, level 1 (leaves) to 4 (root)
    l2,
    l3,
    l4,
    segment,   // descriptors; reserved, nothing makes a frame one yet
    writable,  // mapped writable somewhere, or written by the hypervisor for the guest
    shared,    // the hypervisor's, and one guest may map it
};

inline constexpr unsigned top_level = 4;

constexpr bool is_table(PageType type) { return type >= PageType::l1 && type <= PageType::l4; }
// 1 to 4 for a table, otherwise 0.
constexpr unsigned level_of(PageType type) { return is_table(type) ? static_cast<unsigned>(type) : 0; }
constexpr PageType table_type(unsigned level) { return static_cast<PageType>(level); }

static_assert(table_type(1) == PageType::l1 && table_type(4) == PageType::l4 && level_of(PageType::l3) == 3);

// Owners that are no domain.
inline constexpr DomainId no_owner{0xffff};          // free
inline constexpr DomainId hypervisor_owner{0xfffe};  // mapped by no guest, unless of type `shared`
inline constexpr DomainId device_owner{0xfffd};      // no RAM: device memory and firmware inside the table's range; not counted

constexpr bool is_domain(DomainId id) { return id < device_owner; }

}  // namespace pvn::frames
