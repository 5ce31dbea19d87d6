// SPDX-License-Identifier: MIT
#include "arch/x86/io_bitmap.hpp"

#include <algorithm>
#include <cstring>

#include "arch/x86/memory_map.hpp"
#include "arch/x86/paging.hpp"
#include "arch/x86/per_cpu.hpp"
#include "guest/access.hpp"
#include "machine.hpp"

namespace pvn::io_bitmap {
namespace {

using Pages = decltype(Vcpu::io_bitmap);

void free_pages(Pages const& pages)
{
    for (auto const page : pages)
        if (page != 0) free_own_frame(page);
}

Result<void> fill(Vcpu const& vcpu, Pages& pages, std::uint64_t address, std::uint64_t bytes)
{
    auto const* const refused = static_cast<std::uint8_t const*>(physical_pointer(vcpu.domain->io_bitmap));
    for (std::size_t i = 0; i < pages.size(); ++i) {
        pages[i] = allocate_own_frame();
        if (pages[i] == 0) return Fail{Error::no_memory};
        auto* const page = static_cast<std::uint8_t*>(physical_pointer(pages[i]));
        std::memset(page, 0xff, page_size);
        auto const start = i * page_size;
        if (start < bytes)
            PVN_CHECK(guest::copy(vcpu, address + start, page, std::min(page_size, bytes - start), guest::Access::read));
        for (std::size_t k = 0; k < page_size; ++k) page[k] |= refused[start + k];
    }
    return {};
}

}  // namespace

Result<void> set(Vcpu& vcpu, std::uint64_t address, std::uint64_t bytes)
{
    if (address % 8 != 0 || bytes > most_bytes || (address == 0) != (bytes == 0)) return Fail{Error::invalid};
    Pages pages{};
    if (bytes != 0)
        if (auto const filled = fill(vcpu, pages, address, bytes); !filled) {
            free_pages(pages);
            return filled;
        }
    auto const old = vcpu.io_bitmap;
    vcpu.io_bitmap = pages;
    load(vcpu);
    free_pages(old);
    return {};
}

void load(Vcpu const& vcpu)
{
    auto& self = this_cpu();
    auto* const slot_l1 = self.slot_l1;
    // Without a bitmap: the page of ones that ends it, three times.
    auto const none = slot_l1[slot::io_bitmap_end / page_size];
    for (std::size_t i = 0; i < vcpu.io_bitmap.size(); ++i)
        slot_l1[slot::io_bitmap / page_size + i] = vcpu.io_bitmap[i] != 0 ? vcpu.io_bitmap[i] | paging::read_only : none;
    self.forget_guest = true;
}

void free(Vcpu& vcpu)
{
    free_pages(vcpu.io_bitmap);
    vcpu.io_bitmap = {};
}

bool has_ports(Domain const& domain, unsigned first, unsigned count)
{
    auto const* const refused = static_cast<std::uint8_t const*>(physical_pointer(domain.io_bitmap));
    for (auto port = first; port < first + count; ++port)
        if (port > 0xffff || (refused[port / 8] >> port % 8 & 1) != 0) return false;
    return true;
}

}  // namespace pvn::io_bitmap
