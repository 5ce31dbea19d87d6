// SPDX-License-Identifier: MIT
// pvn: the life of domains, from dom0's command line.
#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <signal.h>
#include <sys/random.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "lib/console_server.hpp"
#include "lib/domain_builder.hpp"
#include "lib/domain_config.hpp"
#include "lib/hypervisor.hpp"
#include "lib/registry.hpp"
#include "lib/sched_simulate.hpp"

namespace pvn::tools {
namespace {

volatile sig_atomic_t interrupted = 0;

void stop_if_interrupted()
{
    if (interrupted != 0) throw Problem{"interrupted; nothing was left behind"};
}

char const* reason_text(std::uint32_t reason)
{
    switch (reason) {
    case PVN_SHUTDOWN_POWER_OFF: return "powered off";
    case PVN_SHUTDOWN_REBOOT: return "reboot";
    case PVN_SHUTDOWN_SUSPEND: return "suspended";
    default: return "crashed";
    }
}

std::string state_text(pvn_domain_info const& d)
{
    if ((d.flags & PVN_DOMAIN_DYING) != 0) return "dying";
    if ((d.flags & PVN_DOMAIN_SHUT_DOWN) != 0) return reason_text(d.reason);
    if ((d.flags & PVN_DOMAIN_PAUSED) != 0) return "paused";
    if ((d.flags & PVN_DOMAIN_BLOCKED) != 0) return "blocked";
    return "running";
}

struct Known {
    pvn_domain_info info;
    Record record;
};

std::vector<Known> all(Hypervisor const& hypervisor, Registry const& registry)
{
    auto const running = hypervisor.domains();
    auto const records = registry.read(running);
    std::vector<Known> known;
    for (auto const& info : running) {
        auto const found = std::ranges::find_if(records, [&](auto const& r) { return r.id == info.id; });
        Record unnamed{};
        unnamed.name = info.id == 0 ? "dom0" : fmt::format("({})", info.id);
        unnamed.id = info.id;
        known.push_back({info, found != records.end() ? *found : unnamed});
    }
    return known;
}

Known find(Hypervisor const& hypervisor, Registry const& registry, std::string const& name)
{
    for (auto const& domain : all(hypervisor, registry))
        if (domain.record.name == name || std::to_string(domain.info.id) == name) return domain;
    throw Problem{fmt::format("there is no domain {}; `pvn list` shows those that there are", name)};
}

nlohmann::json json_of(Known const& d)
{
    return {{"id", d.info.id}, {"name", d.record.name}, {"uuid", uuid_text(d.info.uuid)}, {"state", state_text(d.info)},
            {"memory_bytes", d.info.frames * PVN_PAGE_SIZE}, {"memory_limit_bytes", d.info.limit * PVN_PAGE_SIZE}, {"vcpus", d.info.vcpus},
            {"weight", d.info.weight}, {"cpu_time_ns", d.info.cpu_time}, {"reason", std::string{d.info.last_words}}};
}

void create(std::string const& file, bool paused, bool attach)
{
    auto const config = read_config(file);
    Hypervisor const hypervisor;
    struct sigaction action{};
    action.sa_handler = [](int) { interrupted = 1; };
    sigaction(SIGINT, &action, nullptr);
    sigaction(SIGTERM, &action, nullptr);

    Registry registry;
    for (auto const& domain : all(hypervisor, registry))
        if (domain.record.name == config.name) throw Problem{fmt::format("the name {} is taken by domain {}", config.name, domain.info.id)};
    std::array<std::uint8_t, 16> uuid;
    if (getrandom(uuid.data(), uuid.size(), 0) != static_cast<ssize_t>(uuid.size())) throw Problem{"no random numbers for the domain's uuid"};
    NewDomain domain{hypervisor, config, uuid};
    stop_if_interrupted();
    auto const frame = hypervisor.machine_frames(domain.id(), domain.console_frame(), 1);
    auto const server = start_console_server({config.name, domain.id(), frame[0], domain.console_port()});
    try {
        std::uint8_t raw[16];
        std::ranges::copy(uuid, raw);
        registry.write({config.name, domain.id(), uuid_text(raw), server, config.on_crash == OnCrash::destroy ? "destroy" : "preserve",
                        std::filesystem::absolute(file)});
        stop_if_interrupted();
        if (!paused) hypervisor.must("start the domain", PVN_DOMAIN_UNPAUSE, domain.id());
        domain.keep();
    } catch (...) {
        stop_console_server(server);
        registry.forget(config.name);
        throw;
    }
    registry.unlock();
    if (attach) attach_console(config.name);
}

void destroy(std::string const& name)
{
    Hypervisor const hypervisor;
    Registry const registry;
    auto const domain = find(hypervisor, registry, name);
    if (domain.info.id == 0) throw Problem{"dom0 cannot be destroyed; shut it down from inside"};
    if ((domain.info.flags & PVN_DOMAIN_DYING) == 0) hypervisor.must("stop the domain", PVN_DOMAIN_PAUSE, domain.info.id);
    stop_console_server(domain.record.console_server);
    destroy_domain(hypervisor, domain.info.id);
    registry.forget(domain.record.name);
}

void list(bool json)
{
    Hypervisor const hypervisor;
    Registry const registry;
    auto const domains = all(hypervisor, registry);
    if (json) {
        auto out = nlohmann::json::array();
        for (auto const& domain : domains) out.push_back(json_of(domain));
        fmt::print("{}\n", out.dump(2));
        return;
    }
    fmt::print("{:<20} {:>4} {:>10} {:>6} {:>8} {:>10}  {}\n", "NAME", "ID", "MEMORY", "VCPUS", "WEIGHT", "CPU", "STATE");
    for (auto const& d : domains)
        fmt::print("{:<20} {:>4} {:>6} MiB {:>6} {:>8} {:>9.1f}s  {}\n", d.record.name, d.info.id, d.info.frames / 256, d.info.vcpus, d.info.weight,
                   static_cast<double>(d.info.cpu_time) / 1e9, state_text(d.info));
}

void info(std::string const& name, bool json)
{
    Hypervisor const hypervisor;
    if (!name.empty()) {
        Registry const registry;
        auto const d = find(hypervisor, registry, name);
        if (json) {
            fmt::print("{}\n", json_of(d).dump(2));
            return;
        }
        fmt::print("name     {}\nid       {}\nuuid     {}\nstate    {}\nmemory   {} MiB of at most {} MiB\nvcpus    {}\nweight   {}\ncpu      {:.3f} s\n", d.record.name,
                   d.info.id, uuid_text(d.info.uuid), state_text(d.info), d.info.frames / 256, d.info.limit / 256, d.info.vcpus, d.info.weight,
                   static_cast<double>(d.info.cpu_time) / 1e9);
        if (d.info.last_words[0] != 0) fmt::print("ended    {}\n         rip {:#x} rsp {:#x}\n", d.info.last_words, d.info.rip, d.info.rsp);
        return;
    }
    pvn_system_info system{};
    hypervisor.must("ask the hypervisor", PVN_SYSTEM_INFO, &system);
    if (json) {
        nlohmann::json const out{{"version", system.version}, {"scheduler", system.scheduler}, {"cpus", system.cpus}, {"domains", system.domains},
                                 {"memory_frames", system.frames}, {"free_frames", system.free_frames}, {"tsc_khz", system.tsc_khz}, {"uptime_ns", system.uptime}};
        fmt::print("{}\n", out.dump(2));
        return;
    }
    fmt::print("version    {}\nscheduler  {}\ncpus       {}\ndomains    {}\nmemory     {} MiB, {} MiB free ({} frames)\nup         {:.1f} s\n", system.version,
               system.scheduler, system.cpus, system.domains, system.frames / 256, system.free_frames / 256, system.free_frames,
               static_cast<double>(system.uptime) / 1e9);
}

void pause(std::string const& name, bool unpause)
{
    Hypervisor const hypervisor;
    Registry const registry;
    auto const domain = find(hypervisor, registry, name);
    hypervisor.must(unpause ? "let the domain run" : "pause the domain", unpause ? PVN_DOMAIN_UNPAUSE : PVN_DOMAIN_PAUSE, domain.info.id);
}

void set_weight(std::string const& name, std::uint32_t weight)
{
    Hypervisor const hypervisor;
    Registry const registry;
    auto const domain = find(hypervisor, registry, name);
    pvn_sched_parameters parameters{};
    parameters.weight = weight;
    hypervisor.must("set the weight", PVN_DOMAIN_SET_SCHED, domain.info.id, &parameters);
}

void show_console(std::string const& name)
{
    {
        Hypervisor const hypervisor;
        Registry const registry;
        auto const domain = find(hypervisor, registry, name);
        if (domain.info.id == 0) throw Problem{"this is dom0's console already"};
    }
    attach_console(name);
}

void show_log()
{
    Hypervisor const hypervisor;
    std::vector<char> piece(4096);
    for (std::uint64_t offset = 0;;) {
        auto const count = hypervisor.must("read the hypervisor's log", PVN_SYSTEM_LOG_READ, piece.data(), piece.size(), offset);
        if (count == 0) return;
        fmt::print("{}", std::string_view{piece.data(), static_cast<std::size_t>(count)});
        offset += static_cast<std::uint64_t>(count);
    }
}

void show_traps(std::string const& name, bool json)
{
    Hypervisor const hypervisor;
    Registry const registry;
    auto const domain = find(hypervisor, registry, name);
    std::vector<pvn_trap_count> traps(64);
    traps.resize(static_cast<std::size_t>(hypervisor.must("read the trap counts", PVN_DOMAIN_GET_TRAPS, domain.info.id, traps.data(), traps.size())));
    std::ranges::sort(traps, std::ranges::greater{}, &pvn_trap_count::count);
    auto out = nlohmann::json::array();
    for (auto const& trap : traps) {
        std::string bytes;
        for (auto const byte : trap.bytes) bytes += fmt::format("{:02x} ", byte);
        if (json)
            out.push_back({{"rip", fmt::format("{:#x}", trap.rip)}, {"count", trap.count}, {"bytes", bytes}});
        else
            fmt::print("{:>10}  {:#018x}  {}\n", trap.count, trap.rip, bytes);
    }
    if (json) fmt::print("{}\n", out.dump(2));
}

void audit()
{
    Hypervisor const hypervisor;
    auto const found = hypervisor.must("audit", PVN_DOMAIN_AUDIT);
    if (found != 0) throw Problem{fmt::format("the audit found {} discrepancies; `pvn log` shows them", found)};
    fmt::print("the frame table agrees with all page tables\n");
}

int run(int argc, char** argv)
{
    CLI::App app{"pvn runs paravirtual domains on Paravane", "pvn"};
    app.require_subcommand(1);
    app.failure_message(CLI::FailureMessage::simple);
    std::string name, file;
    bool json = false, paused = false, attach = false;
    std::uint32_t weight = 0;
    auto const with_name = [&](char const* command, char const* what) {
        auto* const sub = app.add_subcommand(command, what);
        sub->add_option("domain", name, "name or id")->required();
        return sub;
    };
    auto* const create_command = app.add_subcommand("create", "makes a domain from a TOML file and starts it");
    create_command->add_option("file", file, "the domain's description (keys: name, kernel, initrd, cmdline, memory, weight, on_crash)")->required();
    create_command->add_flag("-p,--paused", paused, "do not start it yet");
    create_command->add_flag("-c,--console", attach, "attach to its console");
    create_command->callback([&] { create(file, paused, attach); });
    auto* const list_command = app.add_subcommand("list", "lists the domains");
    list_command->add_flag("--json", json, "as JSON");
    list_command->callback([&] { list(json); });
    auto* const info_command = app.add_subcommand("info", "about the machine, or one domain");
    info_command->add_option("domain", name, "name or id");
    info_command->add_flag("--json", json, "as JSON");
    info_command->callback([&] { info(name, json); });
    with_name("console", "attaches to a domain's console; Ctrl-] leaves")->callback([&] { show_console(name); });
    with_name("pause", "stops a domain until it is unpaused")->callback([&] { pause(name, false); });
    with_name("unpause", "lets a paused domain run")->callback([&] { pause(name, true); });
    with_name("destroy", "ends a domain at once and gives everything back")->callback([&] { destroy(name); });
    auto* const weight_command = with_name("weight", "sets a domain's share of the CPU");
    weight_command->add_option("weight", weight, "1 to 65535; 256 is usual")->required()->check(CLI::Range(1, 65535));
    weight_command->callback([&] { set_weight(name, weight); });
    app.add_subcommand("log", "prints the hypervisor's log")->callback([&] { show_log(); });
    auto* const traps_command = with_name("traps", "instructions of a guest that still trap, and how often");
    traps_command->add_flag("--json", json, "as JSON");
    traps_command->callback([&] { show_traps(name, json); });
    auto* const debug_command = app.add_subcommand("debug", "looks into the hypervisor");
    debug_command->require_subcommand(1);
    debug_command->add_subcommand("audit", "checks the frame table against all page tables")->callback([&] { audit(); });
    add_sched_commands(app);
    CLI11_PARSE(app, argc, argv);
    return 0;
}

}  // namespace
}  // namespace pvn::tools

int main(int argc, char** argv)
{
    try {
        return pvn::tools::run(argc, argv);
    } catch (std::exception const& problem) {
        fmt::print(stderr, "pvn: {}\n", problem.what());
        return 1;
    }
}
