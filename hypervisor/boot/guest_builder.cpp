// SPDX-License-Identifier: MIT
#include "boot/guest_builder.hpp"

#include <algorithm>
#include <cstring>

namespace pvn::boot {
namespace {

constexpr std::uint64_t page_size = PVN_PAGE_SIZE;
constexpr std::uint64_t upwards(std::uint64_t n, std::uint64_t by) { return (n + by - 1) / by; }

}  // namespace

std::string_view GuestBuilder::load_kernel(std::span<std::byte const> file)
{
    for (std::size_t i = 0; i < image_.segment_count; ++i) {
        auto const& segment = image_.segments[i];
        for (std::uint64_t done = 0; done < segment.memory_size;) {
            auto const address = segment.physical + done;
            auto const here = std::min(page_size - address % page_size, segment.memory_size - done);
            auto* const page = memory_.page(address / page_size);
            if (page == nullptr) return "too little memory: the kernel does not fit";
            auto* const to = page + address % page_size;
            auto const from_file = done < segment.file_size ? std::min(here, segment.file_size - done) : 0;
            std::memcpy(to, file.data() + segment.offset + done, from_file);
            std::memset(to + from_file, 0, here - from_file);
            done += here;
        }
    }
    return {};
}

std::string_view GuestBuilder::place(bool with_rings)
{
    constexpr std::uint64_t per_table = 512, slack = 256;
    auto& l = layout_;
    l.start_info_pfn = image_.highest / page_size;
    l.stack_pfn = l.start_info_pfn + 1;
    l.console_pfn = with_rings ? l.stack_pfn + 1 : 0;
    l.store_pfn = with_rings ? l.stack_pfn + 2 : 0;
    l.tables_pfn = l.stack_pfn + (with_rings ? 3 : 1);
    // An upper bound: the window at VIRTUAL_BASE and the direct map, each with its own tables at every level.
    auto const direct_l1 = image_.direct_map_base ? upwards(memory_.end(), per_table) : 0;
    auto const fixed = 1 + direct_l1 + upwards(direct_l1, per_table) + upwards(direct_l1, per_table * per_table) + 8;
    auto const window = l.tables_pfn + fixed + slack - image_.lowest / page_size;
    l.tables_count = fixed + upwards(window, per_table) + 2;
    l.first_free_pfn = l.tables_pfn + l.tables_count;
    l.mapped_end_pfn = std::min(upwards(l.first_free_pfn + slack, per_table) * per_table, std::max(memory_.end(), l.first_free_pfn));
    for (auto pfn = l.start_info_pfn; pfn < l.mapped_end_pfn; ++pfn) {
        auto* const page = memory_.page(pfn);
        if (page == nullptr) {
            if (pfn < l.first_free_pfn) return "too little memory: the kernel and its page tables do not fit";
            l.mapped_end_pfn = pfn;
            break;
        }
        std::memset(page, 0, page_size);
    }
    return {};
}

// The highest run of pfns that holds it.
std::string_view GuestBuilder::load_initrd(std::span<std::byte const> initrd)
{
    auto const pages = upwards(initrd.size(), page_size);
    if (pages == 0) return {};
    std::uint64_t run = 0;
    auto at = memory_.end();
    while (run < pages) {
        if (at <= layout_.mapped_end_pfn) return "too little memory: the initrd does not fit";
        --at;
        run = memory_.has(at) ? run + 1 : 0;
    }
    layout_.initrd_pfn = at;
    initrd_size_ = initrd.size();
    for (std::uint64_t page = 0; page < pages; ++page)
        std::memcpy(memory_.page(at + page), initrd.data() + page * page_size, std::min(page_size, initrd.size() - page * page_size));
    return {};
}

pvn_start_info& GuestBuilder::start_info(std::string_view command_line)
{
    auto& info = *reinterpret_cast<pvn_start_info*>(memory_.page(layout_.start_info_pfn));
    info.magic = PVN_START_MAGIC;
    info.abi_version = PVN_ABI_VERSION;
    info.virtual_base = image_.virtual_base;
    info.direct_map_base = image_.direct_map_base.value_or(0);
    info.start_info_pfn = layout_.start_info_pfn;
    info.stack_pfn = layout_.stack_pfn;
    info.tables_pfn = layout_.tables_pfn;
    info.tables_count = layout_.tables_count;
    info.first_free_pfn = layout_.first_free_pfn;
    info.mapped_end_pfn = layout_.mapped_end_pfn;
    info.initrd_address = layout_.initrd_pfn * page_size;
    info.initrd_size = initrd_size_;
    info.console_pfn = layout_.console_pfn;
    info.store_pfn = layout_.store_pfn;
    auto const length = std::min(command_line.size(), sizeof info.command_line - 1);
    std::memcpy(info.command_line, command_line.data(), length);
    return info;
}

bool GuestBuilder::map(std::uint64_t address, std::uint64_t pfn, std::uint64_t protection)
{
    // Neighbours share their level-1 table: the walk to it is done once.
    if (auto const region = address >> 21; region != mapped_region_ || mapped_l1_ == nullptr) {
        auto at = layout_.tables_pfn;
        for (unsigned level = 4; level > 1; --level) {
            auto& entry = table(at)[address >> (3 + 9 * level) & 511];
            if (entry == 0) {
                if (next_table_ == layout_.tables_pfn + layout_.tables_count) return false;
                entry = memory_.mfn(next_table_++) * page_size | present | writable | accessed;
            }
            at = memory_.pfn_of((entry & frame_mask) / page_size);
        }
        mapped_region_ = region;
        mapped_l1_ = table(at);
    }
    mapped_l1_[address >> 12 & 511] = memory_.mfn(pfn) * page_size | protection;
    return true;
}

std::string_view GuestBuilder::build_tables()
{
    next_table_ = layout_.tables_pfn + 1;
    constexpr auto read_only = present | accessed, read_write = read_only | writable | dirty;
    bool fits = true;
    for (auto pfn = image_.lowest / page_size; fits && pfn < layout_.mapped_end_pfn; ++pfn)
        if (memory_.has(pfn)) fits = map(image_.virtual_base + pfn * page_size, pfn, is_table(pfn) ? read_only : read_write);
    for (std::uint64_t pfn = 0; fits && image_.direct_map_base && pfn < memory_.end(); ++pfn)
        if (memory_.has(pfn))
            fits = map(*image_.direct_map_base + pfn * page_size, pfn, (is_table(pfn) ? read_only : read_write) | no_execute);
    return fits ? std::string_view{} : "its page tables are larger than planned";
}

}  // namespace pvn::boot
