// SPDX-License-Identifier: MIT
#include "domain/builder.hpp"

#include <algorithm>
#include <cstring>

#include "arch/x86/memory_map.hpp"
#include "arch/x86/paging.hpp"
#include "boot/elf.hpp"
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

class Builder {
public:
    Builder(Request const& request, boot::KernelImage const& image) : request_{request}, image_{image} {}
    void run();

private:
    char* memory(std::uint64_t pfn) { return frame_pointer<char>(must(domain_->frame(pfn), "its memory has a hole where its kernel must lie")); }
    void give_memory_one_to_one();
    void give_memory();
    void load_kernel();
    void load_initrd();
    void place_extras();
    void build_tables();
    void map(std::uint64_t address, std::uint64_t pfn, std::uint64_t protection);
    void promote_tables(std::uint64_t pfn, unsigned level);
    void fill_start_info();
    void fill_map();
    void open_ports();
    bool is_table(std::uint64_t pfn) const { return pfn >= tables_ && pfn < tables_ + tables_used_limit_; }

    Request const& request_;
    boot::KernelImage const& image_;
    Domain* domain_{};
    std::uint64_t end_{};            // pfns are below this
    std::uint64_t start_info_{}, stack_{}, tables_{}, tables_used_limit_{}, next_table_{}, first_free_{}, mapped_end_{};
    std::uint64_t initrd_{};         // pfn
};

// dom0: the lowest free RAM, each frame under its own number.
void Builder::give_memory_one_to_one()
{
    auto left = request_.memory / page_size;
    domain_ = must(domains::create(true, machine.frame_count, machine.frame_count), "too little memory");
    for (auto const& range : machine.boot.memory()) {
        if (range.type != boot::MemoryType::ram) continue;
        auto const last = (range.base + range.length) / page_size;
        for (auto at = (range.base + page_size - 1) / page_size; at < last && left != 0; ++at) {
            MachineFrame const frame{at};
            if (!machine.allocator.is_free(frame)) continue;
            must(domains::populate(*domain_, at, &frame), "too little memory");
            end_ = std::max(end_, at + 1);
            --left;
        }
    }
    domain_->limit = domain_->frames;
}

void Builder::give_memory()
{
    end_ = request_.memory / page_size;
    domain_ = must(domains::create(false, end_, end_), "too little memory");
    for (std::uint64_t pfn = 0; pfn < end_; ++pfn) must(domains::populate(*domain_, pfn), "too little memory");
}

void Builder::load_kernel()
{
    for (std::size_t i = 0; i < image_.segment_count; ++i) {
        auto const& segment = image_.segments[i];
        for (std::uint64_t done = 0; done < segment.memory_size;) {
            auto const address = segment.physical + done;
            auto const here = std::min(page_size - address % page_size, segment.memory_size - done);
            auto* const to = memory(address / page_size) + address % page_size;
            auto const from_file = done < segment.file_size ? std::min(here, segment.file_size - done) : 0;
            std::memcpy(to, request_.kernel.data() + segment.offset + done, from_file);
            std::memset(to + from_file, 0, here - from_file);
            done += here;
        }
    }
}

// The highest run of pfns that holds it.
void Builder::load_initrd()
{
    auto const pages = (request_.initrd.size() + page_size - 1) / page_size;
    if (pages == 0) return;
    std::uint64_t run = 0;
    auto at = end_;
    while (run < pages) {
        if (at == mapped_end_) give_up("too little memory for the initrd");
        --at;
        run = domain_->frame(at) ? run + 1 : 0;
    }
    initrd_ = at;
    for (std::uint64_t page = 0; page < pages; ++page)
        std::memcpy(memory(at + page), request_.initrd.data() + page * page_size, std::min(page_size, request_.initrd.size() - page * page_size));
}

void Builder::place_extras()
{
    constexpr std::uint64_t pages_per_l1 = 512, slack = 256;
    auto const upwards = [](std::uint64_t n, std::uint64_t by) { return (n + by - 1) / by; };
    start_info_ = image_.highest / page_size;
    stack_ = start_info_ + 1;
    tables_ = stack_ + 1;
    // An upper bound: the window and the direct map, each with its own tables at every level.
    auto const direct = image_.direct_map_base ? end_ : 0;
    auto const direct_l1 = upwards(direct, pages_per_l1);
    auto const fixed = 1 + direct_l1 + upwards(direct_l1, 512) + upwards(direct_l1, 512 * 512) + 8;
    auto window = tables_ + fixed + slack - image_.lowest / page_size;
    auto const window_l1 = upwards(window, pages_per_l1) + 2;
    tables_used_limit_ = fixed + window_l1;
    next_table_ = tables_;
    first_free_ = tables_ + tables_used_limit_;
    mapped_end_ = upwards(first_free_ + slack, pages_per_l1) * pages_per_l1;
    if (mapped_end_ > end_) mapped_end_ = first_free_;
    for (auto pfn = start_info_; pfn < mapped_end_; ++pfn) {
        if (!domain_->frame(pfn)) {
            if (pfn < first_free_) give_up("too little memory for the kernel and its tables");
            mapped_end_ = pfn;
            break;
        }
        std::memset(memory(pfn), 0, page_size);
    }
}

