// SPDX-License-Identifier: MIT
#include <algorithm>
#include <cstring>
#include <memory>
#include <new>

#include "arch/x86/memory_map.hpp"
#include "arch/x86/paging.hpp"
#include "console/log.hpp"
#include "domain/domain.hpp"
#include "dispatcher/notify.hpp"
#include "machine.hpp"
#include "time/clock.hpp"
#include "dispatcher/schedule.hpp"

namespace pvn::domains {
namespace {

constinit std::array<Domain*, domain_limit> table{};
constinit std::uint32_t next_id = 1;

constexpr std::uint64_t domain_pages = (sizeof(Domain) + page_size - 1) / page_size;

std::uint64_t pages_for(std::uint64_t entries) { return (entries * 8 + page_size - 1) / page_size; }

std::optional<MachineFrame> own_run(std::uint64_t count)
{
    auto const run = machine.allocator.allocate_run(count);
    if (run)
        for (std::uint64_t i = 0; i < count; ++i) machine.frames->assign(*run + i, frames::hypervisor_owner);
    return run;
}

void free_run(MachineFrame first, std::uint64_t count)
{
    for (std::uint64_t i = 0; i < count; ++i) free_own_frame((first + i).raw() * page_size);
}

// Tables that show the P2M in the slot.
bool build_p2m_window(Domain& domain)
{
    domain.p2m_l2 = allocate_own_frame();
    if (domain.p2m_l2 == 0) return false;
    auto* const l2 = static_cast<std::uint64_t*>(physical_pointer(domain.p2m_l2));
    for (std::uint64_t page = 0; page < pages_for(domain.p2m_frames); ++page) {
        if (page / 512 >= 512) return false;
        auto& entry = l2[page / 512];
        if (entry == 0) {
            auto const l1 = allocate_own_frame();
            if (l1 == 0) return false;
            entry = l1 | paging::table;
        }
        static_cast<std::uint64_t*>(physical_pointer(entry & paging::frame_mask))[page % 512] =
            (domain.p2m_first + page).raw() * page_size | paging::read_only;
    }
    return true;
}

void free_own(Domain& domain)
{
    if (domain.p2m_l2 != 0) {
        auto const* const l2 = static_cast<std::uint64_t const*>(physical_pointer(domain.p2m_l2));
        for (unsigned i = 0; i < 512; ++i)
            if (l2[i] != 0) free_own_frame(l2[i] & paging::frame_mask);
        free_own_frame(domain.p2m_l2);
    }
    if (!domain.p2m.empty()) free_run(domain.p2m_first, pages_for(domain.p2m_frames));
    if (domain.io_bitmap != 0) free_run(MachineFrame{domain.io_bitmap / page_size}, 2);
    if (domain.page_frame.raw() != 0) free_own_frame(domain.page_frame.raw() * page_size);
    if (domain.vcpu.page_frame.raw() != 0) free_own_frame(domain.vcpu.page_frame.raw() * page_size);
    if (domain.vcpu.fpu != nullptr) free_own_frame(frame_of(domain.vcpu.fpu).raw() * page_size);
    free_run(frame_of(&domain), domain_pages);
}

bool build(Domain& domain)
{
    auto const p2m = own_run(pages_for(domain.p2m_frames));
    if (!p2m) return false;
    domain.p2m_first = *p2m;
    domain.p2m = {frame_pointer<std::uint64_t>(*p2m), domain.p2m_frames};
    std::ranges::fill(domain.p2m, PVN_NO_FRAME);
    if (!build_p2m_window(domain)) return false;

    auto const bitmap = own_run(2);
    if (!bitmap) return false;
    domain.io_bitmap = bitmap->raw() * page_size;
    std::memset(frame_pointer(*bitmap), 0xff, 2 * page_size);  // no port

    auto const page = allocate_own_frame(), vcpu_page = allocate_own_frame(), fpu = allocate_own_frame();
    if (page != 0) domain.page_frame = MachineFrame{page / page_size};
    if (vcpu_page != 0) domain.vcpu.page_frame = MachineFrame{vcpu_page / page_size};
    if (fpu != 0) domain.vcpu.fpu = physical_pointer(fpu);
    if (page == 0 || vcpu_page == 0 || fpu == 0) return false;
    domain.page = static_cast<pvn_domain_page*>(physical_pointer(page));
    std::memset(domain.page->event_mask, 0xff, sizeof(domain.page->event_mask));
    domain.page->p2m_frames = domain.p2m_frames;
    domain.page->m2p_frames = machine.m2p.size();
    domain.vcpu.page = static_cast<pvn_vcpu_page*>(physical_pointer(vcpu_page));
    domain.vcpu.page->event_mask = 1;
    auto* const fpu_area = static_cast<std::uint32_t*>(domain.vcpu.fpu);
    fpu_area[0] = 0x37f;   // FCW, and MXCSR below: their values after reset.  [sdm/1] 13.6
    fpu_area[6] = 0x1f80;
    return true;
}

std::optional<DomainId> free_id(bool privileged)
{
    if (privileged) return table[0] == nullptr ? std::optional{DomainId{0}} : std::nullopt;
    // Ids go round, so that one is not used again soon.
    for (std::uint32_t tried = 1; tried < domain_limit; ++tried) {
        auto const id = next_id;
        next_id = next_id + 1 == domain_limit ? 1 : next_id + 1;
        if (table[id] == nullptr) return DomainId{static_cast<std::uint16_t>(id)};
    }
    return std::nullopt;
}

}  // namespace

Domain* find(DomainId id) { return id.raw() < table.size() ? table[id.raw()] : nullptr; }

std::size_t count()
{
    return static_cast<std::size_t>(std::ranges::count_if(table, [](auto const* d) { return d != nullptr; }));
}

Domain* first_from(std::uint32_t id)
{
    for (; id < table.size(); ++id)
        if (table[id] != nullptr) return table[id];
    return nullptr;
}

Result<Domain*> create(bool privileged, std::uint64_t limit, std::uint64_t p2m_frames)
{
    if (p2m_frames == 0 || limit > p2m_frames || p2m_frames > std::uint64_t{1} << 27) return Fail{Error::invalid};
    auto const id = free_id(privileged);
    if (!id) return Fail{Error::no_space};
    auto const run = own_run(domain_pages);
    if (!run) return Fail{Error::no_memory};
    auto& domain = *new (frame_pointer(*run)) Domain{*id, privileged};
    domain.limit = limit;
    domain.p2m_frames = p2m_frames;
    domain.pause_count = 1;
    domain.vcpu.domain = &domain;
    if (!build(domain)) {
        free_own(domain);
        return Fail{Error::no_memory};
    }
    clock::publish_wall(domain);
    table[id->raw()] = &domain;
    schedule::add(domain.vcpu);
    return &domain;
}

Result<void> populate(Domain& domain, std::uint64_t pfn, MachineFrame const* wanted, FrameAllocator::Contents contents)
{
    if (pfn >= domain.p2m.size()) return Fail{Error::range};
    if (domain.p2m[pfn] != PVN_NO_FRAME) return Fail{Error::exists};
    if (domain.frames >= domain.limit || domain.dying) return Fail{Error::no_memory};
    std::optional<MachineFrame> frame;
    if (wanted == nullptr)
        frame = machine.allocator.allocate();
    else if (machine.allocator.take(*wanted, contents))
        frame = *wanted;
    if (!frame) return Fail{Error::no_memory};
    machine.frames->assign(*frame, domain.id);
    domain.p2m[pfn] = frame->raw();
    machine.m2p[frame->raw()] = pfn;
    ++domain.frames;
    return {};
}

Result<void> give_back(Domain& domain, std::uint64_t pfn)
{
    auto const frame = PVN_TRY(domain.frame(pfn));
    // Translations of it die with the change of root on the way back to any guest: nothing is global, there is no PCID.
    PVN_CHECK(machine.frames->release(frame, domain.id));
    domain.p2m[pfn] = PVN_NO_FRAME;
    machine.m2p[frame.raw()] = PVN_NO_FRAME;
    machine.allocator.free(frame);
    --domain.frames;
    return {};
}

void shut_down(Domain& domain, std::uint32_t reason)
{
    if (domain.shut_down) return;
    domain.shut_down = true;
    domain.reason = reason;
    schedule::domain_changed(domain);
    event::raise_virq(PVN_VIRQ_DOMAIN);
    if (domain.privileged) {
        log("dom0 has shut down (reason {})", domain.reason);
        if (reason == PVN_SHUTDOWN_REBOOT) restart();
        power_off();
    }
    // Without a dom0 nobody would ever start another one.
    if (find(DomainId{0}) == nullptr &&
        std::ranges::all_of(table, [](auto const* d) { return d == nullptr || d->shut_down; })) {
        log("the last domain has ended");
        power_off();
    }
}

void crash(Domain& domain, std::string_view why, Registers const& registers)
{
    auto const length = std::min(why.size(), domain.last_words.size() - 1);
    std::ranges::copy(why.substr(0, length), domain.last_words.begin());
    domain.last_words[length] = 0;
    domain.last_rip = registers.rip;
    domain.last_rsp = registers.rsp;
    log("d{} ended: {} (rip {} cs {} rsp {} flags {} error {} vector {})", domain.id.raw(), why, Hex{registers.rip}, Hex{registers.cs},
        Hex{registers.rsp}, Hex{registers.rflags}, Hex{registers.error}, registers.vector);
    log("d{} rax {} rbx {} rcx {} rdx {} rsi {} rdi {} rbp {} r8 {} r9 {} r10 {}", domain.id.raw(), Hex{registers.rax}, Hex{registers.rbx},
        Hex{registers.rcx}, Hex{registers.rdx}, Hex{registers.rsi}, Hex{registers.rdi}, Hex{registers.rbp}, Hex{registers.r8},
        Hex{registers.r9}, Hex{registers.r10});
    shut_down(domain, PVN_SHUTDOWN_CRASH);
}

Result<void> destroy(Domain& domain)
{
    if (domain.privileged) return Fail{Error::denied};
    auto& frame_table = *machine.frames;
    if (!domain.dying) {
        domain.dying = true;
        schedule::remove(domain.vcpu);
        event::close_all(domain);
        if (domain.vcpu.root.raw() != 0) frame_table.drop_root(domain.vcpu.root);
        domain.vcpu.root = MachineFrame{};
    }
    // Bounded: a slice of the frame table for each call.
    constexpr std::uint64_t budget = 65536;
    auto const next = PVN_TRY(frame_table.tear_down(domain.id, domain.torn_down, budget));
    domain.torn_down = next < frame_table.size() ? next : 0;
    if (next < frame_table.size()) return Fail{Error::again};
    if (domain.frames != 0) return Fail{Error::busy};  // another domain still maps some
    table[domain.id.raw()] = nullptr;
    event::raise_virq(PVN_VIRQ_DOMAIN);
    free_own(domain);
    return {};
}

void frame_freed(MachineFrame frame)
{
    auto const pfn = machine.m2p[frame.raw()];
    machine.m2p[frame.raw()] = PVN_NO_FRAME;
    for (auto* const domain : table)
        if (domain != nullptr && domain->dying && pfn < domain->p2m.size() && domain->p2m[pfn] == frame.raw()) {
            domain->p2m[pfn] = PVN_NO_FRAME;
            --domain->frames;
        }
    machine.allocator.free(frame);
}

}  // namespace pvn::domains
