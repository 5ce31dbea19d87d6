// SPDX-License-Identifier: MIT
// The commands that show what there is, and the scheduler's.
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <memory>
#include <nlohmann/json.hpp>
#include <span>

#include "lib/console.hpp"
#include "lib/domains.hpp"
#include "lib/file.hpp"
#include "lib/kernel_code.hpp"
#include "lib/kernel_file.hpp"
#include "lib/lint.hpp"
#include "pvn/commands.hpp"

namespace pvn::tools {
namespace {

struct Register {
    char const* name;
    std::uint64_t pvn_vcpu_context::* value;
};
constexpr Register registers[] = {
    {"rip", &pvn_vcpu_context::rip}, {"rsp", &pvn_vcpu_context::rsp}, {"rflags", &pvn_vcpu_context::rflags}, {"rax", &pvn_vcpu_context::rax},
    {"rbx", &pvn_vcpu_context::rbx}, {"rcx", &pvn_vcpu_context::rcx}, {"rdx", &pvn_vcpu_context::rdx},       {"rsi", &pvn_vcpu_context::rsi},
    {"rdi", &pvn_vcpu_context::rdi}, {"rbp", &pvn_vcpu_context::rbp}, {"r8", &pvn_vcpu_context::r8},         {"r9", &pvn_vcpu_context::r9},
    {"r10", &pvn_vcpu_context::r10}, {"r11", &pvn_vcpu_context::r11}, {"r12", &pvn_vcpu_context::r12},       {"r13", &pvn_vcpu_context::r13},
    {"r14", &pvn_vcpu_context::r14}, {"r15", &pvn_vcpu_context::r15}, {"fs_base", &pvn_vcpu_context::fs_base}, {"gs_base", &pvn_vcpu_context::gs_base},
};

double seconds(std::uint64_t ns) { return static_cast<double>(ns) / 1e9; }

nlohmann::json json_of(pvn_vcpu_context const& context)
{
    nlohmann::json json;
    for (auto const& r : registers) json[r.name] = fmt::format("{:#x}", context.*r.value);
    json["cs"] = context.cs;
    json["ss"] = context.ss;
    return json;
}

void print(std::size_t number, pvn_vcpu_context const& context)
{
    fmt::print("vcpu {}   cs {:#x} ss {:#x}", number, context.cs, context.ss);
    std::size_t column = 0;
    for (auto const& r : registers) fmt::print("{}{:>7} {:016x}", column++ % 3 == 0 ? "\n      " : "  ", r.name, context.*r.value);
    fmt::print("\n");
}

int domain_info(Hypervisor const& hypervisor, std::string const& name, bool json)
{
    Registry registry;
    auto const d = find_domain(hypervisor, registry, name);
    auto const& i = d.info;
    bool const ended = (i.flags & PVN_DOMAIN_SHUT_DOWN) != 0;
    auto const contexts = ended ? contexts_of(hypervisor, i) : std::vector<pvn_vcpu_context>{};
    if (json) {
        auto out = tools::json_of(d);
        if (ended) {
            out["registers"] = nlohmann::json::array();
            for (auto const& context : contexts) out["registers"].push_back(json_of(context));
        }
        print_json(out);
        return done;
    }
    fmt::print("name     {}\nid       {}\nuuid     {}\nstate    {}\nmemory   {} MiB of at most {} MiB\nvcpus    {}\npool     {}\nweight   {}\ncpu      {:.3f} s\n", d.name(), i.id,
               uuid_text(i.uuid), state_text(i), i.frames / 256, i.limit / 256, i.vcpus, i.pool, i.weight, seconds(i.cpu_time));
    if (d.record) {
        auto const& c = d.record->config;
        fmt::print("kernel   {}\nramdisk  {}\ncmdline  {}\nends     on_poweroff {}, on_reboot {}, on_crash {}\nconsole  {}\n", c.kernel,
                   c.ramdisk.empty() ? "-" : c.ramdisk, c.cmdline, text_of(c.on_poweroff), text_of(c.on_reboot), text_of(c.on_crash), console_log(c.name));
    }
    for (std::size_t n = 0; n < contexts.size(); ++n) print(n, contexts[n]);
    return done;
}

int machine_info(Hypervisor const& hypervisor, bool json)
{
    auto const s = hypervisor.system();
    if (json) {
        print_json({{"version", s.version}, {"scheduler", s.scheduler}, {"cpus", s.cpus}, {"domains", s.domains}, {"memory_frames", s.frames},
                    {"free_frames", s.free_frames}, {"tsc_khz", s.tsc_khz}, {"uptime_ns", s.uptime}});
        return done;
    }
    fmt::print("version    {}\nscheduler  {}\ncpus       {}\ndomains    {}\nmemory     {} MiB, {} MiB free ({} frames)\nup         {:.1f} s\n", s.version, s.scheduler,
               s.cpus, s.domains, s.frames / 256, s.free_frames / 256, s.free_frames, seconds(s.uptime));
    return done;
}

nlohmann::json json_of(Known const& domain, pvn_sched_parameters const& p)
{
    return {{"id", domain.info.id}, {"name", domain.name()}, {"weight", p.weight}, {"warping", (p.flags & PVN_SCHED_WARP) != 0},
            {"warp_ns", p.warp},    {"warp_limit_ns", p.warp_limit}, {"unwarp_ns", p.unwarp}, {"cpu_time_ns", domain.info.cpu_time}};
}

// A kernel's file, for the names of its places.
struct NamedKernel {
    explicit NamedKernel(std::string const& file) : content{file}, unpacked{unpack_kernel(content.bytes())}, code{unpacked.elf} {}
    Content content;
    Unpacked unpacked;
    KernelCode code;
};

// Who names a file wants to hear what is wrong with it; the one that the domain was made of need not be there any more.
std::unique_ptr<NamedKernel> name_kernel(std::string const& file, Known const& domain)
{
    auto const& used = !file.empty() || !domain.record ? file : domain.record->config.kernel;
    if (used.empty()) return {};
    try {
        return std::make_unique<NamedKernel>(used);
    } catch (Problem const& problem) {
        if (file.empty()) return {};
        throw Problem{std::string{problem.what()}.starts_with(file) ? problem.what() : fmt::format("{}: {}", file, problem.what())};
    }
}

}  // namespace

void print_json(nlohmann::json const& json) { fmt::print("{}\n", json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace)); }