void Builder::map(std::uint64_t address, std::uint64_t pfn, std::uint64_t protection)
{
    auto table = tables_;
    for (unsigned level = 4; level > 1; --level) {
        auto& entry = reinterpret_cast<std::uint64_t*>(memory(table))[address >> (3 + 9 * level) & 511];
        if (entry == 0) {
            if (next_table_ == tables_ + tables_used_limit_) give_up("its tables are larger than planned");
            entry = domain_->p2m[next_table_++] * page_size | paging::table;
        }
        table = machine.m2p[(entry & paging::frame_mask) / page_size];
    }
    reinterpret_cast<std::uint64_t*>(memory(table))[address >> 12 & 511] = domain_->p2m[pfn] * page_size | protection;
}

void Builder::promote_tables(std::uint64_t pfn, unsigned level)
{
    // Four levels: the depth of this recursion is a constant.
    auto const* const entries = reinterpret_cast<std::uint64_t const*>(memory(pfn));
    for (unsigned i = 0; level > 1 && i < 512; ++i)
        if ((entries[i] & paging::present) != 0) promote_tables(machine.m2p[(entries[i] & paging::frame_mask) / page_size], level - 1);
    must(machine.frames->promote(domain_->id, must(domain_->frame(pfn), ""), level), "a start-up page table was refused");
}

void Builder::build_tables()
{
    next_table_ = tables_ + 1;
    constexpr auto read_only = paging::present | paging::accessed, read_write = read_only | paging::writable | paging::dirty;
    for (auto pfn = image_.lowest / page_size; pfn < mapped_end_; ++pfn)
        if (domain_->frame(pfn)) map(image_.virtual_base + pfn * page_size, pfn, is_table(pfn) ? read_only : read_write);
    if (image_.direct_map_base)
        for (std::uint64_t pfn = 0; pfn < end_; ++pfn)
            if (domain_->frame(pfn))
                map(*image_.direct_map_base + pfn * page_size, pfn, (is_table(pfn) ? read_only : read_write) | paging::no_execute);
    promote_tables(tables_, 4);
}

void Builder::fill_map()
{
    auto& info = *reinterpret_cast<pvn_start_info*>(memory(start_info_));
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

void Builder::fill_start_info()
{
    auto& info = *reinterpret_cast<pvn_start_info*>(memory(start_info_));
    info.magic = PVN_START_MAGIC;
    info.abi_version = PVN_ABI_VERSION;
    info.flags = domain_->privileged ? PVN_START_PRIVILEGED : 0;
    info.domain_id = domain_->id.raw();
    info.vcpus = 1;
    info.frames = domain_->frames;
    info.virtual_base = image_.virtual_base;
    info.direct_map_base = image_.direct_map_base.value_or(0);
    info.start_info_pfn = start_info_;
    info.stack_pfn = stack_;
    info.tables_pfn = tables_;
    info.tables_count = tables_used_limit_;
    info.first_free_pfn = first_free_;
    info.mapped_end_pfn = mapped_end_;
    info.initrd_address = initrd_ * page_size;
    info.initrd_size = request_.initrd.size();
    info.acpi_rsdp = domain_->privileged ? machine.boot.rsdp : 0;
    info.tsc_khz = clock::tsc_khz();
    auto const length = std::min(request_.command_line.size(), sizeof info.command_line - 1);
    std::memcpy(info.command_line, request_.command_line.data(), length);
    fill_map();
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
    load_kernel();
    place_extras();
    load_initrd();
    fill_start_info();
    build_tables();
    if (request_.privileged) open_ports();
    clock::publish_wall(*domain_);

    auto& vcpu = domain_->vcpu;
    vcpu.root = must(domain_->frame(tables_), "");
    must(machine.frames->take_root(domain_->id, vcpu.root), "its start-up tables were refused");
    auto& r = vcpu.registers;
    r.rip = image_.entry;
    r.cs = PVN_KERNEL_CS | 1;
    r.ss = PVN_KERNEL_SS | 1;
    r.rsp = image_.virtual_base + (stack_ + 1) * page_size;
    r.rsi = image_.virtual_base + start_info_ * page_size;
    r.rflags = flags::interrupt | flags::reserved_one;
    domain_->pause_count = 0;
    schedule::start(vcpu);
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
