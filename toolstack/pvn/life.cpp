// SPDX-License-Identifier: MIT
// The commands that make, change and end domains.
#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "lib/console.hpp"
#include "lib/disks.hpp"
#include "lib/domain_builder.hpp"
#include "lib/domains.hpp"
#include "lib/keeper.hpp"
#include "pvn/commands.hpp"

namespace pvn::tools {
namespace {

// The name is ours until the end of the scope, or for good.
class Announcement {
public:
    Announcement(Registry const& registry, Record const& record) : registry_{registry}, name_{record.config.name} { registry.write(record); }
    Announcement(Announcement const&) = delete;
    Announcement& operator=(Announcement const&) = delete;
    ~Announcement()
    {
        if (!kept_) registry_.forget(name_);
    }
    void keep() { kept_ = true; }

private:
    Registry const& registry_;
    std::string name_;
    bool kept_ = false;
};

DomainConfig absolute(DomainConfig config)
{
    config.kernel = std::filesystem::absolute(config.kernel);
    if (!config.ramdisk.empty()) config.ramdisk = std::filesystem::absolute(config.ramdisk);
    for (auto& [number, disk] : config.disks) disk.target = std::filesystem::absolute(disk.target);
    return config;
}

int dry_run(CreateOptions const& options, DomainConfig const& config, Images const& images)
{
    if (options.json) {
        fmt::print("{}\n", to_json(config).dump(2));
        return done;
    }
    fmt::print("{}: {} MiB, {} vCPU{}; its kernel takes {} MiB{}; nothing was made\n", config.name, config.memory >> 20, config.vcpus, config.vcpus == 1 ? "" : "s",
               (images.kernel.image().highest - images.kernel.image().lowest + (1 << 20) - 1) >> 20,
               images.ramdisk ? fmt::format(" and its ramdisk {} KiB", images.ramdisk->bytes().size() >> 10) : "");
    return done;
}

// Everything that it takes is given back by the scopes, in the opposite order, wherever it stops.
Record make(DomainConfig const& config, Images const& images, NewKeeper& keeper, Hypervisor const& hypervisor, Registry& registry, bool paused)
{
    for (auto const& domain : all_domains(hypervisor, registry))
        if (domain.name() == config.name)
            throw Problem{fmt::format("the name {} is taken by domain {} ({}); choose another, or `pvn destroy {}`", config.name, domain.info.id,
                                      state_text(domain.info), config.name)};
    check_memory(hypervisor, config);
    checkpoint("checked");
    auto const uuid = new_uuid();
    std::uint8_t raw[16];
    std::ranges::copy(uuid, raw);
    Record record;
    record.uuid = uuid_text(raw);
    record.building = true;
    record.keeper = keeper.process();
    record.config = config;

    Announcement announcement{registry, record};
    checkpoint("announced");
    NewDomain domain{hypervisor, config, images, uuid};
    record.id = domain.id();
    record.console_frame = domain.console_frame();
    record.console_port = domain.console_port();
    struct KeeperEnd {  // before the domain, whose memory it maps
        NewKeeper& keeper;
        bool armed = true;
        ~KeeperEnd()
        {
            if (armed) end_process(keeper.process());
        }
    } keeper_end{keeper};
    keeper.take_over(record);
    checkpoint("kept");
    if (!paused) hypervisor.must("start the domain", PVN_DOMAIN_UNPAUSE, domain.id());
    record.building = false;
    registry.write(record);
    checkpoint("done");
    keeper_end.armed = false;
    domain.keep();
    keeper.keep();
    announcement.keep();
    return record;
}

class Deadline {
public:
    explicit Deadline(std::chrono::seconds wait) : at_{std::chrono::steady_clock::now() + wait} {}
    int left_ms() const
    {
        auto const left = std::chrono::duration_cast<std::chrono::milliseconds>(at_ - std::chrono::steady_clock::now()).count();
        return static_cast<int>(std::clamp<std::int64_t>(left + 1, 0, 1 << 30));
    }
    bool passed() const { return std::chrono::steady_clock::now() >= at_; }

private:
    std::chrono::steady_clock::time_point at_;
};

std::optional<pvn_domain_info> look(Hypervisor const& hypervisor, Known const& domain)
{
    auto info = hypervisor.domain(domain.info.id);
    if (info && std::ranges::equal(info->uuid, domain.info.uuid)) return info;
    return {};
}

int wait_for_the_end(Hypervisor const& hypervisor, DomainChanges const& changes, Known const& domain, Power power, std::chrono::seconds wait)
{
    Deadline const deadline{wait};
    auto const wanted = power == Power::off ? PVN_SHUTDOWN_POWER_OFF : PVN_SHUTDOWN_REBOOT;
    auto const asked = power == Power::off ? "switch off" : "reboot";
    std::optional<pvn_domain_info> last;
    for (;;) {
        changes.clear();
        auto const info = look(hypervisor, domain);
        if (!info) break;
        last = info;
        if ((info->flags & PVN_DOMAIN_SHUT_DOWN) != 0) {
            if (info->reason != static_cast<std::uint32_t>(wanted)) throw Problem{fmt::format("{} was asked to {}, and {}", domain.name(), asked, end_text(*info))};
            auto const& config = domain.record ? std::optional{domain.record->config} : std::nullopt;
            auto const then = !config ? OnEnd::preserve : power == Power::off ? config->on_poweroff : config->on_reboot;
            if (then == OnEnd::preserve) return done;
        }
        if (deadline.passed()) {
            fmt::print(stderr, "pvn: {} was asked to {}, and has not within {} s; it may still, and `pvn destroy {}` ends it at once\n", domain.name(), asked,
                       wait.count(), domain.name());
            return timed_out;
        }
        pollfd waits{changes.descriptor(), POLLIN, 0};
        poll(&waits, 1, deadline.left_ms());
        if (is_interrupted()) throw Problem{fmt::format("interrupted; {} was asked to {} all the same", domain.name(), asked)};
    }
    // Its keeper holds the registry while it makes the next incarnation.
    Registry registry;
    auto const records = registry.read();
    bool const there = std::ranges::any_of(records, [&](auto const& r) { return r.config.name == domain.name() && !r.building; });
    bool const expected = domain.record && (power == Power::off ? domain.record->config.on_poweroff : domain.record->config.on_reboot) == OnEnd::restart;
    if (expected && !there)
        throw Problem{fmt::format("{} ended and did not start again; the end of {} says why", domain.name(), console_log(domain.name()))};
    return done;
}

// Of a domain that runs.  Says which device does not work yet, and why.
bool wait_for_devices(Record const& record, std::chrono::seconds wait)
{
    if (record.config.disks.empty() && record.config.vifs.empty()) return true;
    StoreClient store;
    auto const until = in(wait);
    bool all = true;
    auto const check = [&](char const* type, unsigned number, std::string const& name) {
        auto const why = wait_for_connection(store, {type, record.id, number}, until);
        if (!why.empty()) fmt::print(stderr, "pvn: {} runs, but its {} is not connected: {}\n", record.config.name, name, why);
        all = all && why.empty();
    };
    for (auto const& [number, disk] : record.config.disks) check("block", number, fmt::format("disk {}", disk_name(number)));
    for (auto const& [number, vif] : record.config.vifs) check("net", number, fmt::format("card {}", number));
    return all;
}

// By the store, if the guest listens there.  Problem: it does, and does not answer.
bool ask_by_store(Known const& domain, Power power)
{
    constexpr std::chrono::seconds answer_wait{10};
    if (!store_runs()) return false;
    StoreClient store;
    auto const control = fmt::format("/local/domain/{}/control", domain.info.id), request = control + "/power";
    if (!store.find(control + "/listens")) return false;
    store.write(request, power == Power::off ? "off" : "reboot");
    if (store.wait_until({request}, [&] { return !store.find(request); }, in(answer_wait))) return true;
    store.remove_if_there(request);
    throw Problem{fmt::format("the guest in {} has not taken notice within {} s; `pvn destroy {}` ends it at once", domain.name(), answer_wait.count(), domain.name())};
}

// By an event, as any guest can hear it that has no store.
void ask_by_event(Hypervisor const& hypervisor, Known const& domain, Power power)
{
    auto const asked = hypervisor.call(PVN_DOMAIN_REQUEST_POWER, domain.info.id, power == Power::off ? PVN_SHUTDOWN_POWER_OFF : PVN_SHUTDOWN_REBOOT);
    if (asked == -PVN_E_NOT_LISTENING)
        throw Problem{fmt::format("the guest in {} does not listen to such requests (yet); `pvn destroy {}` ends it at once", domain.name(), domain.name())};
    Hypervisor::checked(power == Power::off ? "ask the domain to switch off" : "ask the domain to reboot", asked);
}

}  // namespace

int create(CreateOptions const& options)
{
    note_interruptions();
    checkpoint("start");
    auto const config = absolute(read_config(options.file));
    if (options.dry_run) return dry_run(options, config, Images{config});
    NewKeeper keeper;
    Images const images{config};
    checkpoint("read");
    Hypervisor const hypervisor;
    Registry registry;
    checkpoint("locked");
    auto const record = make(config, images, keeper, hypervisor, registry, options.paused);
    registry.unlock();
    auto const connected = options.paused || wait_for_devices(record, options.wait);
    forget_interruptions();
    if (options.json) fmt::print("{}\n", nlohmann::json{{"id", record.id}, {"name", config.name}, {"uuid", record.uuid}}.dump(2));
    if (options.attach) attach_console(config.name);
    return connected ? done : timed_out;
}

int destroy(std::string const& name)
{
    Hypervisor const hypervisor;
    Registry registry;
    auto const domain = find_guest(hypervisor, registry, name, "destroyed");
    if ((domain.info.flags & PVN_DOMAIN_DYING) == 0) hypervisor.must("stop the domain", PVN_DOMAIN_PAUSE, domain.info.id);
    if (domain.record) end_process(domain.record->keeper);
    destroy_domain(hypervisor, domain.info.id);
    if (domain.record) registry.forget(domain.record->config.name);
    return done;
}

int request_power(std::string const& name, Power power, std::optional<std::chrono::seconds> wait)
{
    Hypervisor const hypervisor;
    note_interruptions();
    DomainChanges const changes;  // before the request, so that no answer is missed
    Registry registry;
    auto const domain = find_guest(hypervisor, registry, name, "switched off by pvn");
    registry.unlock();
    if ((domain.info.flags & PVN_DOMAIN_SHUT_DOWN) != 0) throw Problem{fmt::format("{} has ended already ({}); `pvn destroy {}` removes it", name, end_text(domain.info), name)};
    if ((domain.info.flags & PVN_DOMAIN_PAUSED) != 0) throw Problem{fmt::format("{} is paused and cannot hear; `pvn unpause {}` first", name, name)};
    if (!ask_by_store(domain, power)) ask_by_event(hypervisor, domain, power);
    return wait ? wait_for_the_end(hypervisor, changes, domain, power, *wait) : done;
}

int pause(std::string const& name)
{
    Hypervisor const hypervisor;
    Registry registry;
    auto const domain = find_guest(hypervisor, registry, name, "paused");
    if ((domain.info.flags & PVN_DOMAIN_SHUT_DOWN) != 0) throw Problem{fmt::format("{} has ended ({}); there is nothing to pause", name, end_text(domain.info))};
    if ((domain.info.flags & PVN_DOMAIN_PAUSED) != 0) throw Problem{fmt::format("{} is paused already", name)};
    hypervisor.must("pause the domain", PVN_DOMAIN_PAUSE, domain.info.id);
    return done;
}

int unpause(std::string const& name)
{
    Hypervisor const hypervisor;
    Registry registry;
    auto const domain = find_guest(hypervisor, registry, name, "unpaused");
    if ((domain.info.flags & PVN_DOMAIN_PAUSED) == 0) throw Problem{fmt::format("{} is not paused", name)};
    hypervisor.must("let the domain run", PVN_DOMAIN_UNPAUSE, domain.info.id);
    return done;
}

int show_console(std::string const& name)
{
    std::string full_name;
    {
        Hypervisor const hypervisor;
        Registry registry;
        auto const domain = find_domain(hypervisor, registry, name);
        if (domain.info.id == 0) throw Problem{"this is dom0's console already"};
        if (!domain.record) throw Problem{fmt::format("domain {} was started by the boot loader: it has no console but the hypervisor's, `pvn dmesg`", name)};
        full_name = domain.name();
    }
    attach_console(full_name);
    return done;
}

}  // namespace pvn::tools
