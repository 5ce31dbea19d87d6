// SPDX-License-Identifier: MIT
// The grants of others that one domain has mapped.
#pragma once

#include <array>
#include <cstdint>

#include "lib/id.hpp"
#include "lib/result.hpp"

namespace pvn::grant {

// The granter's frame stays in use until the mapping ends, whatever the mapper does to the entry in the meantime.
struct Mapping {
    MachineFrame frame;
    MachineFrame table;   // where its entry was put
    std::uint32_t ref;
    DomainId granter;
    std::uint16_t index;
    bool to_write;
    bool used;
    bool ending;
    std::uint8_t reserved;
    std::uint32_t next;   // of the free list
};
static_assert(sizeof(Mapping) == 32);

// Takes no lock: the caller holds page_tables_lock around every call.  A handle is a place in one of the pages given to it.
class Mappings {
public:
    static constexpr std::size_t per_page = 4096 / sizeof(Mapping);
    static constexpr std::size_t maximum_pages = 32;

    std::uint32_t count() const { return count_; }
    // Whether it should have another page so that so many can be reserved.
    bool wants_page(std::size_t handles) const { return pages_ * per_page - count_ < handles && pages_ < maximum_pages; }
    std::size_t pages() const { return pages_; }
    Mapping* page(std::size_t index) const { return places_[index]; }
    void add_page(Mapping* page);

    // no_space.
    Result<std::uint32_t> reserve();
    void release(std::uint32_t handle);
    Mapping const& at(std::uint32_t handle) const { return places_[handle / per_page][handle % per_page]; }
    Mapping& at(std::uint32_t handle) { return places_[handle / per_page][handle % per_page]; }
    // not_found.
    Result<Mapping*> find(std::uint32_t handle);
    // For the death of the domain, and for the audit: the first from there on that is used.
    Result<std::uint32_t> first_from(std::uint32_t handle) const;

private:
    static constexpr std::uint32_t none = 0xffffffff;

    std::array<Mapping*, maximum_pages> places_{};
    std::size_t pages_ = 0;
    std::uint32_t free_ = none;
    std::uint32_t count_ = 0;
};

}  // namespace pvn::grant
