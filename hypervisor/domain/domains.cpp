// SPDX-License-Identifier: MIT
#include <algorithm>
#include <cstring>
#include <memory>
#include <new>

#include "arch/x86/cpu.hpp"
#include "arch/x86/io_bitmap.hpp"
#include "arch/x86/ldt.hpp"
#include "arch/x86/memory_map.hpp"
#include "arch/x86/paging.hpp"
#include "arch/x86/per_cpu.hpp"
#include "console/log.hpp"
#include "domain/domain.hpp"
#include "dispatcher/notify.hpp"
#include "grant/grants.hpp"
#include "lib/bounded.hpp"
#include "machine.hpp"
#include "time/clock.hpp"
#include "tlb/flush.hpp"
#include "dispatcher/schedule.hpp"

namespace pvn::domains {
namespace {

constinit std::array<std::atomic<Domain*>, domain_limit> table{};               // those that can be found
constinit std::array<Domain*, domain_limit> leaving PVN_GUARDED_BY(lock){};     // those that only destroy() still knows
constinit std::array<bool, domain_limit> reserved PVN_GUARDED_BY(lock){};       // of domains that are being made
constinit std::uint32_t next_id PVN_GUARDED_BY(lock) = 1;

constexpr std::uint64_t domain_pages = (sizeof(Domain) + page_size - 1) / page_size;

std::uint64_t pages_for(std::uint64_t entries) { return (entries * 8 + page_size - 1) / page_size; }

std::optional<MachineFrame> own_run(std::uint64_t count, free_frames::Contents contents = free_frames::Contents::clear)
{
    auto const run = free_frames::allocate_run(count, contents);
    if (run) {
        LockedFrames const table_lock;
        for (std::uint64_t i = 0; i < count; ++i) table_lock->assign(*run + i, frames::hypervisor_owner);
    }
    return run;
}

void free_run(MachineFrame first, std::uint64_t count, Breathe breathe = [] {})
{
    for (std::uint64_t i = 0; i < count; ++i) {
        free_own_frame((first + i).raw() * page_size);
        if (i % 64 == 63) breathe();
    }
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

void free_own(Domain& domain, Breathe breathe) PVN_UNCHECKED  // nobody else knows it
{
    if (domain.p2m_l2 != 0) {
        auto const* const l2 = static_cast<std::uint64_t const*>(physical_pointer(domain.p2m_l2));
        for (unsigned i = 0; i < 512; ++i)
            if (l2[i] != 0) free_own_frame(l2[i] & paging::frame_mask);
        free_own_frame(domain.p2m_l2);
    }
    if (!domain.p2m.empty()) free_run(domain.p2m_first, pages_for(domain.p2m_frames), breathe);
    if (domain.io_bitmap != 0) free_run(MachineFrame{domain.io_bitmap / page_size}, 2);
    if (domain.page_frame.raw() != 0) free_own_frame(domain.page_frame.raw() * page_size);
    for (auto* const vcpu : domain.all_vcpus()) {
        if (vcpu == nullptr) continue;
        for (auto const frame : {vcpu->page_frame, vcpu->stack_frame})
            if (frame.raw() != 0) free_own_frame(frame.raw() * page_size);
        if (vcpu->fpu != nullptr) free_own_frame(frame_of(vcpu->fpu).raw() * page_size);
        io_bitmap::free(*vcpu);
        ldt::free(*vcpu);
        free_own_frame(frame_of(vcpu).raw() * page_size);
        breathe();
    }
    grant::free_memory(domain);
    free_run(frame_of(&domain), domain_pages);
}

bool build_vcpu(Domain& domain, std::uint32_t number)
{
    static_assert(sizeof(Vcpu) <= page_size);
    auto const place = allocate_own_frame();
    if (place == 0) return false;
    auto& vcpu = *new (physical_pointer(place)) Vcpu{};
    domain.vcpus[number] = &vcpu;
    vcpu.domain = &domain;
    vcpu.id = VcpuId{number};
    auto const page = allocate_own_frame(), stack = allocate_own_frame(), fpu = allocate_own_frame();
    vcpu.page_frame = MachineFrame{page / page_size};  // 0: none
    vcpu.stack_frame = MachineFrame{stack / page_size};
    if (fpu != 0) vcpu.fpu = physical_pointer(fpu);
    if (page == 0 || stack == 0 || fpu == 0) return false;
    vcpu.page = static_cast<pvn_vcpu_page*>(physical_pointer(page));
    vcpu.page->event_mask = 1;
    vcpu.page->vcpu_id = number;
    domain.vcpu_pages[number] = vcpu.page;
    auto* const fpu_area = static_cast<std::uint32_t*>(vcpu.fpu);
    fpu_area[0] = 0x37f;   // FCW, and MXCSR below: their values after reset.  [sdm/1] 13.6
    fpu_area[6] = 0x1f80;
    return true;
}

bool build(Domain& domain, Breathe breathe) PVN_UNCHECKED
{
    auto const p2m = own_run(pages_for(domain.p2m_frames), free_frames::Contents::keep);
    if (!p2m) return false;
    domain.p2m_first = *p2m;
    domain.p2m = {frame_pointer<std::uint64_t>(*p2m), domain.p2m_frames};
    constexpr std::uint64_t at_once = 8192;
    std::span const whole_pages{domain.p2m.data(), pages_for(domain.p2m_frames) * page_size / 8};  // the last one's end is not shown to be anything
    for (auto left = whole_pages; !left.empty(); left = left.subspan(std::min<std::uint64_t>(at_once, left.size()))) {
        std::ranges::fill(left.first(std::min<std::uint64_t>(at_once, left.size())), PVN_NO_FRAME);
        breathe();
    }
    if (!build_p2m_window(domain)) return false;

    auto const bitmap = own_run(2);
    if (!bitmap) return false;
    domain.io_bitmap = bitmap->raw() * page_size;
    std::memset(frame_pointer(*bitmap), 0xff, 2 * page_size);  // no port

    auto const page = allocate_own_frame();
    if (page == 0) return false;
    domain.page_frame = MachineFrame{page / page_size};
    domain.page = static_cast<pvn_domain_page*>(physical_pointer(page));
    std::memset(domain.page->event_mask, 0xff, sizeof(domain.page->event_mask));
    domain.page->p2m_frames = domain.p2m_frames;
    domain.page->m2p_frames = machine.m2p.size();
    for (std::uint32_t number = 0; number < domain.vcpu_count; ++number) {
        if (!build_vcpu(domain, number)) return false;
        breathe();
    }
    return true;
}

std::optional<DomainId> free_id(bool privileged) PVN_REQUIRES(lock)
{
    if (privileged) return table[0].load() == nullptr ? std::optional{DomainId{0}} : std::nullopt;
    // Ids go round, so that one is not used again soon.
    for (std::uint32_t tried = 1; tried < domain_limit; ++tried) {
        auto const id = next_id;
        next_id = next_id + 1 == domain_limit ? 1 : next_id + 1;
        if (table[id] == nullptr && leaving[id] == nullptr && !reserved[id]) return DomainId{static_cast<std::uint16_t>(id)};
    }
    return std::nullopt;
}

bool any_active(Domain const& domain)
{
    return std::ranges::any_of(domain.all_vcpus(), [](auto const* vcpu) { return vcpu->active != no_cpu; });
}

// Whether every CPU has left the hypervisor, or waited, since the domain was taken out of the table.
bool forgotten_by_all(Domain const& domain)
{
    for (std::uint32_t id = 0; id < cpu_count; ++id) {
        auto const& cpu = *all_cpus[id];
        if (!cpu.stay.in_guest && !cpu.idle && cpu.stay.exits == domain.exits_when_gone[id]) return false;
    }
    return true;
}

// Nobody can look it up any more; and only then is it noted who may have.
void take_out(Domain& domain) PVN_REQUIRES(lock)
{
    leaving[domain.id.raw()] = &domain;
    table[domain.id.raw()] = nullptr;
    for (std::uint32_t id = 0; id < cpu_count; ++id) {
        auto& current = all_cpus[id]->current;
        auto* loaded = current.load();  // none is active: the CPU only still has its registers
        if (loaded != nullptr && loaded->domain == &domain) current.compare_exchange_strong(loaded, nullptr);
    }
    for (std::uint32_t id = 0; id < cpu_count; ++id) domain.exits_when_gone[id] = all_cpus[id]->stay.exits;
}

}  // namespace

Domain* find(DomainId id)
{
    return id.raw() < table.size() ? table[bounded(id.raw(), table.size())].load() : nullptr;
}

std::size_t count()
{
    std::size_t found = 0;
    for (std::uint16_t id = 0; id < table.size(); ++id) found += find(DomainId{id}) != nullptr ? 1 : 0;
    return found;
}

Domain* first_from(std::uint32_t id)
{
    for (; id < table.size(); ++id)
        if (auto* const domain = find(DomainId{static_cast<std::uint16_t>(id)})) return domain;
    return nullptr;
}

Result<Domain*> create(bool privileged, std::uint64_t limit, std::uint64_t p2m_frames, std::uint32_t vcpus, Breathe breathe) PVN_UNCHECKED
{
    if (p2m_frames == 0 || limit > p2m_frames || p2m_frames > std::uint64_t{1} << 27 || vcpus == 0 || vcpus > vcpu_limit)
        return Fail{Error::invalid};
    auto const run = own_run(domain_pages);
    if (!run) return Fail{Error::no_memory};
    std::optional<DomainId> id;
    {
        Guard const guard{lock};
        id = free_id(privileged);
        if (id) reserved[id->raw()] = true;
    }
    if (!id) {
        free_run(*run, domain_pages);
        return Fail{Error::no_space};
    }
    auto& domain = *new (frame_pointer(*run)) Domain{*id, privileged, vcpus};
    domain.limit = limit;
    domain.p2m_frames = p2m_frames;
    domain.pause_count = 1;
    bool const built = build(domain, breathe);
    if (!built) free_own(domain, breathe);
    Guard const guard{lock};
    reserved[id->raw()] = false;
    if (!built) return Fail{Error::no_memory};
    clock::publish_wall(domain);
    for (auto* const vcpu : domain.all_vcpus()) schedule::add(*vcpu);
    table[id->raw()] = &domain;
    return &domain;
}

Result<void> pause(Domain& domain)
{
    {
        Guard const guard{lock};
        if (domain.pause_count == 0xffff) return Fail{Error::busy};
        ++domain.pause_count;
    }
    schedule::domain_changed(domain);
    schedule::wait_until_inactive(domain);
    return {};
}

Result<void> unpause(Domain& domain)
{
    {
        Guard const guard{lock};
        if (domain.pause_count == 0) return Fail{Error::invalid};
        if (domain.pause_count == 1 && domain.vcpus[0]->root.raw() == 0) return Fail{Error::invalid};  // it has no context yet
        --domain.pause_count;
    }
    schedule::domain_changed(domain);
    return {};
}

void shut_down(Domain& domain, std::uint32_t reason)
{
    {
        Guard const guard{lock};
        if (domain.shut_down) return;
        domain.reason = reason;
        domain.shut_down = true;
    }
    schedule::domain_changed(domain);
    event::raise_virq(PVN_VIRQ_DOMAIN);
    if (domain.privileged) {
        log("dom0 has shut down (reason {})", reason);
        if (reason == PVN_SHUTDOWN_REBOOT) restart();
        power_off();
    }
    // Without a dom0 nobody would ever start another one.
    if (find(DomainId{0}) != nullptr) return;
    for (auto* other = first_from(1); other != nullptr; other = first_from(other->id.raw() + 1u))
        if (!other->shut_down) return;
    log("the last domain has ended");
    power_off();
}

void crash(Domain& domain, std::string_view why, Registers const& registers)
{
    {
        Guard const guard{lock};
        if (domain.shut_down) return;
        auto const length = std::min(why.size(), domain.last_words.size() - 1);
        std::ranges::copy(why.substr(0, length), domain.last_words.begin());
        domain.last_words[length] = 0;
        domain.last_rip = registers.rip;
        domain.last_rsp = registers.rsp;
    }
    log("d{} ended: {} (rip {} cs {} rsp {} flags {} error {} vector {})", domain.id.raw(), why, Hex{registers.rip}, Hex{registers.cs},
        Hex{registers.rsp}, Hex{registers.rflags}, Hex{registers.error}, registers.vector);
    log("d{} rax {} rbx {} rcx {} rdx {} rsi {} rdi {} rbp {} r8 {} r9 {} r10 {}", domain.id.raw(), Hex{registers.rax}, Hex{registers.rbx},
        Hex{registers.rcx}, Hex{registers.rdx}, Hex{registers.rsi}, Hex{registers.rdi}, Hex{registers.rbp}, Hex{registers.r8},
        Hex{registers.r9}, Hex{registers.r10});
    shut_down(domain, PVN_SHUTDOWN_CRASH);
}

// What is left of it is its own memory, once nobody can be looking at it any more.
static Result<Domain*> bury(Domain& domain) PVN_REQUIRES(lock)
{
    if (!forgotten_by_all(domain)) return Fail{Error::again};
    // What others offer to it is not for the next one with its id.
    for (int left = 2;; --left) {
        auto* const other = first_from(domain.withdrawn_below);
        if (other == nullptr) break;
        if (left == 0) return Fail{Error::again};
        event::LockedPorts{*other}.of(*other).withdraw_offers(domain.id);
        domain.withdrawn_below = other->id.raw() + 1u;
    }
    leaving[domain.id.raw()] = nullptr;
    reserved[domain.id.raw()] = true;
    return &domain;
}

// It runs no more, and is the caller's to take apart, bit by bit.
static Result<void> condemn(DomainId id)
{
    Domain* domain = nullptr;
    {
        Guard const guard{lock};
        domain = id.raw() < table.size() ? table[id.raw()].load() : nullptr;
        if (domain == nullptr) return {};  // maybe it is leaving
        if (domain->privileged) return Fail{Error::denied};
        domain->dying = true;
    }
    schedule::domain_changed(*domain);
    return {};
}

static Result<Domain*> dismantle(DomainId id, std::uint64_t until)
{
    Guard const guard{lock};
    if (id.raw() >= table.size()) return Fail{Error::not_found};
    auto* const last = leaving[id.raw()];
    auto* const found = last != nullptr ? last : table[id.raw()].load();
    if (found == nullptr) return Fail{Error::not_found};
    auto& domain = *found;
    if (!domain.dying) return Fail{Error::again};  // another one, with the same id
    if (last != nullptr) return bury(domain);
    if (any_active(domain)) return Fail{Error::again};
    if (!domain.dismantled) {
        for (int left = 16; domain.vcpus_removed < domain.vcpu_count; --left) {
            if (left == 0) return Fail{Error::again};
            schedule::remove(*domain.vcpus[domain.vcpus_removed++]);
        }
        domain.dismantled = true;
        LockedFrames const table_lock;
        for (auto* const vcpu : domain.all_vcpus()) {
            if (vcpu->root.raw() != 0) table_lock->drop_root(vcpu->root);
            vcpu->root = MachineFrame{};
        }
        grant::drop_table(table_lock, domain);
        return Fail{Error::again};  // enough for one call
    }
    if (!event::close_some(domain) || !grant::end_some_mappings(domain)) return Fail{Error::again};
    // In short slices of the frame table: others may have its lock in between.
    constexpr std::uint64_t budget = 64;
    do {
        LockedFrames const table_lock;
        tlb::flush_dropped(domain.id);  // dom0 may have had its memory mapped
        domain.torn_down = PVN_TRY(table_lock->tear_down(domain.id, domain.torn_down, budget));
    } while (domain.torn_down < machine.frame_count && clock::now() < until);
    if (domain.torn_down < machine.frame_count) return Fail{Error::again};
    if (LockedFrames const table_lock; domain.frames != 0) {
        domain.torn_down = 0;
        return Fail{Error::busy};  // another domain still maps some
    }
    take_out(domain);
    return bury(domain);
}

Result<void> destroy(DomainId id, std::uint64_t until, Breathe breathe)
{
    PVN_CHECK(condemn(id));
    free_own(*PVN_TRY(dismantle(id, until)), breathe);
    {
        Guard const guard{lock};
        reserved[bounded(id.raw(), reserved.size())] = false;
    }
    event::raise_virq(PVN_VIRQ_DOMAIN);
    return {};
}

}  // namespace pvn::domains
