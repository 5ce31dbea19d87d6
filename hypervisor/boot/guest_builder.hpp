// SPDX-License-Identifier: MIT
// Lays a guest kernel out in its memory: image, start info, stack, page tables, initrd.  The hypervisor builds boot-time
// domains with it, the toolstack all others.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "boot/elf.hpp"
#include "paravane/hypercall.h"

namespace pvn::boot {

// The guest's memory, as its builder reaches it.
class GuestMemory {
public:
    virtual bool has(std::uint64_t pfn) = 0;                // whether the guest has such a frame
    virtual char* page(std::uint64_t pfn) = 0;              // its contents; null: it has not
    virtual std::uint64_t mfn(std::uint64_t pfn) = 0;       // of a frame that it has
    virtual std::uint64_t pfn_of(std::uint64_t mfn) = 0;    // and back
    virtual std::uint64_t end() = 0;                        // pfns are below this

protected:
    ~GuestMemory() = default;
};

struct GuestLayout {
    std::uint64_t start_info_pfn, stack_pfn, tables_pfn, tables_count, first_free_pfn, mapped_end_pfn, initrd_pfn;
    std::uint64_t console_pfn, store_pfn;  // 0: none asked for
};

class GuestBuilder {
public:
    GuestBuilder(GuestMemory& memory, KernelImage const& image) : memory_{memory}, image_{image} {}

    // Each returns what is wrong; empty: nothing.  In this order.
    std::string_view load_kernel(std::span<std::byte const> file);
    std::string_view place(bool with_rings);
    std::string_view load_initrd(std::span<std::byte const> initrd);
    // Fills what the layout knows; the caller adds identity, map and ports, before build_tables().
    pvn_start_info& start_info(std::string_view command_line);
    std::string_view build_tables();

    GuestLayout const& layout() const { return layout_; }
    // Calls visit(pfn, level) for each table, children first: the order of promotion.
    template <class Visit>
    void for_each_table(Visit visit)
    {
        visit_tables(layout_.tables_pfn, 4, visit);
    }

private:
    static constexpr std::uint64_t present = 1, writable = 2, accessed = 0x20, dirty = 0x40, no_execute = 1ull << 63,
                                   frame_mask = 0x000ffffffffff000;

    std::uint64_t* table(std::uint64_t pfn) { return reinterpret_cast<std::uint64_t*>(memory_.page(pfn)); }
    bool map(std::uint64_t address, std::uint64_t pfn, std::uint64_t protection);
    bool is_table(std::uint64_t pfn) const { return pfn >= layout_.tables_pfn && pfn < layout_.tables_pfn + layout_.tables_count; }

    template <class Visit>
    void visit_tables(std::uint64_t pfn, unsigned level, Visit& visit)
    {
        // Four levels: the depth of this recursion is a constant.
        for (unsigned i = 0; level > 1 && i < 512; ++i)
            if (auto const entry = table(pfn)[i]; (entry & present) != 0) visit_tables(memory_.pfn_of((entry & frame_mask) / 4096), level - 1, visit);
        visit(pfn, level);
    }

    GuestMemory& memory_;
    KernelImage const& image_;
    GuestLayout layout_{};
    std::uint64_t next_table_{};
    std::uint64_t mapped_region_{};
    std::uint64_t* mapped_l1_{};  // the level-1 table of that region
    std::uint64_t initrd_size_{};
};

}  // namespace pvn::boot