int list(bool json)
{
    Hypervisor const hypervisor;
    Registry registry;
    auto const domains = all_domains(hypervisor, registry);
    if (json) {
        auto out = nlohmann::json::array();
        for (auto const& domain : domains) out.push_back(tools::json_of(domain));
        print_json(out);
        return done;
    }
    fmt::print("{:<20} {:>4} {:>10} {:>6} {:>8} {:>10}  {}\n", "NAME", "ID", "MEMORY", "VCPUS", "WEIGHT", "CPU", "STATE");
    for (auto const& d : domains)
        fmt::print("{:<20} {:>4} {:>6} MiB {:>6} {:>8} {:>9.1f}s  {}\n", d.name(), d.info.id, d.info.frames / 256, d.info.vcpus, d.info.weight, seconds(d.info.cpu_time),
                   state_text(d.info));
    return done;
}

int info(std::string const& name, bool json)
{
    Hypervisor const hypervisor;
    return name.empty() ? machine_info(hypervisor, json) : domain_info(hypervisor, name, json);
}

int dmesg(bool json)
{
    Hypervisor const hypervisor;
    std::string text;
    std::vector<char> piece(4096);
    for (std::uint64_t offset = 0;;) {
        auto const count = hypervisor.must("read the hypervisor's log", PVN_SYSTEM_LOG_READ, piece.data(), piece.size(), offset);
        if (count == 0) break;
        text.append(piece.data(), static_cast<std::size_t>(count));
        offset += static_cast<std::uint64_t>(count);
    }
    if (json)
        print_json({{"log", text}});
    else
        fmt::print("{}", text);
    return done;
}

