// SPDX-License-Identifier: MIT
// `pvn trace`: takes what the CPUs note until it is enough, and writes it as it comes.
#include <fmt/format.h>
#include <poll.h>

#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>

#include "lib/domains.hpp"
#include "lib/processors.hpp"
#include "lib/trace_events.hpp"
#include "pvn/commands.hpp"

namespace pvn::tools {
namespace {

using Clock = std::chrono::steady_clock;

class Output {
public:
    explicit Output(std::string const& name) : name_{name}, file_{name == "-" ? stdout : std::fopen(name.c_str(), "we")}
    {
        if (file_ == nullptr) throw Problem{fmt::format("cannot write {}: {}", name, std::strerror(errno))};
    }
    Output(Output const&) = delete;
    Output& operator=(Output const&) = delete;
    ~Output()
    {
        if (file_ != nullptr && file_ != stdout) std::fclose(file_);
    }
    void write(std::string_view text)
    {
        if (std::fwrite(text.data(), 1, text.size(), file_) != text.size()) fail();
    }
    void close()
    {
        auto* const file = std::exchange(file_, nullptr);
        if ((file == stdout ? std::fflush(file) : std::fclose(file)) != 0) fail();
    }

private:
    [[noreturn]] void fail() const { throw Problem{fmt::format("cannot write {}: {}", name_, std::strerror(errno))}; }
    std::string name_;
    std::FILE* file_;
};

// The hypervisor notes things while this lives.
class Recording {
public:
    Recording(Hypervisor const& hypervisor, std::uint64_t events) : hypervisor_{hypervisor}
    {
        hypervisor_.must("begin to trace", PVN_SYSTEM_TRACE, events);
    }
    Recording(Recording const&) = delete;
    Recording& operator=(Recording const&) = delete;
    ~Recording() { hypervisor_.call(PVN_SYSTEM_TRACE, 0); }

private:
    Hypervisor const& hypervisor_;
};

// Takes all that a CPU has now.  Our own calls make more: that must not keep us here.
std::vector<pvn_trace_record> take(Hypervisor const& hypervisor, std::uint32_t cpu)
{
    std::vector<pvn_trace_record> all(std::size_t{PVN_TRACE_RECORDS} + 1024);
    std::size_t count = 0;
    while (count < PVN_TRACE_RECORDS) {
        constexpr std::size_t most = 1024;
        auto const got = static_cast<std::size_t>(hypervisor.must("read the trace", PVN_SYSTEM_TRACE_READ, cpu, all.data() + count, most));
        count += got;
        if (got < most) break;
    }
    all.resize(count);
    return all;
}

}  // namespace

int trace(TraceOptions const& options)
{
    auto const events = parse_trace_events(options.events);
    Hypervisor const hypervisor;
    std::map<std::uint16_t, std::string> names;
    {
        Registry registry;
        for (auto const& domain : all_domains(hypervisor, registry)) names[domain.info.id] = domain.name();
    }
    Output output{options.file};
    note_interruptions();
    auto const cpus = static_cast<std::uint32_t>(physical_cpus(hypervisor).size());
    TraceEvents file{[&](std::string_view text) { output.write(text); }, std::move(names)};
    std::uint64_t records = 0, gaps = 0;
    auto const collect = [&] {
        std::size_t most = 0;
        for (std::uint32_t cpu = 0; cpu < cpus; ++cpu) {
            auto const taken = take(hypervisor, cpu);
            // The ring keeps one record less than it has room for.  If it was full, what was before is gone, or may be.
            if (taken.size() >= PVN_TRACE_RECORDS - 1) file.lost(cpu), ++gaps;
            file.add(cpu, taken);
            records += taken.size();
            most = std::max(most, taken.size());
        }
        return most;
    };
    for (std::uint32_t cpu = 0; cpu < cpus; ++cpu) take(hypervisor, cpu);  // what an earlier trace left
    auto const start = Clock::now();
    auto const left = [&] { return options.seconds ? *options.seconds - std::chrono::duration<double>(Clock::now() - start).count() : 1e9; };
    {
        Recording const recording{hypervisor, events};
        for (std::size_t most = 0; !is_interrupted() && left() > 0; most = collect())
            if (most < PVN_TRACE_RECORDS / 4) poll(nullptr, 0, static_cast<int>(std::clamp(left() * 1000, 1.0, 10.0)));
    }
    auto const seconds = std::chrono::duration<double>(Clock::now() - start).count();
    collect();
    file.finish();
    output.close();
    if (options.json && options.file != "-")
        print_json({{"file", options.file}, {"cpus", cpus}, {"records", records}, {"gaps", gaps}, {"seconds", seconds}});
    else
        fmt::print(stderr, "{} records of {} CPU{} in {:.1f} s{}; https://ui.perfetto.dev shows the file\n", records, cpus, cpus == 1 ? "" : "s", seconds,
                   gaps != 0 ? fmt::format("; {} times some were lost: trace fewer --events", gaps) : "");
    return done;
}

}  // namespace pvn::tools
