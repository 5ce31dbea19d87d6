// SPDX-License-Identifier: MIT
#include "trace/trace.hpp"

#include <algorithm>
#include <array>

#include "arch/x86/per_cpu.hpp"
#include "domain/domain.hpp"
#include "machine.hpp"
#include "memory/free_frames.hpp"
#include "time/clock.hpp"

namespace pvn::trace {
namespace {

// Indices run free.  Written by its CPU only, read by whoever holds `reading`: a record that was overwritten while it was copied is
// found out by the index afterwards.
struct Ring {
    std::atomic<pvn_trace_record*> records{nullptr};
    std::atomic<std::uint64_t> written{0};
    std::uint64_t taken = 0;
};
constinit std::array<Ring, cpu_limit> rings{};
constinit SpinLock reading{Rank::domains};

}  // namespace

void detail::record(std::uint32_t event, std::uint64_t a, std::uint64_t b)
{
    auto const& self = this_cpu();
    auto& ring = rings[self.id];
    auto* const records = ring.records.load(std::memory_order_acquire);
    if (records == nullptr) return;
    auto const* const vcpu = self.current.load(std::memory_order_relaxed);
    auto const at = ring.written.load(std::memory_order_relaxed);
    constexpr std::uint16_t none = 0xffff;
    records[at % PVN_TRACE_RECORDS] = {clock::now(), event, vcpu != nullptr ? vcpu->domain->id.raw() : none,
                                       vcpu != nullptr ? static_cast<std::uint16_t>(vcpu->id.raw()) : none, a, b};
    ring.written.store(at + 1, std::memory_order_release);
}

Result<void> set(std::uint64_t events)
{
    if (events >> PVN_TRACE_EVENTS != 0) return Fail{Error::invalid};
    constexpr std::uint64_t pages = PVN_TRACE_RECORDS * sizeof(pvn_trace_record) / page_size;
    Guard const guard{reading};
    for (std::uint32_t cpu = 0; events != 0 && cpu < cpu_count; ++cpu) {
        if (rings[cpu].records != nullptr) continue;
        auto const run = free_frames::allocate_run(pages);
        if (!run) return Fail{Error::no_memory};
        {
            LockedFrames const table;
            for (std::uint64_t i = 0; i < pages; ++i) table->assign(*run + i, frames::hypervisor_owner);
        }
        rings[cpu].records = frame_pointer<pvn_trace_record>(*run);
    }
    wanted = events;
    return {};
}

Result<std::uint64_t> take(std::uint64_t cpu, std::span<pvn_trace_record> to)
{
    if (cpu >= cpu_count) return Fail{Error::not_found};
    Guard const guard{reading};
    auto& ring = rings[cpu];
    auto const* const records = ring.records.load();
    if (records == nullptr) return 0;
    for (;;) {
        auto const end = ring.written.load(std::memory_order_acquire);
        // One slot is left out: the writer may be at it.
        auto const begin = std::max(ring.taken, end >= PVN_TRACE_RECORDS ? end - PVN_TRACE_RECORDS + 1 : 0);
        auto const count = std::min<std::uint64_t>(to.size(), end - begin);
        for (std::uint64_t i = 0; i < count; ++i) to[i] = records[(begin + i) % PVN_TRACE_RECORDS];
        std::atomic_thread_fence(std::memory_order_acquire);
        if (ring.written.load(std::memory_order_relaxed) >= begin + PVN_TRACE_RECORDS) continue;  // it went round meanwhile
        ring.taken = begin + count;
        return count;
    }
}

}  // namespace pvn::trace