int show_traps(std::string const& name, std::string const& kernel, bool json)
{
    Hypervisor const hypervisor;
    Registry registry;
    auto const domain = find_domain(hypervisor, registry, name);
    auto const named_kernel = name_kernel(kernel, domain);
    std::vector<pvn_trap_count> traps(64);
    traps.resize(static_cast<std::size_t>(hypervisor.must("read the trap counts", PVN_DOMAIN_GET_TRAPS, domain.info.id, traps.data(), traps.size())));
    std::ranges::sort(traps, std::ranges::greater{}, &pvn_trap_count::count);
    auto out = nlohmann::json::array();
    for (auto const& trap : traps) {
        auto const place = named_kernel ? named_kernel->code.place(trap.rip) : std::string{};
        auto const instruction = instruction_text(std::as_bytes(std::span{trap.bytes}), trap.rip);
        std::string bytes;
        for (auto const byte : trap.bytes) bytes += fmt::format("{}{:02x}", bytes.empty() ? "" : " ", byte);
        if (json)
            out.push_back({{"rip", fmt::format("{:#x}", trap.rip)}, {"count", trap.count}, {"bytes", bytes}, {"place", place}, {"instruction", instruction}});
        else
            fmt::print("{:>10}  {:#018x}  {:<36}  {}\n", trap.count, trap.rip, place, instruction);
    }
    if (json) print_json(out);
    return done;
}

int audit(bool json)
{
    Hypervisor const hypervisor;
    auto const found = hypervisor.must("audit", PVN_DOMAIN_AUDIT);
    if (json) print_json({{"discrepancies", found}});
    if (found != 0) throw Problem{fmt::format("the audit found {} discrepancies; `pvn dmesg` shows them", found)};
    if (!json) fmt::print("the frame table agrees with all page tables\n");
    return done;
}

int sched(std::string const& name, SchedulingChange const& change, bool json)
{
    Hypervisor const hypervisor;
    Registry registry;
    if (change.any()) {
        if (name.empty()) throw Problem{"name the domain whose scheduling is to change"};
        auto const id = find_domain(hypervisor, registry, name).info.id;
        auto parameters = scheduling_of(hypervisor, id);
        if (change.weight) parameters.weight = *change.weight;
        if (change.warp) {
            parameters.warp = parse_duration(*change.warp);
            parameters.flags = parameters.warp != 0 ? PVN_SCHED_WARP : 0;
        }
        if (change.warp_limit) parameters.warp_limit = parse_duration(*change.warp_limit);
        if (change.unwarp) parameters.unwarp = parse_duration(*change.unwarp);
        hypervisor.must("set the domain's scheduling", PVN_DOMAIN_SET_SCHED, id, &parameters);
        return done;
    }
    auto const domains = name.empty() ? all_domains(hypervisor, registry) : std::vector{find_domain(hypervisor, registry, name)};
    auto out = nlohmann::json::array();
    if (!json) fmt::print("{:<20} {:>4} {:>8} {:>10} {:>10} {:>10} {:>10}\n", "NAME", "ID", "WEIGHT", "WARP", "LIMIT", "UNWARP", "CPU");
    for (auto const& d : domains) {
        auto const p = scheduling_of(hypervisor, d.info.id);
        if (json)
            out.push_back(json_of(d, p));
        else
            fmt::print("{:<20} {:>4} {:>8} {:>10} {:>10} {:>10} {:>9.1f}s\n", d.name(), d.info.id, p.weight,
                       (p.flags & PVN_SCHED_WARP) != 0 ? duration_text(p.warp) : "off", p.warp_limit != 0 ? duration_text(p.warp_limit) : "none",
                       duration_text(p.unwarp), seconds(d.info.cpu_time));
    }
    if (json) print_json(name.empty() ? out : out.at(0));
    return done;
}

}  // namespace pvn::tools
