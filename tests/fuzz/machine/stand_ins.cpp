// SPDX-License-Identifier: MIT
// In place of the parts of the hypervisor that are not there, as far as hypercalls ask for them.
#include <algorithm>
#include <cstdlib>
#include <span>
#include <utility>

#include "arch/x86/cpu_setup.hpp"
#include "arch/x86/per_cpu.hpp"
#include "arch/x86/root_copies.hpp"
#include "arch/x86/slot_addresses.hpp"
#include "audit/audit.hpp"
#include "console/log.hpp"
#include "debug/keys.hpp"
#include "dispatcher/pools.hpp"
#include "dispatcher/schedule.hpp"
#include "interrupts/interrupts.hpp"
#include "memory/free_frames.hpp"
#include "time/clock.hpp"
#include "tlb/flush.hpp"
#include "trace/trace.hpp"
#include "world.hpp"

namespace pvn {

extern "C" SlotAddresses const slot_addresses{};

std::uint32_t& held_ranks() { return this_cpu().held_ranks; }
void lock_order_violated(Rank) { fuzz::expect(false, "locks are taken in the wrong order"); std::abort(); }
void waiting_long() { fuzz::expect(false, "a lock is never given back"); }
void panic(std::string_view) { fuzz::expect(false, "panic"); std::abort(); }

std::uint64_t allocate_own_frame()
{
    auto const frame = free_frames::allocate();
    if (!frame) return 0;
    LockedFrames{}->assign(*frame, frames::hypervisor_owner);
    return frame->raw() * page_size;
}

void free_own_frame(std::uint64_t physical)
{
    MachineFrame const frame{physical / page_size};
    fuzz::expect(LockedFrames{}->release(frame, frames::hypervisor_owner).has_value(), "a frame of the hypervisor is still in use");
    free_frames::free(frame);
}

namespace free_frames {

std::optional<MachineFrame> allocate()
{
    for (std::uint64_t frame = fuzz::all_frames - 1; frame > 0; --frame)
        if (take(MachineFrame{frame})) return MachineFrame{frame};
    return std::nullopt;
}

bool take(MachineFrame frame, Contents)
{
    if (frame.raw() >= fuzz::all_frames || !fuzz::is_free[frame.raw()]) return false;
    fuzz::is_free[frame.raw()] = false;
    std::ranges::fill(std::span{frame_pointer<std::uint64_t>(frame), 512}, 0);
    return true;
}

void free(MachineFrame frame)
{
    fuzz::expect(!fuzz::is_free.at(frame.raw()), "a frame is given back twice");
    fuzz::is_free[frame.raw()] = true;
}

std::uint64_t count() { return static_cast<std::uint64_t>(std::ranges::count(fuzz::is_free, true)); }
LockStatistics lock_statistics() { return {}; }
std::uint64_t fail_at(std::uint64_t) { return 0; }

}  // namespace free_frames

namespace domains {

Domain* find(DomainId id) { return fuzz::world != nullptr && id.raw() < fuzz::domains_in_all ? &fuzz::world->domain(id.raw()) : nullptr; }
Domain* first_from(std::uint32_t id) { return id < fuzz::domains_in_all ? find(DomainId{static_cast<std::uint16_t>(id)}) : nullptr; }
std::size_t count() { return fuzz::domains_in_all; }
Result<Domain*> create(bool, std::uint64_t, std::uint64_t, std::uint32_t, Breathe) { return Fail{Error::no_space}; }
Result<void> destroy(DomainId, std::uint64_t, Breathe) { return Fail{Error::not_found}; }
void shut_down(Domain& domain, std::uint32_t reason)
{
    domain.reason = reason;
    domain.shut_down = true;
}
Result<void> pause(Domain& domain)
{
    ++domain.pause_count;
    return {};
}
Result<void> unpause(Domain& domain)
{
    if (domain.pause_count == 0) return Fail{Error::invalid};
    --domain.pause_count;
    return {};
}

}  // namespace domains

namespace schedule {

void yield(Vcpu&) {}
void block(Vcpu&) {}
void wake(Vcpu&) {}
void wake_poller(Vcpu&) {}
void notify(Vcpu&) {}
void poll(Vcpu& vcpu, std::uint64_t) { vcpu.poll_count = 0; }
void set_timer(Vcpu& vcpu, std::uint64_t deadline) { vcpu.timer.set(deadline); }
void let_interrupts_in() { this_cpu().reschedule = true; }  // it is another vCPU's turn: what has stopped goes through the guest
Result<void> start(Vcpu& vcpu)
{
    if (vcpu.state != VcpuState::offline) return Fail{Error::busy};
    vcpu.state = VcpuState::runnable;
    return {};
}
Result<void> stop(Vcpu& vcpu)
{
    if (vcpu.state == VcpuState::offline) return Fail{Error::invalid};
    vcpu.state = VcpuState::offline;
    return {};
}
std::uint64_t cpu_time(Vcpu& vcpu) { return vcpu.cpu_time; }
sched::Parameters parameters(Vcpu&) { return {}; }
Result<void> set_parameters(Vcpu&, pvn_sched_parameters const&) { return {}; }
void fill_info(Vcpu&, pvn_vcpu_info&) {}
void fill_info(PerCpu const&, pvn_cpu_info&) {}
LockStatistics run_queue_locks() { return {}; }

}  // namespace schedule

namespace pools {

Result<std::uint32_t> create(sched::Kind) PVN_UNCHECKED { return Fail{Error::no_space}; }
Result<void> destroy(std::uint64_t) PVN_UNCHECKED { return Fail{Error::not_found}; }
// The search stops once.
Result<bool> take_cpu(std::uint64_t, std::uint64_t, std::uint64_t& searched, std::uint64_t) PVN_UNCHECKED
{
    if (std::exchange(searched, 1) == 0) return false;
    return Fail{Error::not_found};
}
bool is_moving(std::uint64_t) { return false; }
Result<void> take_domain(std::uint64_t, Domain&) PVN_UNCHECKED { return Fail{Error::not_found}; }
Result<bool> set_online(std::uint64_t cpu, bool, std::uint64_t& searched, std::uint64_t until) PVN_UNCHECKED { return take_cpu(0, cpu, searched, until); }
Result<void> set_affinity(Vcpu&, sched::Affinity const&) PVN_UNCHECKED { return {}; }
bool fill_info(std::uint32_t, pvn_pool_info&) PVN_UNCHECKED { return false; }
std::string_view policy_name(std::uint32_t) { return "bvt"; }

}  // namespace pools

namespace interrupts {

Result<std::uint32_t> map_gsi(std::uint32_t, std::uint32_t) { return Fail{Error::not_found}; }
Result<std::uint32_t> map_msi(pvn_phys_msi&) { return Fail{Error::no_space}; }
Result<void> unmap(std::uint32_t) { return Fail{Error::not_found}; }
Result<void> end(std::uint32_t) { return Fail{Error::not_found}; }
Result<void> bind(std::uint32_t irq, Domain&, Port) { return irq % 2 == 0 ? Result<void>{} : Fail{Error::not_found}; }
Result<std::uint32_t> io_apic_read(std::uint64_t, std::uint32_t) { return Fail{Error::invalid}; }

}  // namespace interrupts

namespace clock {

static constinit std::uint64_t time = 1;
std::uint64_t now() { return time += fuzz::clock_step; }
std::uint64_t tsc_khz() { return 1000000; }
void set_wall(std::uint64_t) {}
void publish_wall(Domain&) {}

}  // namespace clock

namespace tlb {
void forget_guest() {}
void flush_dropped(DomainId) {}
void flush_vcpus(Domain const&, std::uint64_t) {}
}  // namespace tlb

namespace root_copies {
void load(MachineFrame) {}
}  // namespace root_copies

namespace cpu {
void set_descriptor(unsigned, std::uint64_t) {}
std::uint64_t allowed_xcr0() { return 7; }
}  // namespace cpu

namespace trace {
void detail::record(std::uint32_t, std::uint64_t, std::uint64_t) {}
Result<void> set(std::uint64_t) { return Fail{Error::no_memory}; }
Result<std::uint64_t> take(std::uint64_t, std::span<pvn_trace_record>) { return 0; }
}  // namespace trace

namespace console {
void write(std::string_view) {}
std::size_t read_log(std::size_t offset, std::span<char> to)
{
    std::ranges::fill(to, 'x');
    return offset < 1000 ? to.size() : 0;
}
bool read_input(char&) { return false; }
}  // namespace console

namespace detail {
Line::Line(console::Writer) : at_start_{true} {}
Line::~Line() = default;
void put(std::string_view) {}
void put(Hex) {}
void put(std::uint64_t) {}
void put(std::int64_t) {}
}  // namespace detail

namespace audit {
Result<std::uint64_t> run()
{
    fuzz::world->check();
    return 0;
}
}  // namespace audit

namespace debug {
Result<void> key(char) { return Fail{Error::invalid}; }
}  // namespace debug

}  // namespace pvn
