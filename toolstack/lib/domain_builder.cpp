// SPDX-License-Identifier: MIT
#include "lib/domain_builder.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <map>
#include <memory>
#include <unordered_map>
#include <vector>

#include "boot/elf.hpp"
#include "boot/guest_builder.hpp"

namespace pvn::tools {
namespace {

// A file's bytes, mapped.
class Content {
public:
    explicit Content(std::string const& name)
    {
        File const file{open(name.c_str(), O_RDONLY | O_CLOEXEC)};
        struct stat status{};
        if (file.get() < 0 || fstat(file.get(), &status) != 0) throw Problem{fmt::format("cannot read {}: {}", name, std::strerror(errno))};
        if (!S_ISREG(status.st_mode) || status.st_size == 0) throw Problem{fmt::format("{} is no file with contents", name)};
        size_ = static_cast<std::size_t>(status.st_size);
        memory_ = mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.get(), 0);
        if (memory_ == MAP_FAILED) throw Problem{fmt::format("cannot read {}: {}", name, std::strerror(errno))};
    }
    Content(Content const&) = delete;
    Content& operator=(Content const&) = delete;
    ~Content() { munmap(memory_, size_); }
    std::span<std::byte const> bytes() const { return {static_cast<std::byte const*>(memory_), size_}; }

private:
    void* memory_;
    std::size_t size_;
};

// The domain's memory, mapped in pieces as they are needed.
class MappedMemory final : public boot::GuestMemory {
public:
    explicit MappedMemory(std::vector<std::uint64_t> frames) : frames_{std::move(frames)}
    {
        for (std::uint64_t pfn = 0; pfn < frames_.size(); ++pfn) numbers_.emplace(frames_[pfn], pfn);
    }
    bool has(std::uint64_t pfn) override { return pfn < frames_.size(); }
    char* page(std::uint64_t pfn) override
    {
        if (!has(pfn)) return nullptr;
        auto const piece = pfn / piece_pages;
        auto found = pieces_.find(piece);
        if (found == pieces_.end()) {
            auto const first = piece * piece_pages;
            auto const count = std::min<std::uint64_t>(piece_pages, frames_.size() - first);
            found = pieces_.emplace(piece, ForeignPages{{frames_.data() + first, count}}).first;
        }
        return found->second.data() + pfn % piece_pages * PVN_PAGE_SIZE;
    }
    std::uint64_t mfn(std::uint64_t pfn) override { return frames_[pfn]; }
    std::uint64_t pfn_of(std::uint64_t mfn) override { return numbers_.at(mfn); }
    std::uint64_t end() override { return frames_.size(); }

private:
    static constexpr std::uint64_t piece_pages = 512;
    std::vector<std::uint64_t> frames_;
    std::unordered_map<std::uint64_t, std::uint64_t> numbers_;
    std::map<std::uint64_t, ForeignPages> pieces_;
};

void expect(std::string_view error, std::string const& what)
{
    if (!error.empty()) throw Problem{fmt::format("{}: {}", what, error)};
}

}  // namespace

NewDomain::NewDomain(Hypervisor const& hypervisor, DomainConfig const& config, std::array<std::uint8_t, 16> const& uuid) : hypervisor_{hypervisor}
{
    pvn_domain_create request{};
    std::memcpy(request.uuid, uuid.data(), uuid.size());
    request.limit = request.p2m_frames = config.memory / PVN_PAGE_SIZE;
    request.vcpus = 1;
    id_ = static_cast<std::uint16_t>(hypervisor_.must("create the domain", PVN_DOMAIN_CREATE, &request));
    try {
        build(config);
    } catch (...) {
        destroy_domain(hypervisor_, id_);
        throw;
    }
}

NewDomain::~NewDomain()
{
    if (kept_) return;
    try {
        destroy_domain(hypervisor_, id_);
    } catch (Problem const&) {
        // Nothing more can be done here; `pvn list` shows it.
    }
}

void NewDomain::build(DomainConfig const& config)
{
    Content const kernel{config.kernel};
    auto const reading = boot::read_kernel(kernel.bytes());
    expect(reading.error, config.kernel);
    auto const& image = reading.image;
    auto const frames = config.memory / PVN_PAGE_SIZE;
    for (std::uint64_t done = 0; done < frames;)
        done += static_cast<std::uint64_t>(hypervisor_.must("give the domain memory", PVN_DOMAIN_POPULATE, id_, done, frames - done));

    std::vector<pvn_mmu_op> promotions;
    boot::GuestLayout layout;
    {
        MappedMemory memory{hypervisor_.machine_frames(id_, 0, frames)};
        boot::GuestBuilder builder{memory, image};
        expect(builder.load_kernel(kernel.bytes()), config.kernel);
        expect(builder.place(true), config.kernel);
        if (!config.initrd.empty()) expect(builder.load_initrd(Content{config.initrd}.bytes()), config.initrd);
        auto& info = builder.start_info(config.cmdline);
        info.domain_id = id_;
        info.vcpus = 1;
        info.frames = frames;
        pvn_system_info system{};
        hypervisor_.must("ask for the machine's clock", PVN_SYSTEM_INFO, &system);
        info.tsc_khz = system.tsc_khz;
        info.map_entries = 1;
        info.map[0] = {0, frames, PVN_MAP_RAM, 0};
        console_port_ = static_cast<std::uint32_t>(hypervisor_.must("make the console's event channel", PVN_DOMAIN_EVENT_ALLOC, id_, 0));
        info.console_port = console_port_;
        expect(builder.build_tables(), config.kernel);
        builder.for_each_table([&](std::uint64_t pfn, unsigned level) { promotions.push_back({PVN_MMU_OP_PROMOTE, 0, pfn, level, 0, 0}); });
        layout = builder.layout();
    }  // Nothing of it is mapped writable here any more: what is to be a page table must not be.
    for (std::size_t done = 0; done < promotions.size(); done += PVN_MMU_QUEUE_MAX)
        hypervisor_.must("make the start-up page tables", PVN_DOMAIN_MMU_QUEUE, id_, promotions.data() + done,
                         std::min<std::size_t>(PVN_MMU_QUEUE_MAX, promotions.size() - done));

    pvn_vcpu_context context{};
    context.rip = image.entry;
    context.rsp = image.virtual_base + (layout.stack_pfn + 1) * PVN_PAGE_SIZE;
    context.rsi = image.virtual_base + layout.start_info_pfn * PVN_PAGE_SIZE;
    context.root_pfn = layout.tables_pfn;
    hypervisor_.must("set the start context", PVN_DOMAIN_SET_CONTEXT, id_, 0, &context);
    pvn_sched_parameters parameters{};
    parameters.weight = config.weight;
    hypervisor_.must("set the weight", PVN_DOMAIN_SET_SCHED, id_, &parameters);
    console_frame_ = layout.console_pfn;
}

void destroy_domain(Hypervisor const& hypervisor, std::uint16_t id)
{
    for (;;) {
        auto const result = hypervisor.call(PVN_DOMAIN_DESTROY, id);
        if (result == 0) return;
        if (result != -PVN_E_AGAIN) Hypervisor::checked("destroy the domain", result);
    }
}

}  // namespace pvn::tools
