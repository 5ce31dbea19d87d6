// SPDX-License-Identifier: MIT
// pvn block: the disks of domains.
#include <fmt/format.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "lib/disks.hpp"
#include "lib/domains.hpp"
#include "pvn/commands.hpp"

namespace pvn::tools {
namespace {

std::string size_text(std::uint64_t bytes) { return bytes == 0 ? "-" : bytes % (1 << 20) == 0 ? fmt::format("{} MiB", bytes >> 20) : fmt::format("{} KiB", bytes >> 10); }

unsigned number_of(std::string const& text)
{
    auto const number = disk_number(text);
    if (!number) throw Problem{fmt::format("{} is no disk: write a name such as pvda, or its number", text)};
    return *number;
}

nlohmann::json json_of(Known const& domain, Disk const& disk)
{
    auto json = to_json(disk.config);
    json["domain"] = domain.name();
    json["domain_id"] = domain.info.id;
    json["number"] = disk.number;
    json["name"] = disk_name(disk.number);
    json["device"] = disk.device;
    json["size_bytes"] = disk.bytes;
    json["front_state"] = disk.front;
    json["back_state"] = disk.back;
    json["error"] = disk.error.empty() ? nlohmann::json{} : nlohmann::json(disk.error);
    return json;
}

}  // namespace

int list_disks(std::string const& name, bool json)
{
    Hypervisor const hypervisor;
    Registry registry;
    auto domains = name.empty() ? all_domains(hypervisor, registry) : std::vector{find_domain(hypervisor, registry, name)};
    registry.unlock();
    auto all = nlohmann::json::array();
    if (!json) fmt::print("{:<20} {:<6} {:>11}  {:<4} {:<12} {}\n", "DOMAIN", "DISK", "SIZE", "MODE", "STATE", "TARGET");
    if (store_runs()) {
        StoreClient store;
        for (auto const& domain : domains)
            for (auto const& disk : disks_of(store, domain.info.id)) {
                if (json)
                    all.push_back(json_of(domain, disk));
                else
                    fmt::print("{:<20} {:<6} {:>11}  {:<4} {:<12} {}\n", domain.name(), disk_name(disk.number), size_text(disk.bytes), disk.config.read_only ? "r" : "rw",
                               device_state_text(disk.front, disk.back, disk.error), disk.config.target);
            }
    }
    if (json) fmt::print("{}\n", all.dump(2));
    return done;
}

int attach_disk(std::string const& name, DiskConfig const& wanted, std::chrono::seconds wait)
{
    auto disk = wanted;
    disk.target = std::filesystem::absolute(disk.target);
    Hypervisor const hypervisor;
    note_interruptions();
    Registry registry;
    auto const domain = find_guest(hypervisor, registry, name, "given a disk");
    auto record = record_of_running(domain);
    unsigned number = 0;
    while (record.config.disks.contains(number)) ++number;
    StoreClient store;
    attach_disk(store, domain.info.id, number, disk);
    record.config.disks[number] = disk;
    registry.write(record);
    registry.unlock();
    fmt::print("{}\n", disk_name(number));
    if ((domain.info.flags & PVN_DOMAIN_PAUSED) != 0) return done;
    auto const why = wait_for_connection(store, {"block", domain.info.id, number}, in(wait));
    if (why.empty()) return done;
    fmt::print(stderr, "pvn: {} has the disk {}, but it is not connected: {}\n", domain.name(), disk_name(number), why);
    return timed_out;
}

int detach_disk(std::string const& name, std::string const& disk, bool force)
{
    auto const number = number_of(disk);
    Hypervisor const hypervisor;
    Registry registry;
    auto const domain = find_guest(hypervisor, registry, name, "rid of a disk");
    auto record = record_of_running(domain);
    StoreClient store;
    detach_disk(store, domain.info.id, number, force);
    record.config.disks.erase(number);
    registry.write(record);
    return done;
}

int resize_disk(std::string const& name, std::string const& disk)
{
    auto const number = number_of(disk);
    Hypervisor const hypervisor;
    Registry registry;
    auto const domain = find_guest(hypervisor, registry, name, "given a larger disk");
    StoreClient store;
    auto const bytes = resize_disk(store, domain.info.id, number);
    fmt::print("{} of {} has {}\n", disk_name(number), domain.name(), size_text(bytes));
    return done;
}

}  // namespace pvn::tools
