// SPDX-License-Identifier: MIT
// docs/abi/system.md
#include <algorithm>
#include <array>

#include "arch/x86/cpu.hpp"
#include "arch/x86/per_cpu.hpp"
#include "boot/boot_info.hpp"
#include "console/log.hpp"
#include "debug/keys.hpp"
#include "dispatcher/pools.hpp"
#include "dispatcher/schedule.hpp"
#include "guest/access.hpp"
#include "hypercall/dispatch.hpp"
#include "machine.hpp"
#include "memory/free_frames.hpp"
#include "time/clock.hpp"
#include "trace/trace.hpp"

namespace pvn::hypercall {
namespace {

constexpr std::uint64_t most_bytes = 4096;
// What an unprivileged domain may write: a burst, and then so much each second.
constexpr std::uint64_t console_burst = 65536, console_rate = 16384;

// Takes `wanted` bytes, or as many as there are, from what the domain may write.  Within a console line: its vCPUs take turns.
std::uint64_t take_credit(Domain& domain, std::uint64_t wanted)
{
    auto const now = clock::now();
    constexpr std::uint64_t second = 1000000000;
    if (domain.console_refill == 0) {
        domain.console_credit = console_burst;
        domain.console_refill = now;
    } else if (auto const since = now > domain.console_refill ? std::min(now - domain.console_refill, 10 * second) : 0;
               since * console_rate / second != 0) {
        domain.console_credit = std::min(console_burst, domain.console_credit + since * console_rate / second);
        domain.console_refill = now;
    }
    auto const taken = std::min(wanted, domain.console_credit);
    domain.console_credit -= taken;
    return taken;
}

// A domU's lines say whose they are, and cannot be mistaken for the hypervisor's.
void write_marked(Domain& domain, std::string_view text, bool start)
{
    for (char const c : text) {
        if (start) {
            detail::put("(d");
            detail::put(std::uint64_t{domain.id.raw()});
            detail::put(") ");
        }
        bool const printable = (c >= ' ' && c <= '~') || c == '\n' || c == '\t';
        char const shown = printable ? c : '?';
        if (c != '\r') console::write({&shown, 1});
        start = c == '\n';
    }
}

}  // namespace

Outcome system_version(Vcpu&, Arguments const&) { return PVN_ABI_VERSION; }

Outcome system_console_write(Vcpu& vcpu, Arguments const& a)
{
    if (a[1] > most_bytes) return Fail{Error::invalid};
    auto& domain = *vcpu.domain;
    std::array<char, 256> piece;
    auto done = std::min(a.progress.done, a[1]);
    while (done < a[1]) {
        if (a.progress.time_is_up() && done != a.progress.done) return a.progress.stop(done);
        auto const bytes = std::min<std::uint64_t>(piece.size(), a[1] - done);
        PVN_CHECK(guest::copy(vcpu, a[0] + done, piece.data(), bytes, guest::Access::read));
        detail::Line const line{static_cast<console::Writer>(domain.id.raw())};
        auto const allowed = domain.privileged ? bytes : take_credit(domain, bytes);
        std::string_view const text{piece.data(), allowed};
        if (domain.privileged)
            console::write(text);
        else
            write_marked(domain, text, line.at_start());
        done += allowed;
        if (allowed < bytes) break;
    }
    return static_cast<std::int64_t>(done);
}

Outcome system_console_read(Vcpu& vcpu, Arguments const& a)
{
    std::int64_t done = 0;
    for (char c = 0; static_cast<std::uint64_t>(done) < std::min(a[1], most_bytes); ++done) {
        PVN_CHECK(guest::copy(vcpu, a[0] + static_cast<std::uint64_t>(done), &c, 1, guest::Access::write));
        if (!console::read_input(c)) break;
        PVN_CHECK(guest::copy(vcpu, a[0] + static_cast<std::uint64_t>(done), &c, 1, guest::Access::write));
    }
    return done;
}

Outcome system_info(Vcpu& vcpu, Arguments const& a)
{
    pvn_system_info info{};
    info.cpus = cpu_count;
    info.domains = static_cast<std::uint32_t>(domains::count());
    info.frames = machine.ram_frames;
    info.free_frames = vcpu.domain->privileged ? free_frames::count() : 0;
    info.tsc_khz = clock::tsc_khz();
    info.uptime = clock::now();
    auto const copy_text = [](auto& to, std::string_view from) { std::ranges::copy(from.substr(0, sizeof to - 1), to); };
    copy_text(info.scheduler, pools::policy_name(0));
    copy_text(info.version, "Paravane 0.1");
    PVN_CHECK((GuestOut<pvn_system_info>{vcpu, a[0]}.write(info)));
    return 0;
}

Outcome system_debug_key(Vcpu&, Arguments const& a)
{
    if (a[0] > 0x7f) return Fail{Error::invalid};
    PVN_CHECK(debug::key(static_cast<char>(a[0])));
    return 0;
}

Outcome system_log_read(Vcpu& vcpu, Arguments const& a)
{
    std::array<char, 256> piece;
    std::uint64_t done = 0;
    while (done < std::min(a[1], most_bytes)) {
        auto const room = std::min<std::uint64_t>(piece.size(), std::min(a[1], most_bytes) - done);
        auto const bytes = console::read_log(a[2] + done, {piece.data(), room});
        if (bytes == 0) break;
        PVN_CHECK(guest::copy(vcpu, a[0] + done, piece.data(), bytes, guest::Access::write));
        done += bytes;
    }
    return static_cast<std::int64_t>(done);
}

Outcome system_cpu_info(Vcpu& vcpu, Arguments const& a)
{
    GuestOut<pvn_cpu_info> const out{vcpu, a[1]};
    std::int64_t filled = 0;
    for (auto cpu = a[0]; cpu < cpu_count && static_cast<std::uint64_t>(filled) < a[2]; ++cpu, ++filled) {
        pvn_cpu_info info{};
        schedule::fill_info(*all_cpus[cpu], info);
        PVN_CHECK(out.write(info, static_cast<std::uint64_t>(filled)));
    }
    return filled;
}

Outcome system_set_cpu(Vcpu&, Arguments const& a)
{
    if (a[1] > 1) return Fail{Error::invalid};
    Guard const guard{domains::lock};
    auto searched = a.progress.done;
    if (!PVN_TRY(pools::set_online(a[0], a[1] == 1, searched, a.progress.until()))) return a.progress.stop(searched);
    return 0;
}

Outcome system_pool_create(Vcpu&, Arguments const& a)
{
    static_assert(static_cast<int>(sched::Kind::bvt) == PVN_SCHED_POLICY_BVT && static_cast<int>(sched::Kind::round_robin) == PVN_SCHED_POLICY_RR &&
                  static_cast<int>(sched::Kind::null) == PVN_SCHED_POLICY_NULL);
    if (a[0] > PVN_SCHED_POLICY_NULL) return Fail{Error::invalid};
    Guard const guard{domains::lock};
    return PVN_TRY(pools::create(static_cast<sched::Kind>(a[0])));
}

Outcome system_pool_destroy(Vcpu&, Arguments const& a)
{
    Guard const guard{domains::lock};
    PVN_CHECK(pools::destroy(a[0]));
    return 0;
}

Outcome system_pool_info(Vcpu& vcpu, Arguments const& a)
{
    GuestOut<pvn_pool_info> const out{vcpu, a[1]};
    std::int64_t filled = 0;
    for (auto pool = a[0]; pool < pools::limit && static_cast<std::uint64_t>(filled) < a[2]; ++pool) {
        pvn_pool_info info{};
        {
            Guard const guard{domains::lock};
            if (!pools::fill_info(static_cast<std::uint32_t>(pool), info)) continue;
        }
        PVN_CHECK(out.write(info, static_cast<std::uint64_t>(filled++)));
    }
    return filled;
}

// The CPU goes to its new pool by itself, when its vCPUs have left; that is waited for with the guest's interrupts let in.
Outcome system_pool_take_cpu(Vcpu&, Arguments const& a)
{
    constexpr std::uint64_t waiting = std::uint64_t{1} << 31;
    if (a.progress.done != waiting) {
        Guard const guard{domains::lock};
        auto searched = a.progress.done;
        if (!PVN_TRY(pools::take_cpu(a[0], a[1], searched, a.progress.until()))) return a.progress.stop(searched);
    }
    while (pools::is_moving(a[1])) {
        if (a[1] == this_cpu().id || a.progress.time_is_up()) return a.progress.stop(waiting);
        cpu::pause();
    }
    return 0;
}

Outcome system_locks(Vcpu& vcpu, Arguments const& a)
{
    LockStatistics ports{}, roots{};
    for (auto const* domain = domains::first_from(0); domain != nullptr; domain = domains::first_from(domain->id.raw() + 1u))
        ports += domain->ports_lock.statistics();
    for (std::uint32_t cpu = 0; cpu < cpu_count; ++cpu) roots += all_cpus[cpu]->root_lock.statistics();
    struct { std::string_view name; LockStatistics statistics; } const locks[] = {
        {"domains", domains::lock.statistics()},
        {"page_tables", page_tables_lock.statistics()},
        {"allocator", free_frames::lock_statistics()},
        {"ports", ports},
        {"run_queue", schedule::run_queue_locks()},
        {"root", roots},
    };
    GuestOut<pvn_lock_info> const out{vcpu, a[0]};
    std::int64_t filled = 0;
    for (auto const& lock : locks) {
        if (static_cast<std::uint64_t>(filled) == a[1]) break;
        pvn_lock_info info{};
        std::ranges::copy(lock.name, info.name);
        info.taken = lock.statistics.taken, info.waited = lock.statistics.waited, info.rounds = lock.statistics.rounds;
        PVN_CHECK(out.write(info, static_cast<std::uint64_t>(filled++)));
    }
    return filled;
}

Outcome system_trace(Vcpu&, Arguments const& a)
{
    PVN_CHECK(trace::set(a[0]));
    return 0;
}

Outcome system_trace_read(Vcpu& vcpu, Arguments const& a)
{
    constexpr std::uint64_t most = 1024;  // in one call
    GuestOut<pvn_trace_record> const out{vcpu, a[1]};
    std::array<pvn_trace_record, 32> piece;
    std::uint64_t done = 0;
    for (auto const wanted = std::min(a[2], most); done < wanted;) {
        auto const room = std::min<std::uint64_t>(piece.size(), wanted - done);
        auto const count = PVN_TRY(trace::take(a[0], {piece.data(), room}));
        PVN_CHECK(out.write(LockedFrames{}, done, std::span{piece}.first(count)));
        done += count;
        if (count < room) break;
    }
    return static_cast<std::int64_t>(done);
}

// Only where the machine was started for it.
Outcome system_fail_allocation(Vcpu&, Arguments const& a)
{
    static bool const allowed = boot::flag(machine.boot.text(), "fail_allocations");
    if (!allowed) return Fail{Error::denied};
    return static_cast<std::int64_t>(free_frames::fail_at(a[0]) & ~(std::uint64_t{1} << 63));
}

}  // namespace pvn::hypercall
