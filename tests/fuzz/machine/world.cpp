// SPDX-License-Identifier: MIT
#include "world.hpp"

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <new>
#include <sys/mman.h>

#include "arch/x86/io_bitmap.hpp"
#include "arch/x86/ldt.hpp"
#include "arch/x86/per_cpu.hpp"
#include "dispatcher/notify.hpp"
#include "frames/audit.hpp"
#include "grant/grants.hpp"
#include "machine.hpp"
#include "memory/free_frames.hpp"

namespace pvn {

constinit Machine machine{};

namespace fuzz {
namespace {

constexpr std::uint64_t table_bits = 0x3, data_bits = 0x8000000000000003, read_only_bits = 0x8000000000000001;
constexpr std::uint32_t vcpus_each = 2;

class FrameMemory final : public frames::Memory {
public:
    std::uint64_t* table(MachineFrame frame) override { return frame_pointer<std::uint64_t>(frame); }
    void flush_stale_writable(MachineFrame) override {}
    void write_back(MachineFrame) override {}
    void root_entry_changed(MachineFrame, unsigned, std::uint64_t) override {}
    bool may_map_foreign(DomainId mapper, MachineFrame) override { return mapper == DomainId{0}; }
    bool has_granted(DomainId mapper, MachineFrame frame) override
    {
        auto const* const domain = domains::find(mapper);
        return domain != nullptr && grant::maps(*domain, frame);
    }
    void frame_freed(DomainId owner, MachineFrame frame) override PVN_UNCHECKED { domains::frame_freed(owner, frame); }
};
constinit FrameMemory frame_memory{};

class Complaint final : public frames::AuditReport {
public:
    void found(frames::Discrepancy const& d) override
    {
        std::fprintf(stderr, "audit: kind %d, frame %lu, table %lu, index %u: %lu, not %lu\n", static_cast<int>(d.kind), d.frame.raw(), d.table.raw(),
                     d.index, d.actual, d.expected);
    }
};

std::byte* window(std::uint64_t address, std::size_t bytes)
{
    auto* const place = mmap(reinterpret_cast<void*>(address), bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    expect(place == reinterpret_cast<void*>(address), "a window could not be mapped");
    return static_cast<std::byte*>(place);
}

void prepare_cpu()
{
    static auto* const ram = window(direct_map, all_frames * page_size);
    static auto* const cpu = window(cpu_window, page_size);
    static std::array<std::uint64_t, 512> slot_l1, gdt;
    std::memset(ram, 0, all_frames * page_size);
    auto& self = *new (cpu) PerCpu{};
    self.slot_l1 = slot_l1.data();
    self.gdt = gdt.data();
    all_cpus[0] = &self;
    cpu_count = 1;
}

}  // namespace

void expect(bool condition, char const* what)
{
    if (condition) return;
    std::fprintf(stderr, "%s\n", what);
    std::abort();
}

constinit World* world = nullptr;
constinit std::array<bool, all_frames> is_free{};
constinit std::uint64_t clock_step = 0;

World::World() : frames_(all_frames), m2p_(all_frames, PVN_NO_FRAME)
{
    prepare_cpu();
    for (std::uint64_t frame = 0; frame < all_frames; ++frame) is_free[frame] = frame != 0 && !is_guard(frame);  // 0: the number of no root
    table_ = std::make_unique<frames::FrameTable>(frames_, frame_memory, 46u);
    machine.frame_count = machine.ram_frames = all_frames;
    machine.m2p = m2p_;
    machine.frame_table = table_.get();
    world = this;
    for (std::uint32_t number = 0; number < domains_in_all; ++number) make(number);
}

World::~World()
{
    world = nullptr;
    machine.frame_table = nullptr;
}

void World::make(std::uint32_t number) PVN_UNCHECKED
{
    auto& domain = *(domains_[number] = std::make_unique<Domain>(DomainId{static_cast<std::uint16_t>(number)}, number == 0, vcpus_each));
    p2m_[number].assign(all_frames, PVN_NO_FRAME);
    domain.p2m = p2m_[number];
    domain.p2m_frames = all_frames;
    domain.limit = pages_each + 8;
    domain.pause_count = number == 2 ? 1 : 0;  // one whose tables dom0 may write
    domain.page_frame = MachineFrame{allocate_own_frame() / page_size};
    domain.page = frame_pointer<pvn_domain_page>(domain.page_frame);
    MachineFrame const ports{2 * (number + 1)};  // the only ones that lie side by side
    for (auto const frame : {ports, ports + 1}) {
        expect(free_frames::take(frame), "a frame is not free");
        table_->assign(frame, frames::hypervisor_owner);
    }
    domain.io_bitmap = ports.raw() * page_size;
    for (std::uint32_t id = 0; id < vcpus_each; ++id) {
        auto& vcpu = *vcpus_.emplace_back(std::make_unique<Vcpu>());
        vcpu.domain = &domain;
        vcpu.id = VcpuId{id};
        vcpu.page_frame = MachineFrame{allocate_own_frame() / page_size};
        vcpu.page = frame_pointer<pvn_vcpu_page>(vcpu.page_frame);
        domain.vcpus[id] = &vcpu;
        domain.vcpu_pages[id] = vcpu.page;
    }
    // dom0's pfns are mfns.
    for (std::uint64_t page = 0; page < pages_each; ++page) {
        MachineFrame const frame{128 * (number + 1) + 2 * page};
        auto const at = number == 0 ? frame.raw() : page;
        expect(domains::populate(domain, at, &frame).has_value(), "a domain gets no frame");
        pfns_[number].push_back(at);
    }
    auto const frame = [&](std::uint64_t page) { return MachineFrame{p2m_[number][pfns_[number][page]]}; };
    for (std::uint64_t level = 4; level > 1; --level)
        frame_pointer<std::uint64_t>(frame(4 - level))[level == 4 ? 1 : 0] = frame(5 - level).raw() * page_size | table_bits;
    // Data are something, so that it shows where they go.
    for (auto page = first_data; page < grants_page; ++page) std::memset(frame_pointer(frame(page)), 0xd0, page_size);
    for (std::uint64_t page = 0; page < pages_each; ++page)
        frame_pointer<std::uint64_t>(frame(3))[page] = frame(page).raw() * page_size | (page < first_data ? read_only_bits : data_bits);
    for (unsigned level = 1; level <= 4; ++level) expect(table_->promote(domain.id, frame(4 - level), level).has_value(), "a table is refused");
    for (auto* const vcpu : domain.all_vcpus()) {
        pvn_vcpu_context context{};
        context.root_pfn = pfn(number, 0);
        expect(domains::set_context(*vcpu, context).has_value(), "a context is refused");
    }
    // A table of grants, of some pages to each other domain, every second one to be read only.
    expect(grant::add_table_page(domain, 0, pfn(number, grants_page)).has_value(), "a table of grants is refused");
    auto* const words = frame_pointer<std::uint64_t>(frame(grants_page));
    for (std::uint64_t ref = 0; ref < 16; ++ref)
        words[ref] = PVN_GRANT_VALID | (number + 1 + ref / 8) % domains_in_all << PVN_GRANT_DOMAIN_SHIFT | pfn(number, first_data + ref) << PVN_GRANT_PFN_SHIFT |
                     (ref % 2 == 0 ? 0u : std::uint64_t{PVN_GRANT_READ_ONLY});
}

void World::check() const
{
    expect(held_ranks() == 0, "a lock is still held");
    Complaint complaint;
    std::array<frames::Tally, all_frames> scratch;
    frames::Audit audit{*table_, scratch, complaint};
    while (!audit.step(all_frames)) {}
    expect(audit.found() == 0, "the frame table does not agree with the page tables");
    static constexpr std::array<std::byte, page_size> empty{};
    for (std::uint64_t frame = 1; frame < all_frames; ++frame)
        if (is_guard(frame)) expect(std::memcmp(frame_pointer(MachineFrame{frame}), empty.data(), page_size) == 0, "somebody wrote beyond a frame");
}

void World::end() PVN_UNCHECKED
{
    for (auto const& domain : domains_) {
        domain->dying = true;
        for (auto* const vcpu : domain->all_vcpus()) {
            table_->drop_root(vcpu->root);
            ldt::free(*vcpu);
            io_bitmap::free(*vcpu);
            free_own_frame(vcpu->page_frame.raw() * page_size);
        }
        grant::drop_table(LockedFrames{}, *domain);
    }
    for (auto const& domain : domains_)
        while (!event::close_some(*domain) || !grant::end_some_mappings(*domain)) {}
    for (auto const& domain : domains_) {
        expect(domain->grants.in_use() == 0, "a grant is in use by nobody");
        std::uint64_t next = 0;
        while (next < all_frames) next = *table_->tear_down(domain->id, next, all_frames);
    }
    // What another domain had mapped goes with the second pass.
    for (auto const& domain : domains_) {
        std::uint64_t next = 0;
        while (next < all_frames) next = *table_->tear_down(domain->id, next, all_frames);
        expect(domain->frames == 0, "frames of a domain are left");
        grant::free_memory(*domain);
        free_own_frame(domain->page_frame.raw() * page_size);
        free_own_frame(domain->io_bitmap);
        free_own_frame(domain->io_bitmap + page_size);
    }
    for (std::uint64_t frame = 1; frame < all_frames; ++frame) expect(is_free[frame] || is_guard(frame), "a frame is lost");
    check();
}

}  // namespace fuzz
}  // namespace pvn
