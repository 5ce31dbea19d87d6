// SPDX-License-Identifier: MIT
#include "domain/builder.hpp"

#include <algorithm>
#include <cstring>

#include "arch/x86/memory_map.hpp"
#include "boot/elf.hpp"
#include "boot/guest_builder.hpp"
#include "console/log.hpp"
#include "dispatcher/schedule.hpp"
#include "domain/domain.hpp"
#include "machine.hpp"
#include "time/clock.hpp"

namespace pvn::builder {
namespace {

[[noreturn]] void give_up(std::string_view why)
{
    log("cannot build a boot-time domain: {}", why);
    panic("no domain to run");
}

template <class T>
T must(Result<T> result, std::string_view why)
{
    if (!result) {
        log("error {}", static_cast<std::int64_t>(result.error()));
        give_up(why);
    }
    if constexpr (!std::is_void_v<T>) return *result;
}

void expect(std::string_view error)
{
    if (!error.empty()) give_up(error);
}

// Nobody else knows the domain before it runs, so its memory is looked at without a lock.
class Builder final : public boot::GuestMemory {
public:
    Builder(Request const& request, boot::KernelImage const& image) : request_{request}, image_{image} {}
    void run() PVN_UNCHECKED;

    bool has(std::uint64_t pfn) override PVN_UNCHECKED { return domain_->frame(pfn).has_value(); }
    char* page(std::uint64_t pfn) override PVN_UNCHECKED
    {
        auto const frame = domain_->frame(pfn);
        return frame ? frame_pointer<char>(*frame) : nullptr;
    }
    std::uint64_t mfn(std::uint64_t pfn) override PVN_UNCHECKED { return domain_->p2m[pfn]; }
    std::uint64_t pfn_of(std::uint64_t frame) override { return machine.m2p[frame]; }
    std::uint64_t end() override { return end_; }

private:
    void give_memory_one_to_one() PVN_UNCHECKED;
    void give_memory();
    void fill_map(pvn_start_info&) PVN_UNCHECKED;
    void open_ports();

    Request const& request_;
    boot::KernelImage const& image_;
    Domain* domain_{};
    std::uint64_t end_{};  // pfns are below this
};

// dom0: the lowest free RAM, each frame under its own number.
void Builder::give_memory_one_to_one()
{
    auto left = request_.memory / page_size;
    domain_ = must(domains::create(true, machine.frame_count, machine.frame_count, request_.vcpus), "too little memory");
    for (auto const& range : machine.boot.memory()) {
        if (range.type != boot::MemoryType::ram) continue;
        auto const last = (range.base + range.length) / page_size;
        for (auto at = (range.base + page_size - 1) / page_size; at < last && left != 0; ++at) {
            MachineFrame const frame{at};
            if (!free_frames::is_free(frame)) continue;
            must(domains::populate(*domain_, at, &frame, free_frames::Contents::keep), "too little memory");
            end_ = std::max(end_, at + 1);
            --left;
        }
    }
    domain_->limit = domain_->frames;
}

void Builder::give_memory()
{
    end_ = request_.memory / page_size;
    domain_ = must(domains::create(false, end_, end_, request_.vcpus), "too little memory");
    for (std::uint64_t pfn = 0; pfn < end_; ++pfn) must(domains::populate(*domain_, pfn), "too little memory");
}

void Builder::fill_map(pvn_start_info& info)
{
    auto const add = [&](std::uint64_t pfn, std::uint64_t count, std::uint32_t type) {
        if (count != 0 && info.map_entries < PVN_START_MAP_ENTRIES) info.map[info.map_entries++] = {pfn, count, type, 0};
    };
    if (!domain_->privileged) return add(0, end_, PVN_MAP_RAM);
    for (auto const& range : machine.boot.memory()) {
        auto const first = range.base / page_size, last = (range.base + range.length + page_size - 1) / page_size;
        if (range.type == boot::MemoryType::ram) {
            // Runs of frames that are dom0's, and those between them that are not.
            for (auto at = (range.base + page_size - 1) / page_size, end = (range.base + range.length) / page_size; at < end;) {
                bool const ours = domain_->frame(at).has_value();
                auto const from = at;
                while (at < end && domain_->frame(at).has_value() == ours) ++at;
                add(from, at - from, ours ? PVN_MAP_RAM : PVN_MAP_RESERVED);
            }
        } else {
            add(first, last - first,
                range.type == boot::MemoryType::acpi ? PVN_MAP_ACPI : range.type == boot::MemoryType::nvs ? PVN_MAP_NVS : PVN_MAP_RESERVED);
        }
    }
}

// dom0 drives the hardware: all ports but those of what Paravane drives itself.
void Builder::open_ports()
{
    auto* const bitmap = static_cast<std::uint8_t*>(physical_pointer(domain_->io_bitmap));
    std::memset(bitmap, 0, 2 * page_size);
    struct { std::uint16_t first, last; } const own[] = {{0x20, 0x21}, {0xa0, 0xa1}, {0x40, 0x43}, {0x3f8, 0x3ff}, {0x4d0, 0x4d1}};
    for (auto const& range : own)
        for (unsigned port = range.first; port <= range.last; ++port) bitmap[port / 8] = static_cast<std::uint8_t>(bitmap[port / 8] | 1u << port % 8);
}

void Builder::run()
{
    if (request_.privileged)
        give_memory_one_to_one();
    else
        give_memory();
    boot::GuestBuilder guest{*this, image_};
    expect(guest.load_kernel(request_.kernel));
    expect(guest.place(false));
    expect(guest.load_initrd(request_.initrd));
    auto& info = guest.start_info(request_.command_line);
    info.flags = domain_->privileged ? PVN_START_PRIVILEGED : 0;
    info.domain_id = domain_->id.raw();
    info.vcpus = info.max_vcpus = domain_->vcpu_count;
    info.frames = domain_->frames;
    info.acpi_rsdp = domain_->privileged ? machine.boot.rsdp : 0;
    info.tsc_khz = clock::tsc_khz();
    fill_map(info);
    expect(guest.build_tables());
    {
        LockedFrames const table;
        guest.for_each_table([&](std::uint64_t pfn, unsigned level) PVN_UNCHECKED {
            must(table->promote(domain_->id, must(domain_->frame(pfn), "a start-up page table is missing"), level),
                 "a start-up page table was refused");
        });
    }
    if (request_.privileged) open_ports();

    auto const& layout = guest.layout();
    pvn_vcpu_context context{};
    context.rip = image_.entry;
    context.rsp = image_.virtual_base + (layout.stack_pfn + 1) * page_size;
    context.rsi = image_.virtual_base + layout.start_info_pfn * page_size;
    context.root_pfn = layout.tables_pfn;
    must(domains::set_context(*domain_->vcpus[0], context), "its start-up tables were refused");
    must(schedule::start(*domain_->vcpus[0]), "its first vCPU does not start");
    log("d{}: {} MiB, entry {}", domain_->id.raw(), domain_->frames / 256, Hex{image_.entry});
}

}  // namespace

void build(Request const& request)
{
    auto const reading = boot::read_kernel(request.kernel);
    if (!reading.error.empty()) give_up(reading.error);
    if (request.privileged && (reading.image.features & PVN_FEATURE_PRIVILEGED) == 0) give_up("this kernel cannot run as dom0");
    Builder{request, reading.image}.run();
}

}  // namespace pvn::builder
