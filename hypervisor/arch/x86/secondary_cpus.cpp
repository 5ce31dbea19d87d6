// SPDX-License-Identifier: MIT
#include "arch/x86/secondary_cpus.hpp"

#include <algorithm>
#include <cstring>

#include "acpi/tables.hpp"
#include "arch/x86/cpu.hpp"
#include "arch/x86/cpu_setup.hpp"
#include "arch/x86/memory_map.hpp"
#include "arch/x86/paging.hpp"
#include "arch/x86/per_cpu.hpp"
#include "console/log.hpp"
#include "dispatcher/schedule.hpp"
#include "interrupts/interrupts.hpp"
#include "interrupts/local_apic.hpp"
#include "machine.hpp"
#include "time/clock.hpp"
#include "time/tsc_check.hpp"

extern "C" char trampoline_start[], trampoline_end[];

namespace pvn {
namespace {

// The one that is being started; they share the trampoline's stack.
constinit std::atomic<PerCpu*> starting{nullptr};

// Run queues are made when all CPUs are known.
constinit std::atomic<bool> released{false};

[[noreturn]] void continue_on_cpu_stack()
{
    this_cpu().online = true;
    tsc_check::answer();
    while (!released) cpu::pause();
    if (this_cpu().id >= cpu_count) cpu::stop();  // given up
    schedule::run();
}

std::span<std::byte const> read_physical(std::uint64_t address, std::uint64_t size)
{
    if (address > direct_map_size || size > direct_map_size - address) return {};
    paging::map_firmware(address, size);
    return {static_cast<std::byte const*>(physical_pointer(address)), size};
}

void wait(std::uint64_t nanoseconds)
{
    for (auto const end = clock::now() + nanoseconds; clock::now() < end;) cpu::pause();
}

// INIT, then the start-up interrupt, twice if the first goes unheard.  [sdm/3] 8.4.4.1
bool start_one(std::uint32_t apic_id)
{
    constexpr std::uint64_t microsecond = 1000, millisecond = 1000000;
    starting = &cpu::prepare(apic_id);
    auto& cpu = *starting.load();
    local_apic::send_init(apic_id);
    wait(10 * millisecond);
    for (int attempt = 0; attempt < 2 && !cpu.online; ++attempt) {
        local_apic::send_start_up(apic_id, static_cast<std::uint8_t>(secondary_cpus::trampoline.raw()));
        auto const patience = attempt == 0 ? 200 * microsecond : 1000 * millisecond;
        for (auto const end = clock::now() + patience; !cpu.online && clock::now() < end;) cpu::pause();
    }
    return cpu.online;
}

// Why the CPU that was started cannot be used, or nothing.
char const* objection(std::uint32_t id)
{
    auto const offset = tsc_check::compare();
    if (!offset) return "stopped while its TSC was compared";
    log("cpu {}: TSC between {} and {} ticks ahead", id, offset->least(), offset->most());
    if (!offset->is_constant()) return "has a TSC of another speed";
    return offset->may_be_zero() ? nullptr : "has a TSC that is not ours; a time for all CPUs needs that";
}

}  // namespace

extern "C" [[noreturn]] void secondary_main()
{
    paging::load_shared();
    auto& cpu = *starting.load();
    cpu::activate(cpu);
    interrupts::initialise_cpu();
    asm volatile("mov %0, %%rsp; xor %%ebp, %%ebp; jmp *%1" : : "r"(cpu_stack_top), "r"(&continue_on_cpu_stack));
    __builtin_unreachable();
}

void secondary_cpus::start(std::uint32_t limit)
{
    auto const processors = acpi::find_processors(machine.boot.rsdp, read_physical);
    std::memcpy(frame_pointer(trampoline), trampoline_start, static_cast<std::size_t>(trampoline_end - trampoline_start));
    auto const self = local_apic::id();
    for (auto const id : std::span{processors.apic_ids}.first(processors.count)) {
        if (id == self) continue;
        if (cpu_count == std::min(limit, cpu_limit)) break;
        char const* const complaint = start_one(id) ? objection(cpu_count - 1) : "does not start";
        if (complaint != nullptr) {
            // It may wake up late and use what was made for it, so that stays; but it is not one of us any more.
            all_cpus[--cpu_count] = nullptr;
            log("cpu {} (local APIC {}) {}", cpu_count, id, complaint);
            break;
        }
    }
    free_own_frame(trampoline.raw() * page_size);  // low memory: dom0 expects it where it is on bare metal
    this_cpu().online = true;
    log("{} of {} CPUs{}", cpu_count, std::max(processors.count, 1u), this_cpu().pcids ? ", with PCIDs" : "");
}

void secondary_cpus::release() { released = true; }

}  // namespace pvn
