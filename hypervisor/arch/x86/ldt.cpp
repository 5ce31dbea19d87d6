// SPDX-License-Identifier: MIT
#include "arch/x86/ldt.hpp"

#include <algorithm>

#include "arch/x86/cpu.hpp"
#include "arch/x86/descriptor.hpp"
#include "arch/x86/memory_map.hpp"
#include "arch/x86/paging.hpp"
#include "arch/x86/per_cpu.hpp"
#include "guest/access.hpp"
#include "machine.hpp"

namespace pvn::ldt {
namespace {

constexpr std::uint64_t per_page = page_size / 8;

using Pages = decltype(Vcpu::ldt);

void free_pages(Pages const& pages)
{
    for (auto const page : pages)
        if (page != 0) free_own_frame(page);
}

Result<void> fill(Vcpu const& vcpu, Pages& pages, std::uint64_t address, std::uint64_t entries, void (*breathe)())
{
    for (std::uint64_t i = 0; i < entries; i += per_page) {
        auto const here = std::min(per_page, entries - i);
        auto& page = pages[i / per_page];
        page = allocate_own_frame();
        if (page == 0) return Fail{Error::no_memory};
        auto* const table = static_cast<std::uint64_t*>(physical_pointer(page));
        PVN_CHECK(guest::copy(vcpu, address + i * 8, table, here * 8, guest::Access::read));
        for (std::uint64_t k = 0; k < here; ++k) table[k] = PVN_TRY(descriptor::of_local_table(table[k]));
        breathe();
    }
    return {};
}

}  // namespace

Result<void> set(Vcpu& vcpu, std::uint64_t address, std::uint64_t entries, void (*breathe)())
{
    if (address % page_size != 0 || entries > most_entries || (address == 0) != (entries == 0)) return Fail{Error::invalid};
    Pages pages{};
    if (auto const filled = fill(vcpu, pages, address, entries, breathe); !filled) {
        free_pages(pages);
        return filled;
    }
    auto const old = vcpu.ldt;
    vcpu.ldt = pages;
    vcpu.ldt_entries = static_cast<std::uint32_t>(entries);
    load(vcpu);
    free_pages(old);
    return {};
}

void load(Vcpu const& vcpu)
{
    auto& self = this_cpu();
    if (vcpu.ldt_entries == 0 && cpu::read_ldt() == 0) return;

    // All 16 places: no page of the former table stays in sight.
    for (std::size_t i = 0; i < vcpu.ldt.size(); ++i)
        self.slot_l1[slot::ldt / page_size + i] = vcpu.ldt[i] != 0 ? vcpu.ldt[i] | paging::read_only : 0;
    cpu::write_cr3(self.hypervisor_root);
    self.forget_guest = true;

    // [sdm/3] 8.2.3 (LDT descriptor in 64-bit mode: 16 bytes, type 2), [sdm/2] LLDT
    std::uint64_t selector = 0;
    if (vcpu.ldt_entries != 0) {
        constexpr auto base = PVN_SLOT_BASE + slot::ldt;
        auto const limit = std::uint64_t{vcpu.ldt_entries} * 8 - 1;
        self.gdt[ldt_selector / 8] = limit | (base & 0xffffff) << 16 | std::uint64_t{0x82} << 40 | (base >> 24 & 0xff) << 56;
        self.gdt[ldt_selector / 8 + 1] = base >> 32;
        selector = ldt_selector;
    }
    cpu::write_ldt(selector);
}

void free(Vcpu& vcpu)
{
    free_pages(vcpu.ldt);
    vcpu.ldt = {};
    vcpu.ldt_entries = 0;
}

std::uint64_t descriptor(Vcpu const& vcpu, std::uint64_t selector)
{
    auto const index = selector >> 3 & 0x1fff;
    if (index >= vcpu.ldt_entries) return 0;
    return static_cast<std::uint64_t const*>(physical_pointer(vcpu.ldt[index / per_page]))[index % per_page];
}

}  // namespace pvn::ldt
