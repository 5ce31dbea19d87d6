// SPDX-License-Identifier: MIT
// A domain: one guest with its memory, ports and vCPUs.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <span>
#include <string_view>

#include "arch/x86/per_cpu.hpp"
#include "domain/vcpu.hpp"
#include "event/port_table.hpp"
#include "grant/mappings.hpp"
#include "grant/table.hpp"
#include "lib/bounded.hpp"
#include "lib/lock.hpp"
#include "lib/result.hpp"
#include "machine.hpp"
#include "memory/free_frames.hpp"

namespace pvn {

inline constexpr std::size_t domain_limit = 256;

struct TrapCount {
    std::uint64_t rip, count;
    std::array<std::uint8_t, 16> bytes;
};

struct Domain {
    Domain(DomainId its_id, bool is_privileged, std::uint32_t vcpus_) : id{its_id}, privileged{is_privileged}, vcpu_count{vcpus_}, ports{its_id, vcpus_} {}

    DomainId const id;
    bool const privileged;
    std::uint32_t const vcpu_count;
    std::array<std::uint8_t, 16> uuid{};

    // Its life: changed under the domains lock, read by anybody.
    std::atomic<bool> shut_down{}, dying{};
    std::atomic<std::uint32_t> pause_count{};
    std::atomic<std::uint32_t> reason{};
    bool dismantled{};                       // destroy(): its vCPUs are gone
    std::uint32_t vcpus_removed{};           // destroy(): of these, from the scheduler
    Port ports_closed{};                     // destroy(): those below
    std::uint32_t withdrawn_below{};         // destroy(): domains with lower ids offer it no ports any more
    std::array<std::uint64_t, cpu_limit> exits_when_gone{};
    std::uint64_t torn_down{};               // frames below this have been looked at by destroy()
    std::array<char, 128> last_words{};
    std::uint64_t last_rip{}, last_rsp{};

    std::atomic<std::uint32_t> pool{0};      // of CPUs, dispatcher/pools.hpp; likewise

    // Its memory.
    std::uint64_t frames PVN_GUARDED_BY(page_tables_lock){}, limit PVN_GUARDED_BY(page_tables_lock){};
    std::uint64_t p2m_frames{};
    std::span<std::uint64_t> p2m PVN_GUARDED_BY(page_tables_lock){};  // in the direct map; PVN_NO_FRAME where there is none
    MachineFrame p2m_first{};                // its frames
    std::uint64_t p2m_l2{};                  // physical: the level-2 table of the slot's P2M area
    std::uint64_t io_bitmap{};               // physical: two pages; a clear bit: the domain has the port
    pvn_domain_page* page{};                 // hostile memory
    MachineFrame page_frame{};
    std::atomic<std::uint64_t> dropped_at{}; // tlb/flush.hpp

    std::array<Vcpu*, vcpu_limit> vcpus{};
    std::array<pvn_vcpu_page*, vcpu_limit> vcpu_pages{};
    SpinLock ports_lock{Rank::ports};
    event::PortTable ports PVN_GUARDED_BY(ports_lock);

    grant::Table grants PVN_GUARDED_BY(page_tables_lock){};
    grant::Mappings mappings PVN_GUARDED_BY(page_tables_lock){};

    std::array<TrapCount, 64> traps{};       // approximate when several of its vCPUs trap
    std::uint32_t refused_stores{};          // of which a line was logged; likewise
    std::uint64_t console_credit{};          // of the console's lock: bytes it may still write before the next refill
    std::uint64_t console_refill{};

    bool runnable() const { return !shut_down && !dying && pause_count == 0; }
    std::span<Vcpu* const> all_vcpus() const { return {vcpus.data(), vcpu_count}; }
    Vcpu* vcpu(std::uint64_t number) const { return number < vcpu_count ? vcpus[bounded(number, vcpu_count)] : nullptr; }
    Result<MachineFrame> frame(std::uint64_t pfn) const PVN_REQUIRES(page_tables_lock)
    {
        if (pfn >= p2m.size()) return Fail{Error::range};
        auto const frame = p2m[bounded(pfn, p2m.size())];
        if (frame == PVN_NO_FRAME) return Fail{Error::range};
        return MachineFrame{frame};
    }
};

// Domains are found without a lock.  One that was found stays where it is until this CPU leaves the hypervisor or waits for work:
// destroy() frees nothing before all CPUs have done so.
namespace domains {
inline constinit SpinLock lock{Rank::domains};

Domain* find(DomainId);
// Called now and then, with no lock held, by what takes long: lets interrupts in, where that may be.
using Breathe = void (*)();
// A paused domain without memory.
Result<Domain*> create(bool privileged, std::uint64_t limit, std::uint64_t p2m_frames, std::uint32_t vcpus, Breathe = [] {});
// Stops it for good with one line on the console; the toolstack destroys it.
void crash(Domain&, std::string_view why, Registers const&);
void shut_down(Domain&, std::uint32_t reason);
Result<void> pause(Domain&);    // returns when none of its vCPUs is active
Result<void> unpause(Domain&);
// The state in which a vCPU starts; it is not running and, but for vCPU 0 of a new domain, not to be started by this.
Result<void> set_context(Vcpu&, pvn_vcpu_context const&);
// Gives back some of its resources, until that system time or a little longer; again: call again.
Result<void> destroy(DomainId, std::uint64_t until, Breathe);
// Gives `pfn` a cleared frame; `wanted`: that very one.  `keep`: at boot, for a dom0 that may as well see what was there.
Result<void> populate(Domain&, std::uint64_t pfn, MachineFrame const* wanted = nullptr,
                      free_frames::Contents = free_frames::Contents::clear);
Result<void> give_back(Domain&, std::uint64_t pfn);
// The frame table has freed a frame of a dying domain.
void frame_freed(DomainId owner, MachineFrame) PVN_REQUIRES(page_tables_lock);
std::size_t count();
Domain* first_from(std::uint32_t id);
}  // namespace domains

}  // namespace pvn
