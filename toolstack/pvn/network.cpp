// SPDX-License-Identifier: MIT
// pvn network: the network cards of domains.
#include <fmt/format.h>

#include <charconv>
#include <nlohmann/json.hpp>

#include "lib/domains.hpp"
#include "lib/vifs.hpp"
#include "pvn/commands.hpp"

namespace pvn::tools {
namespace {

unsigned number_of(std::string const& text)
{
    auto digits = std::string_view{text};
    if (digits.starts_with("eth")) digits.remove_prefix(3);
    unsigned number = 0;
    auto const* const end = digits.data() + digits.size();
    if (auto const [at, error] = std::from_chars(digits.data(), end, number); error != std::errc{} || at != end)
        throw Problem{fmt::format("{} is no card: write its number, or a name such as eth0", text)};
    return number;
}

nlohmann::json json_of(Known const& domain, Vif const& vif)
{
    auto json = to_json(vif.config);
    json["domain"] = domain.name();
    json["domain_id"] = domain.info.id;
    json["number"] = vif.number;
    json["interface"] = vif.interface;
    json["front_state"] = vif.front;
    json["back_state"] = vif.back;
    json["error"] = vif.error.empty() ? nlohmann::json{} : nlohmann::json(vif.error);
    return json;
}

}  // namespace

int list_vifs(std::string const& name, bool json)
{
    Hypervisor const hypervisor;
    Registry registry;
    auto const domains = name.empty() ? all_domains(hypervisor, registry) : std::vector{find_domain(hypervisor, registry, name)};
    registry.unlock();
    auto all = nlohmann::json::array();
    constexpr auto line = "{:<20} {:<5} {:<18} {:<10} {:<14} {}\n";
    if (!json) fmt::print(line, "DOMAIN", "CARD", "MAC", "INTERFACE", "STATE", "WHERE");
    if (store_runs()) {
        StoreClient store;
        for (auto const& domain : domains)
            for (auto const& vif : vifs_of(store, domain.info.id)) {
                if (json)
                    all.push_back(json_of(domain, vif));
                else
                    fmt::print(line, domain.name(), vif.number, vif.config.mac, vif.interface, device_state_text(vif.front, vif.back, vif.error),
                               !vif.config.bridge.empty() ? "bridge " + vif.config.bridge : vif.config.address.empty() ? "-" : vif.config.address);
            }
    }
    if (json) fmt::print("{}\n", all.dump(2));
    return done;
}

int attach_vif(std::string const& name, VifConfig const& vif, std::chrono::seconds wait)
{
    Hypervisor const hypervisor;
    note_interruptions();
    Registry registry;
    auto const domain = find_guest(hypervisor, registry, name, "given a card");
    auto record = record_of_running(domain);
    unsigned number = 0;
    while (record.config.vifs.contains(number)) ++number;
    StoreClient store;
    attach_vif(store, domain.info.id, record.config.name, number, vif);
    record.config.vifs[number] = vif;
    registry.write(record);
    registry.unlock();
    fmt::print("{}\n", number);
    if ((domain.info.flags & PVN_DOMAIN_PAUSED) != 0) return done;
    auto const why = wait_for_connection(store, {"net", domain.info.id, number}, in(wait));
    if (why.empty()) return done;
    fmt::print(stderr, "pvn: {} has the card {}, but it is not connected: {}\n", domain.name(), number, why);
    return timed_out;
}

int detach_vif(std::string const& name, std::string const& card, bool force)
{
    auto const number = number_of(card);
    Hypervisor const hypervisor;
    Registry registry;
    auto const domain = find_guest(hypervisor, registry, name, "rid of a card");
    auto record = record_of_running(domain);
    StoreClient store;
    detach_vif(store, domain.info.id, number, force);
    record.config.vifs.erase(number);
    registry.write(record);
    return done;
}

}  // namespace pvn::tools
