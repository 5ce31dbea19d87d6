// SPDX-License-Identifier: MIT
// From the boot loader to the first guest.  docs/boot.md
#include <algorithm>
#include <functional>
#include <new>
#include <cstring>

#include "arch/x86/cpu.hpp"
#include "arch/x86/cpu_setup.hpp"
#include "arch/x86/memory_map.hpp"
#include "arch/x86/paging.hpp"
#include "arch/x86/per_cpu.hpp"
#include "arch/x86/secondary_cpus.hpp"
#include "console/log.hpp"
#include "debug/symbols.hpp"
#include "dispatcher/pools.hpp"
#include "dispatcher/schedule.hpp"
#include "domain/builder.hpp"
#include "domain/domain.hpp"
#include "grant/grants.hpp"
#include "interrupts/interrupts.hpp"
#include "interrupts/local_apic.hpp"
#include "machine.hpp"
#include "memory/free_frames.hpp"
#include "time/clock.hpp"
#include "tlb/flush.hpp"
#include "watchdog/watchdog.hpp"

extern "C" char image_physical_start[], image_physical_end[];

namespace pvn {

constinit Machine machine{};

namespace {

// Before this CPU has its window, nobody else runs.
constinit bool this_cpu_ready = false;
constinit std::uint32_t early_ranks = 0;

constexpr std::uint64_t early_limit = 1 << 30;  // the boot tables map no more

// What the frame table needs of the machine.
class FrameMemory final : public frames::Memory {
public:
    std::uint64_t* table(MachineFrame frame) override { return frame_pointer<std::uint64_t>(frame); }
    void flush_stale_writable(MachineFrame frame) override { tlb::flush_dropped(machine.frame_table->owner(frame)); }
    // CLFLUSH reaches the caches of all CPUs, and is ordered by MFENCE.  [sdm/2] CLFLUSH
    void write_back(MachineFrame frame) override
    {
        auto* const bytes = frame_pointer<char>(frame);
        constexpr std::uint64_t line = 64;
        for (std::uint64_t at = 0; at < page_size; at += line) asm volatile("clflush %0" : "+m"(bytes[at]));
        asm volatile("mfence" : : : "memory");
    }
    void root_entry_changed(MachineFrame l4, unsigned index, std::uint64_t value) override
    {
        root_copies::entry_changed(l4, index, value);
    }
    void root_retired(MachineFrame l4) override { root_copies::retired(l4); }
    void entry_dropped(DomainId id) override
    {
        if (auto* const domain = domains::find(id)) tlb::dropped(*domain);
    }
    bool may_map_foreign(DomainId mapper, MachineFrame) override
    {
        auto const* const domain = domains::find(mapper);
        return domain != nullptr && domain->privileged;
    }
    bool has_granted(DomainId mapper, MachineFrame frame) override
    {
        auto const* const domain = domains::find(mapper);
        return domain != nullptr && grant::maps(*domain, frame);
    }
    void frame_freed(DomainId owner, MachineFrame frame) override PVN_UNCHECKED { domains::frame_freed(owner, frame); }
};

constinit FrameMemory frame_memory{};
alignas(frames::FrameTable) constinit std::byte frame_table_place[sizeof(frames::FrameTable)]{};

std::span<std::byte const> early_physical(std::uint64_t address, std::uint64_t size)
{
    if (address > early_limit || size > early_limit - address) return {};
    return {reinterpret_cast<std::byte const*>(image_base + address), size};
}

std::span<std::byte const> module_bytes(boot::Module const& module)
{
    return {static_cast<std::byte const*>(physical_pointer(module.base)), module.size};
}

// The largest range of RAM that the boot tables reach: the top of it becomes the hypervisor's.
boot::MemoryRange boot_range()
{
    boot::MemoryRange best{};
    auto const image_end = reinterpret_cast<std::uint64_t>(image_physical_end);
    for (auto const& range : machine.boot.memory()) {
        if (range.type != boot::MemoryType::ram || range.base >= early_limit) continue;
        auto const bottom = std::max(range.base, image_end);
        auto const top = std::min(range.base + range.length, early_limit);
        if (top > bottom && top - bottom > best.length) best = {bottom, top - bottom, range.type};
    }
    return best;
}

// Modules move to the top of that range, out of the way of a dom0 that is loaded at fixed addresses.  They may overlap their new
// places, so the highest goes first.
void move_modules(BootAllocator& allocator)
{
    auto const modules = std::span{machine.boot.modules}.first(machine.boot.module_count);
    std::array<boot::Module*, 8> order{};
    for (std::size_t i = 0; i < modules.size(); ++i) order[i] = &modules[i];
    std::ranges::sort(std::span{order}.first(modules.size()), std::ranges::greater{}, [](auto const* m) { return m->base; });
    for (std::size_t i = 0; i < modules.size(); ++i) {
        auto& module = *order[i];
        auto const to = allocator.allocate(module.size);
        std::memmove(reinterpret_cast<void*>(image_base + to), reinterpret_cast<void const*>(image_base + module.base), module.size);
        module.base = to;
    }
}

std::uint64_t find_rsdp()
{
    // [acpi] 5.2.5.1: on a 16-byte boundary in 0xe0000..0xfffff, or in the first KiB of the EBDA.
    auto const* const ebda = static_cast<std::uint16_t const*>(physical_pointer(0x40e));
    struct { std::uint64_t from, to; } const places[] = {{0xe0000, 0x100000}, {std::uint64_t{*ebda} << 4, (std::uint64_t{*ebda} << 4) + 1024}};
    for (auto const& place : places)
        for (auto at = place.from; at + 16 <= place.to; at += 16)
            if (std::memcmp(physical_pointer(at), "RSD PTR ", 8) == 0) return at;
    return 0;
}

void initialise_memory(BootAllocator& allocator, boot::MemoryRange const& own)
{
    std::uint64_t end = 0;
    for (auto const& range : machine.boot.memory())
        if (range.type == boot::MemoryType::ram) {
            end = std::max(end, range.base + range.length);
            machine.ram_frames += range.length / page_size;
        }
    machine.frame_count = end / page_size;
    auto const cleared = [&](std::uint64_t bytes) {
        auto* const memory = physical_pointer(allocator.allocate(bytes));
        std::memset(memory, 0, (bytes + page_size - 1) & ~(page_size - 1));
        return memory;
    };
    auto const count = machine.frame_count;
    machine.m2p = {static_cast<std::uint64_t*>(cleared(count * 8)), count};
    std::ranges::fill(machine.m2p, PVN_NO_FRAME);
    machine.m2p_l2 = allocator.allocate(page_size);
    auto* const l2 = static_cast<std::uint64_t*>(physical_pointer(machine.m2p_l2));
    std::memset(l2, 0, page_size);
    auto const m2p_physical = frame_of(machine.m2p.data()).raw() * page_size;
    for (std::uint64_t page = 0; page * 512 < count; ++page) {
        auto& entry = l2[page / 512];
        if (entry == 0) entry = frame_of(cleared(page_size)).raw() * page_size | paging::table;
        static_cast<std::uint64_t*>(physical_pointer(entry & paging::frame_mask))[page % 512] = (m2p_physical + page * page_size) | paging::read_only;
    }
    auto const words = count / 64 + 1;
    auto* const free_bits = static_cast<std::uint64_t*>(cleared(words * 8));
    auto* const cleared_bits = static_cast<std::uint64_t*>(cleared(words * 8));
    auto* const entries = static_cast<frames::Frame*>(cleared(count * sizeof(frames::Frame)));
    auto const physical_bits = cpu::cpuid(0x80000008).a & 0xff;
    machine.frame_table = new (frame_table_place) frames::FrameTable{{entries, count}, frame_memory, physical_bits};
    free_frames::initialise({free_bits, words}, {cleared_bits, words});

    // RAM is free, but for what lies below 1 MiB of the firmware's, the image, and what the boot allocator gave.
    for (auto const& range : machine.boot.memory())
        if (range.type == boot::MemoryType::ram)
            free_frames::add(MachineFrame{(range.base + page_size - 1) / page_size},
                                  (range.base + range.length) / page_size - (range.base + page_size - 1) / page_size);
    auto const keep = [&](std::uint64_t from, std::uint64_t to) {
        for (auto at = from / page_size; at < (to + page_size - 1) / page_size && at < count; ++at) {
            free_frames::take(MachineFrame{at}, free_frames::Contents::keep);
            if (machine.frame_table->owner(MachineFrame{at}) == frames::no_owner) machine.frame_table->assign(MachineFrame{at}, frames::hypervisor_owner);
        }
    };
    keep(reinterpret_cast<std::uint64_t>(image_physical_start), reinterpret_cast<std::uint64_t>(image_physical_end));
    keep(allocator.top(), own.base + own.length);
    auto const trampoline = secondary_cpus::trampoline.raw() * page_size;
    keep(trampoline, trampoline + page_size);
    for (std::uint64_t at = 0; at < count; ++at)
        if (!free_frames::is_free(MachineFrame{at}) && machine.frame_table->owner(MachineFrame{at}) == frames::no_owner)
            machine.frame_table->mark_device(MachineFrame{at});
}

void release_modules()
{
    for (auto const& module : std::span{machine.boot.modules}.first(machine.boot.module_count))
        for (auto at = module.base / page_size; at < (module.base + module.size + page_size - 1) / page_size; ++at)
            free_own_frame(at * page_size);
}

// The loader's line begins with the file's name.
std::string_view without_name(std::string_view line)
{
    auto const space = line.find(' ');
    return space == line.npos ? std::string_view{} : line.substr(space + 1);
}

std::uint32_t vcpus(std::string_view line, std::string_view option, std::uint64_t otherwise)
{
    return static_cast<std::uint32_t>(std::clamp<std::uint64_t>(boot::size_option(line, option, otherwise), 1, vcpu_limit));
}

void build_domains()
{
    auto const modules = std::span{machine.boot.modules}.first(machine.boot.module_count);
    if (modules.empty()) panic("no module: give a kernel ported to Paravane as the first one (QEMU: -initrd \"vmlinux options,initramfs\")");
    for (std::size_t i = 0; i < modules.size(); ++i) {
        auto const line = without_name(modules[i].text());
        if (boot::flag(line, "domain")) {
            builder::build({module_bytes(modules[i]), {}, line, false, boot::size_option(line, "memory", 32 << 20), vcpus(line, "vcpus", 1)});
        } else {
            bool const initrd = i + 1 < modules.size() && !boot::flag(without_name(modules[i + 1].text()), "domain");
            auto const memory = boot::size_option(machine.boot.text(), "dom0_mem", machine.ram_frames / 2 * page_size);
            builder::build({module_bytes(modules[i]), initrd ? module_bytes(modules[i + 1]) : std::span<std::byte const>{}, line, true, memory, vcpus(machine.boot.text(), "dom0_max_vcpus", cpu_count)});
            i += initrd ? 1 : 0;
        }
    }
    release_modules();
}

[[noreturn]] void continue_on_cpu_stack()
{
    interrupts::initialise();
    clock::initialise();
    secondary_cpus::start(static_cast<std::uint32_t>(boot::size_option(machine.boot.text(), "maxcpus", cpu_limit)));
    watchdog::initialise(boot::size_option(machine.boot.text(), "watchdog", 10));
    schedule::initialise(boot::option(machine.boot.text(), "sched"));
    secondary_cpus::release();
    build_domains();
    watchdog::start();  // not earlier: to build dom0 takes as long as its memory is large
    log("{} of {} MiB free; scheduler {}", free_frames::count() / 256, machine.ram_frames / 256, pools::policy_name(0));
    for (auto* domain = domains::first_from(0); domain != nullptr; domain = domains::first_from(domain->id.raw() + 1u))
        (void)domains::unpause(*domain);
    schedule::run();
}

}  // namespace

std::uint32_t& held_ranks() { return this_cpu_ready ? this_cpu().held_ranks : early_ranks; }

void lock_order_violated(Rank rank)
{
    console::take_for_panic();
    log("a lock of rank {} is taken while ranks {} are held", static_cast<std::uint32_t>(rank), Hex{held_ranks()});
    panic("lock order");
}

std::uint64_t allocate_own_frame()
{
    auto const frame = free_frames::allocate();
    if (!frame) return 0;
    LockedFrames const table;
    table->assign(*frame, frames::hypervisor_owner);
    return frame->raw() * page_size;
}

void free_own_frame(std::uint64_t physical)
{
    MachineFrame const frame{physical / page_size};
    if (!LockedFrames{}->release(frame, frames::hypervisor_owner)) panic("a frame of the hypervisor is still in use");
    free_frames::free(frame);
}

void power_off()
{
    log("power off");
    // QEMU's debug exit device if the machine has one (its status becomes 2 * value + 1), else a reset.
    if (boot::flag(machine.boot.text(), "debug_exit")) cpu::out8(0xf4, 0x10);
    restart();
}

void restart()
{
    cpu::out8(0xcf9, 0x06);  // reset control register of the chip set
    cpu::out8(0x64, 0xfe);   // keyboard controller
    cpu::stop();
}

void panic(std::string_view why)
{
    console::take_for_panic();
    log("panic: {}", why);
    debug::log_backtrace(reinterpret_cast<std::uint64_t>(__builtin_frame_address(0)));
    if (boot::flag(machine.boot.text(), "debug_exit")) cpu::out8(0xf4, 0x11);
    if (this_cpu_ready) local_apic::stop_others();
    cpu::stop();
}

extern "C" [[noreturn]] void hypervisor_main(std::uint32_t magic, std::uint32_t information)
{
    interrupts::silence_legacy();
    console::initialise();
    log("Paravane 0.1, ABI version {}", std::uint64_t{PVN_ABI_VERSION});
    cpu::check_features();
    if (!boot::read(magic, information, early_physical, machine.boot)) panic("the boot loader gave no memory map");
    // The M2P's place in the slot is one table of level 2: an entry for each frame below 512 GiB.
    constexpr std::uint64_t most_memory = std::uint64_t{512} * 512 * 512 * page_size;
    if (auto const lost = boot::cut_memory(machine.boot, most_memory); lost != 0) log("{} MiB of RAM above 512 GiB are not used", lost >> 20);

    auto const own = boot_range();
    BootAllocator allocator{own.base, own.base + own.length};
    move_modules(allocator);
    paging::initialise(allocator, machine.boot.memory());
    if (machine.boot.rsdp == 0) machine.boot.rsdp = find_rsdp();
    initialise_memory(allocator, own);
    cpu::activate(cpu::prepare(0));
    this_cpu_ready = true;
    interrupts::initialise_cpu();
    this_cpu().apic_id = local_apic::id();
    asm volatile("mov %0, %%rsp; xor %%ebp, %%ebp; jmp *%1" : : "r"(cpu_stack_top), "r"(&continue_on_cpu_stack));
    __builtin_unreachable();
}

}  // namespace pvn
