// SPDX-License-Identifier: MIT
#include "lib/domain_builder.hpp"

#include <fmt/format.h>
#include <signal.h>
#include <sys/random.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <vector>

#include "boot/elf.hpp"
#include "boot/guest_builder.hpp"
#include "lib/cpu_list.hpp"
#include "lib/disks.hpp"
#include "lib/registry.hpp"
#include "lib/store_client.hpp"
#include "lib/vifs.hpp"

namespace pvn::tools {
namespace {

// The domain's memory, mapped in pieces as they are needed.
class MappedMemory final : public boot::GuestMemory {
public:
    explicit MappedMemory(std::vector<std::uint64_t> frames) : frames_{std::move(frames)}, pieces_((frames_.size() + piece_pages - 1) / piece_pages) {}
    bool has(std::uint64_t pfn) override { return pfn < frames_.size(); }
    char* page(std::uint64_t pfn) override
    {
        if (!has(pfn)) return nullptr;
        auto& piece = pieces_[pfn / piece_pages];
        if (!piece) {
            auto const first = pfn / piece_pages * piece_pages;
            piece.emplace(std::span{frames_.data() + first, std::min<std::uint64_t>(piece_pages, frames_.size() - first)});
        }
        return piece->data() + pfn % piece_pages * PVN_PAGE_SIZE;
    }
    std::uint64_t mfn(std::uint64_t pfn) override { return frames_[pfn]; }
    // Asked for page tables only, which lie together: looked for around the last one.
    std::uint64_t pfn_of(std::uint64_t mfn) override
    {
        for (std::uint64_t distance = 0; distance < frames_.size(); ++distance)
            for (auto const at : {found_ + distance, found_ - distance})  // before the first is beyond the last
                if (at < frames_.size() && frames_[at] == mfn) return found_ = at;
        throw Problem{"a page table names a frame that the domain does not have"};
    }
    std::uint64_t end() override { return frames_.size(); }

private:
    static constexpr std::uint64_t piece_pages = 512;
    std::vector<std::uint64_t> frames_;
    std::vector<std::optional<ForeignPages>> pieces_;
    std::uint64_t found_ = 0;
};

void expect(std::string_view error, std::string const& what)
{
    if (!error.empty()) throw Problem{fmt::format("{}: {}", what, error)};
}

}  // namespace

Uuid new_uuid()
{
    Uuid uuid;
    if (getrandom(uuid.data(), uuid.size(), 0) != static_cast<ssize_t>(uuid.size())) throw Problem{"no random numbers for the domain's uuid"};
    uuid[6] = static_cast<std::uint8_t>((uuid[6] & 0x0f) | 0x40);  // RFC 4122: version 4
    uuid[8] = static_cast<std::uint8_t>((uuid[8] & 0x3f) | 0x80);
    return uuid;
}

Images::Images(DomainConfig const& config) : kernel{config.kernel}
{
    if (!config.ramdisk.empty()) ramdisk = std::make_unique<Content>(config.ramdisk);
    auto const needed = kernel.image().highest + (ramdisk ? ramdisk->bytes().size() : 0);
    if (needed > config.memory)
        throw Problem{fmt::format("{}: too little memory: {} MiB, and the kernel{} alone take{} {} MiB; raise `memory`", config.name, config.memory >> 20,
                                  ramdisk ? " and its ramdisk" : "", ramdisk ? "" : "s", (needed >> 20) + 1)};
}

void check_memory(Hypervisor const& hypervisor, DomainConfig const& config)
{
    auto const free = hypervisor.system().free_frames * PVN_PAGE_SIZE;
    if (config.memory > free)
        throw Problem{fmt::format("{} needs {} MiB and the machine has {} MiB free: lower `memory`, or end another domain", config.name, config.memory >> 20,
                                  free >> 20)};
}

void checkpoint(char const* name)
{
    static char const* const wanted = std::getenv("PVN_TEST_SIGNAL_AT");
    if (static bool const traced = std::getenv("PVN_TRACE") != nullptr; traced) {
        static auto const start = std::chrono::steady_clock::now();
        fmt::print(stderr, "pvn: {:>8.3f} ms {}\n", std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count(), name);
    }
    auto const length = std::strlen(name);
    if (wanted != nullptr && std::strncmp(wanted, name, length) == 0 && wanted[length] == ':') raise(std::atoi(wanted + length + 1));
    stop_if_interrupted();
}

NewDomain::NewDomain(Hypervisor const& hypervisor, DomainConfig const& config, Images const& images, Uuid const& uuid) : hypervisor_{hypervisor}, uuid_{uuid}
{
    pvn_domain_create request{};
    std::memcpy(request.uuid, uuid.data(), uuid.size());
    request.limit = request.p2m_frames = config.memory / PVN_PAGE_SIZE;
    request.vcpus = config.max_vcpus;
    auto const created = hypervisor_.call(PVN_DOMAIN_CREATE, &request);
    if (created == -PVN_E_INVALID)
        throw Problem{fmt::format("{}: this hypervisor refuses `memory` = {} MiB with {} vCPUs; try less", config.name, config.memory >> 20, config.max_vcpus)};
    id_ = static_cast<std::uint16_t>(Hypervisor::checked("create the domain", created));
    try {
        build(config, images);
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
    } catch (Problem const& problem) {
        fmt::print(stderr, "pvn: domain {} is left behind: {}\n", id_, problem.what());
    }
}

void NewDomain::build(DomainConfig const& config, Images const& images)
{
    checkpoint("created");
    auto const& image = images.kernel.image();
    auto const frames = config.memory / PVN_PAGE_SIZE;
    for (std::uint64_t done = 0; done < frames; stop_if_interrupted())
        done += static_cast<std::uint64_t>(hypervisor_.must("give the domain memory", PVN_DOMAIN_POPULATE, id_, done, frames - done));
    checkpoint("populated");

    std::vector<pvn_mmu_op> promotions;
    boot::GuestLayout layout;
    {
        auto machine = hypervisor_.machine_frames(id_, 0, frames);
        MappedMemory memory{std::move(machine)};
        boot::GuestBuilder builder{memory, image};
        expect(builder.load_kernel(images.kernel.elf()), config.kernel);
        expect(builder.place(true), config.kernel);
        if (images.ramdisk) expect(builder.load_initrd(images.ramdisk->bytes()), config.ramdisk);
        checkpoint("loaded");
        auto& info = builder.start_info(config.cmdline);
        info.domain_id = id_;
        info.frames = frames;
        info.vcpus = config.vcpus;
        info.max_vcpus = config.max_vcpus;
        info.tsc_khz = hypervisor_.system().tsc_khz;
        info.map_entries = 1;
        info.map[0] = {0, frames, PVN_MAP_RAM, 0};
        console_port_ = static_cast<std::uint32_t>(hypervisor_.must("make the console's event channel", PVN_DOMAIN_EVENT_ALLOC, id_, 0));
        info.console_port = console_port_;
        store_port_ = static_cast<std::uint32_t>(hypervisor_.must("make the store's event channel", PVN_DOMAIN_EVENT_ALLOC, id_, 0));
        info.store_port = store_port_;
        expect(builder.build_tables(), config.kernel);
        builder.for_each_table([&](std::uint64_t pfn, unsigned level) { promotions.push_back({PVN_MMU_OP_PROMOTE, 0, pfn, level, 0, 0}); });
        layout = builder.layout();
        console_frame_ = memory.mfn(layout.console_pfn);
        store_frame_ = memory.mfn(layout.store_pfn);
    }  // Nothing of it is mapped writable here any more: what is to be a page table must not be.
    for (std::size_t done = 0; done < promotions.size(); done += PVN_MMU_QUEUE_MAX)
        hypervisor_.must("make the start-up page tables", PVN_DOMAIN_MMU_QUEUE, id_, promotions.data() + done,
                         std::min<std::size_t>(PVN_MMU_QUEUE_MAX, promotions.size() - done));
    checkpoint("promoted");

    pvn_vcpu_context context{};
    context.rip = image.entry;
    context.rsp = image.virtual_base + (layout.stack_pfn + 1) * PVN_PAGE_SIZE;
    context.rsi = image.virtual_base + layout.start_info_pfn * PVN_PAGE_SIZE;
    context.root_pfn = layout.tables_pfn;
    hypervisor_.must("set the start context", PVN_DOMAIN_SET_CONTEXT, id_, 0, &context);
    pvn_sched_parameters parameters{};
    parameters.weight = config.weight;
    hypervisor_.must("set the weight", PVN_DOMAIN_SET_SCHED, id_, &parameters);
    if (config.pool != 0) {
        auto const taken = hypervisor_.call(PVN_DOMAIN_TAKE_TO_POOL, id_, config.pool);
        if (taken == -PVN_E_NOT_FOUND || taken == -PVN_E_INVALID)
            throw Problem{fmt::format("{}: there is no `pool` {}, or it has no CPU; see `pvn pool list`", config.name, config.pool)};
        Hypervisor::checked("say in which pool the domain is to run", taken);
    }
    for (std::uint32_t vcpu = 0; config.cpus != all_cpus && vcpu < config.max_vcpus; ++vcpu) {
        auto const pinned = hypervisor_.call(PVN_DOMAIN_SET_AFFINITY, id_, vcpu, config.cpus, all_cpus);
        if (pinned == -PVN_E_INVALID)
            throw Problem{fmt::format("{}: no CPU of `cpus` = \"{}\" is online in pool {}; `pvn host cpu list` shows those that are", config.name, cpus_text(config.cpus), config.pool)};
        Hypervisor::checked("say where the domain may run", pinned);
    }
    checkpoint("built");
    introduce(config);
    checkpoint("introduced");
    if (!config.disks.empty() || !config.vifs.empty()) {
        StoreClient store;
        for (auto const& [number, disk] : config.disks) attach_disk(store, id_, number, disk);
        for (auto const& [number, vif] : config.vifs) attach_vif(store, id_, config.name, number, vif);
    }
    checkpoint("devices");
}

// The domain has a place of its own in the store, which it owns; its name and uuid there are dom0's.
void NewDomain::introduce(DomainConfig const& config)
{
    StoreClient store;
    auto const home = fmt::format("/local/domain/{}", id_);
    store.introduce(id_, uuid_, store_frame_, store_port_);
    store.transact([&] {
        store.write(home, "");
        store.set_permissions(home, {id_, false, false, {}});
        std::array<std::uint8_t, 16> raw{};
        std::ranges::copy(uuid_, raw.begin());
        for (auto const& [name, value] : {std::pair{"name", config.name}, std::pair{"uuid", uuid_text(reinterpret_cast<std::uint8_t const(&)[16]>(*raw.data()))}}) {
            auto const path = fmt::format("{}/{}", home, name);
            store.write(path, value);
            store.set_permissions(path, {store::dom0, false, false, {{id_, true, false}}});
        }
    });
}

void destroy_domain(Hypervisor const& hypervisor, std::uint16_t id)
{
    // It has a page of the domain's mapped, and so have back ends, even while it does not run.
    try {
        StoreClient store;
        store.release(id);
        release_disks(store, id);
        release_vifs(store, id);
    } catch (Problem const&) {
        if (store_runs()) throw;  // else it cannot be started: what it knows of is gone, too
    }
    for (;;) {
        auto const result = hypervisor.call(PVN_DOMAIN_DESTROY, id);
        if (result == 0) return;
        if (result != -PVN_E_AGAIN) Hypervisor::checked("destroy the domain", result);
    }
}

}  // namespace pvn::tools
