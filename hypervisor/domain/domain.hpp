// SPDX-License-Identifier: MIT
// A domain: one guest with its memory, ports and vCPUs.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>

#include "domain/vcpu.hpp"
#include "event/port_table.hpp"
#include "lib/result.hpp"
#include "memory/frame_allocator.hpp"

namespace pvn {

inline constexpr std::size_t domain_limit = 256;

struct TrapCount {
    std::uint64_t rip, count;
    std::array<std::uint8_t, 16> bytes;
};

struct Domain {
    Domain(DomainId its_id, bool is_privileged) : id{its_id}, privileged{is_privileged}, ports{its_id, 1} {}

    DomainId id;
    bool privileged;
    bool shut_down{}, dying{};
    std::uint32_t reason{};
    std::uint32_t pause_count{};
    std::uint64_t torn_down{};               // frames below this have been looked at by destroy()
    std::array<std::uint8_t, 16> uuid{};

    std::uint64_t frames{}, limit{};
    std::uint64_t p2m_frames{};
    std::span<std::uint64_t> p2m{};          // in the direct map; PVN_NO_FRAME where there is none
    MachineFrame p2m_first{}, p2m_run{};     // its frames
    std::uint64_t p2m_l2{};                  // physical: the level-2 table of the slot's P2M area
    std::uint64_t io_bitmap{};               // physical: two pages
    pvn_domain_page* page{};                 // hostile memory
    MachineFrame page_frame{};

    Vcpu vcpu{};
    event::PortTable ports;
    std::array<TrapCount, 64> traps{};
    std::array<char, 128> last_words{};
    std::uint64_t last_rip{}, last_rsp{};
    std::uint64_t console_credit{};          // bytes it may still write before the next refill
    std::uint64_t console_refill{};
    bool console_line_start{true};

    bool runnable() const { return !shut_down && !dying && pause_count == 0; }
    Result<MachineFrame> frame(std::uint64_t pfn) const
    {
        if (pfn >= p2m.size() || p2m[pfn] == PVN_NO_FRAME) return Fail{Error::range};
        return MachineFrame{p2m[pfn]};
    }
};

namespace domains {
Domain* find(DomainId);
// `uuid` zero: none.  A paused domain without memory.
Result<Domain*> create(bool privileged, std::uint64_t limit, std::uint64_t p2m_frames);
// Stops it for good with one line on the console; the toolstack destroys it.
void crash(Domain&, std::string_view why, Registers const&);
void shut_down(Domain&, std::uint32_t reason);
// Gives back some of its resources; again: call again.
Result<void> destroy(Domain&);
// Gives `pfn` a cleared frame; `wanted`: that very one.  `keep`: at boot, for a dom0 that may as well see what was there.
Result<void> populate(Domain&, std::uint64_t pfn, MachineFrame const* wanted = nullptr,
                      FrameAllocator::Contents = FrameAllocator::Contents::scrub);
Result<void> give_back(Domain&, std::uint64_t pfn);
// The frame table has freed a frame of a dying domain.
void frame_freed(MachineFrame);
std::size_t count();
Domain* first_from(std::uint32_t id);
}  // namespace domains

}  // namespace pvn
