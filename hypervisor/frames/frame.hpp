// SPDX-License-Identifier: MIT
// What the hypervisor remembers of one machine frame.
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "frames/page_type.hpp"

namespace pvn::frames {

// All zero is a free frame.  Only the frame table writes these fields.
//
//   count       general references: one for "allocated to its owner", one for each present L1 entry that maps the frame, one
//               beside every type reference.  type_count > 0 implies count > 1.
//   type_count  uses as `type`: one if promoted, one per parent entry (tables) or writable L1 entry (writable, shared), one per
//               hold.  0 if and only if type is none.
//   held        how many of the type references belong to the hypervisor: roots of vCPUs for l4, its own writable mappings for
//               writable (and each grant of it that is in use for writing), the sharing itself for shared.  One number does, for a
//               frame has one type.  No table shows these references, so the audit takes them from here.
//   readers     general references of grants that are in use for reading; likewise.
struct Frame {
    std::uint32_t count;
    std::uint32_t type_count;
    std::uint16_t owner_inverted;  // so that zero is no_owner
    std::uint16_t guest_inverted;  // type shared: the domain that may map it.  Frames of domains: `readers`
    std::uint16_t held;
    PageType type;
    std::uint8_t flags;

    static constexpr std::uint8_t promoted = 1;        // holds a type reference of its own.  Set if and only if a table
    static constexpr std::uint8_t was_table = 2;       // demoted, and CPUs may still walk it
    static constexpr std::uint8_t weakly_cached = 4;   // was mapped other than write-back
    static constexpr std::uint8_t emptied = 8;         // table of a dead domain, without present entries

    constexpr DomainId owner() const { return DomainId{static_cast<std::uint16_t>(~owner_inverted)}; }
    constexpr void set_owner(DomainId id) { owner_inverted = static_cast<std::uint16_t>(~id.raw()); }
    constexpr DomainId guest() const { return DomainId{static_cast<std::uint16_t>(~guest_inverted)}; }
    constexpr void set_guest(DomainId id) { guest_inverted = static_cast<std::uint16_t>(~id.raw()); }
    constexpr std::uint16_t readers() const { return is_domain(owner()) ? guest_inverted : std::uint16_t{0}; }
    constexpr void set_readers(std::uint16_t n) { guest_inverted = n; }
    constexpr bool has(std::uint8_t flag) const { return (flags & flag) != 0; }
    constexpr void set(std::uint8_t flag) { flags = static_cast<std::uint8_t>(flags | flag); }
    constexpr void clear(std::uint8_t flag) { flags = static_cast<std::uint8_t>(flags & ~flag); }
};

static_assert(sizeof(Frame) == 16 && std::is_trivially_default_constructible_v<Frame> && std::is_trivially_copyable_v<Frame>);
static_assert(std::has_unique_object_representations_v<Frame>);
static_assert(Frame{}.owner() == no_owner && Frame{}.type == PageType::none);

}  // namespace pvn::frames
