// SPDX-License-Identifier: MIT
#include "lib/domains.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <nlohmann/json.hpp>

#include "lib/domain_builder.hpp"
#include "lib/keeper.hpp"
#include "lib/network_block.hpp"

namespace pvn::tools {
namespace {

void note(std::string const& what) { fmt::print(stderr, "pvn: {}\n", what); }

void end_abandoned_devices(std::vector<pvn_domain_info> const& running)
{
    std::vector<std::uint16_t> ids;
    for (auto const& info : running) ids.push_back(info.id);
    try {
        end_abandoned_network_blocks(ids);
    } catch (Problem const& problem) {
        note(fmt::format("what an interrupted pvn had connected is left: {}", problem.what()));
    }
}

// We hold the lock, so whoever was building it builds no more.
void remove_unfinished(Hypervisor const& hypervisor, Registry const& registry, Record const& record, std::vector<pvn_domain_info> const& running)
{
    end_process(record.keeper);
    for (auto const& info : running)
        if (uuid_text(info.uuid) == record.uuid) destroy_domain(hypervisor, info.id);
    registry.forget(record.config.name);
    note(fmt::format("removed {}, which an interrupted pvn had left unfinished", record.config.name));
}

void give_keeper(Registry& registry, Record& record)
{
    try {
        NewKeeper keeper{&registry};
        record.keeper = keeper.process();
        keeper.take_over(record);
        registry.write(record);
        keeper.keep();
        note(fmt::format("the keeper of {} was gone; started another", record.config.name));
    } catch (Problem const& problem) {
        note(fmt::format("the keeper of {} is gone, and another cannot start: {}", record.config.name, problem.what()));
    }
}

}  // namespace

std::string Known::name() const
{
    if (record) return record->config.name;
    return info.id == 0 ? "dom0" : fmt::format("({})", info.id);
}

std::vector<Known> all_domains(Hypervisor const& hypervisor, Registry& registry)
{
    auto const running = hypervisor.domains();
    auto records = registry.read();
    bool changed = false;
    std::erase_if(records, [&](auto const& record) {
        bool const found = std::ranges::any_of(running, [&](auto const& info) { return uuid_text(info.uuid) == record.uuid; });
        if (record.building) {
            remove_unfinished(hypervisor, registry, record, running);
            changed = true;
        } else if (!found) {
            end_process(record.keeper);
            registry.forget(record.config.name);
        }
        return record.building || !found;
    });
    for (auto& record : records)
        if (!alive(record.keeper)) give_keeper(registry, record);
    end_abandoned_devices(running);

    std::vector<Known> known;
    for (auto const& info : changed ? hypervisor.domains() : running) {
        auto const found = std::ranges::find_if(records, [&](auto const& r) { return r.id == info.id && r.uuid == uuid_text(info.uuid); });
        known.push_back({info, found != records.end() ? std::optional{*found} : std::nullopt});
    }
    return known;
}

Known find_domain(Hypervisor const& hypervisor, Registry& registry, std::string const& name)
{
    for (auto const& domain : all_domains(hypervisor, registry))
        if (domain.name() == name || std::to_string(domain.info.id) == name) return domain;
    throw Problem{fmt::format("there is no domain {}; `pvn list` shows those that there are", name)};
}

Known find_guest(Hypervisor const& hypervisor, Registry& registry, std::string const& name, char const* done_to_it)
{
    auto domain = find_domain(hypervisor, registry, name);
    if (domain.info.id == 0) throw Problem{fmt::format("dom0 cannot be {}: this command runs in it", done_to_it)};
    return domain;
}

Record record_of_running(Known const& domain)
{
    if (!domain.record) throw Problem{fmt::format("domain {} was not made by pvn: it has no devices", domain.info.id)};
    if ((domain.info.flags & (PVN_DOMAIN_SHUT_DOWN | PVN_DOMAIN_DYING)) != 0) throw Problem{fmt::format("{} has ended", domain.name())};
    return *domain.record;
}

std::string state_text(pvn_domain_info const& d)
{
    if ((d.flags & PVN_DOMAIN_DYING) != 0) return "dying";
    if ((d.flags & PVN_DOMAIN_SHUT_DOWN) != 0) return end_text(d);
    if ((d.flags & PVN_DOMAIN_PAUSED) != 0) return "paused";
    if ((d.flags & PVN_DOMAIN_BLOCKED) != 0) return "blocked";
    return "running";
}

nlohmann::json json_of(Known const& d)
{
    auto const& info = d.info;
    constexpr std::array reasons{"power_off", "reboot", "suspend", "crash"};
    bool const ended = (info.flags & PVN_DOMAIN_SHUT_DOWN) != 0;
    auto state = state_text(info);
    if (ended && info.reason == PVN_SHUTDOWN_CRASH) state = "crashed";
    nlohmann::json json{{"id", info.id},
                        {"name", d.name()},
                        {"uuid", uuid_text(info.uuid)},
                        {"state", state},
                        {"memory_bytes", info.frames * PVN_PAGE_SIZE},
                        {"memory_limit_bytes", info.limit * PVN_PAGE_SIZE},
                        {"vcpus", info.vcpus},
                        {"pool", info.pool},
                        {"weight", info.weight},
                        {"cpu_time_ns", info.cpu_time},
                        {"reason", nullptr},
                        {"last_words", nullptr}};
    if (ended) json["reason"] = info.reason < reasons.size() ? reasons[info.reason] : "unknown";
    if (info.last_words[0] != 0) json["last_words"] = std::string{info.last_words, strnlen(info.last_words, sizeof info.last_words)};
    if (d.record) json["config"] = to_json(d.record->config);
    return json;
}

std::vector<pvn_vcpu_context> contexts_of(Hypervisor const& hypervisor, pvn_domain_info const& info)
{
    std::vector<pvn_vcpu_context> contexts;
    pvn_vcpu_context context{};
    while (contexts.size() < info.vcpus && hypervisor.call(PVN_DOMAIN_GET_CONTEXT, info.id, contexts.size(), &context) == 0) contexts.push_back(context);
    return contexts;
}

pvn_sched_parameters scheduling_of(Hypervisor const& hypervisor, std::uint16_t id)
{
    pvn_sched_parameters parameters{};
    hypervisor.must("read the domain's scheduling", PVN_DOMAIN_GET_SCHED, id, &parameters);
    return parameters;
}

}  // namespace pvn::tools
