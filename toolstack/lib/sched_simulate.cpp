// SPDX-License-Identifier: MIT
#include "lib/sched_simulate.hpp"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <nlohmann/json.hpp>

#include "lib/hypervisor.hpp"

namespace pvn::tools {
namespace {

using sched::Nanoseconds;
using sched::testing::DomainReport;
using sched::testing::Report;
using sched::testing::sample_period;

constexpr char const* help = R"(A workload is a text of one statement a line; # begins a comment.

  cpus N                  CPUs of the simulated machine, 1 to 64 (default 1)
  policy bvt|rr|null      the scheduling policy (default bvt)
  allowance TIME          context-switch allowance of bvt (default 5ms)
  slice TIME              slice of rr (default 10ms)
  duration TIME           how long to simulate (default 10s)
  jitter TIME             timers fire up to this late (default 0)
  seed N                  for all that is random (default 1)
  domain NAME [weight N] [vcpus N] [warp TIME [limit TIME] [unwarp TIME]]
         [cpus LIST] [prefers LIST] [start TIME] [stop TIME] LOAD
                          weight and warp are those of each vCPU; cpus is its
                          hard, prefers its soft affinity, such as 0-3,6
      LOAD  busy                        always wants the CPU
            run TIME sleep TIME         again and again
            run TIME yield              again and again
                          TIME may be a range such as 1ms..5ms
  at TIME NAME weight N   changes the weight of a domain's vCPUs

TIME is a whole number and ns, us, ms or s.

The table, for each domain:
  CPUS       CPUs it used, on average
  FAIR       CPUs that its weight entitles it to, of what the domains that are
             not always busy leave; only for busy domains under bvt without
             hard affinity.  A vCPU never gets more than one CPU.
  WORST 1S   how far it was from that over the worst second, in % of a CPU
  WAKES, MEDIAN, 99 %, MOST   times it woke, and from then until it ran
  WAIT       the longest time that one of its vCPUs was ready and did not run
  MOVES      to another CPU

Example:
  cpus 4
  domain web    weight 512 vcpus 2 busy
  domain batch  vcpus 4 run 20ms..80ms sleep 0..10ms
  domain audio  warp 20ms limit 2ms unwarp 5ms run 300us sleep 9700us)";

double duration_of(Report const& report) { return static_cast<double>(report.workload.duration) * 1e-9; }
char const* policy_of(Report const& report)
{
    return std::ranges::find(sched::policy_names, report.workload.policy, &sched::PolicyName::kind)->name.data();
}

std::string time_text(Nanoseconds time)
{
    auto const value = static_cast<double>(time);
    if (time < 1'000) return fmt::format("{} ns", time);
    if (time < 1'000'000) return fmt::format("{:.0f} us", value * 1e-3);
    if (time < 1'000'000'000) return fmt::format("{:.1f} ms", value * 1e-6);
    return fmt::format("{:.2f} s", value * 1e-9);
}

std::string escaped(std::string_view text)
{
    std::string out;
    for (char const c : text) {
        switch (c) {
        case '&': out += "&amp;"; break;
        case '<': out += "&lt;"; break;
        case '>': out += "&gt;"; break;
        case '"': out += "&quot;"; break;
        default: out += static_cast<unsigned char>(c) < 0x20 ? '?' : c;
        }
    }
    return out;
}

// --- The plot -------------------------------------------------------------------------------------------------

// Okabe and Ito's colours, told apart by everybody; then again with dashes.
constexpr std::array colours = {"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"};

char const* colour(std::size_t domain) { return colours[domain % colours.size()]; }
char const* dashes(std::size_t domain)
{
    constexpr std::array patterns = {"", " stroke-dasharray=\"6 3\"", " stroke-dasharray=\"2 3\""};
    return patterns[domain / colours.size() % patterns.size()];
}

constexpr double width = 960, left = 64, right = 16, height = 190, gap = 58;

// A round step that divides `range` into about `parts`.
double step_of(double range, double parts)
{
    double const rough = std::max(range / parts, 1e-12);
    double const power = std::pow(10, std::floor(std::log10(rough)));
    for (double const factor : {1.0, 2.0, 5.0})
        if (factor * power >= rough * 0.999) return factor * power;
    return 10 * power;
}

class Panel {
public:
    Panel(std::string& out, double top, double seconds, double least, double most) : out_{out}, top_{top}, seconds_{seconds}, least_{least}, most_{most} {}

    double x(double time) const { return left + (width - left - right) * time / seconds_; }
    double y(double value) const { return top_ + height * (1 - (std::clamp(value, least_, most_) - least_) / (most_ - least_)); }

    void title(std::string_view text) { label(left, top_ - 10, "start", text, " font-weight=\"600\""); }
    void tick(double value, std::string_view text)
    {
        out_ += fmt::format("<path d=\"M{:.1f} {:.1f}H{:.1f}\" stroke=\"#ddd\"/>\n", left, y(value), width - right);
        label(left - 8, y(value) + 4, "end", text);
    }
    void axes()
    {
        double const step = step_of(seconds_, 10);
        for (double time = 0; time <= seconds_ * 1.0001; time += step) {
            out_ += fmt::format("<path d=\"M{:.1f} {:.1f}v4\" stroke=\"#888\"/>\n", x(time), top_ + height);
            label(x(time), top_ + height + 17, "middle", fmt::format("{:g}{}", std::round(time / step) * step, time + step > seconds_ * 1.0001 ? " s" : ""));
        }
        out_ += fmt::format("<path d=\"M{:.1f} {:.1f}V{:.1f}H{:.1f}\" fill=\"none\" stroke=\"#888\"/>\n", left, top_, top_ + height, width - right);
    }
    // A line through the points; NaN interrupts it.
    void line(std::vector<std::pair<double, double>> const& points, std::size_t domain)
    {
        std::string path;
        char command = 'M';
        for (auto const& [time, value] : points) {
            if (std::isnan(value)) {
                command = 'M';
                continue;
            }
            path += fmt::format("{}{:.1f} {:.1f}", command, x(time), y(value));
            command = 'L';
        }
        if (!path.empty()) out_ += fmt::format("<path d=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"1.5\"{}/>\n", path, colour(domain), dashes(domain));
    }
    void dots(std::vector<std::pair<double, double>> const& points, std::size_t domain)
    {
        out_ += fmt::format("<g fill=\"{}\">", colour(domain));
        for (auto const& [time, value] : points) out_ += fmt::format("<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"1.7\"/>", x(time), y(value));
        out_ += "</g>\n";
    }

private:
    void label(double at_x, double at_y, char const* anchor, std::string_view text, char const* more = "")
    {
        out_ += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\"{}>{}</text>\n", at_x, at_y, anchor, more, text);
    }

    std::string& out_;
    double top_, seconds_, least_, most_;
};

double most_of(std::vector<double> const& values)
{
    double most = 0;
    for (double const value : values)
        if (!std::isnan(value)) most = std::max(most, value);
    return most;
}

void ticks(Panel& panel, double least, double most)
{
    double const step = step_of(most - least, 5);
    for (double value = std::ceil(least / step) * step; value <= most * 1.0001; value += step) panel.tick(value, fmt::format("{:g}", std::round(value / step) * step));
}

double seconds_at(std::size_t sample) { return static_cast<double>(sample) * static_cast<double>(sample_period) * 1e-9; }

std::string read_text(std::string const& file)
{
    if (file == "-") return {std::istreambuf_iterator<char>{std::cin}, {}};
    std::ifstream stream{file};
    std::string text{std::istreambuf_iterator<char>{stream}, {}};
    if (!stream.good() && !stream.eof()) throw Problem{fmt::format("cannot read {}", file)};
    return text;
}

void simulate(std::string const& file, std::string const& svg, bool json)
{
    Report report;
    auto const text = read_text(file);
    try {
        report = sched::testing::simulate(sched::testing::parse_workload(text));
    } catch (sched::testing::WorkloadError const& error) {
        throw Problem{fmt::format("{}: {}", file, error.what())};
    }
    if (!svg.empty()) {
        std::ofstream stream{svg};
        stream << simulation_svg(report);
        stream.close();
        if (!stream) throw Problem{fmt::format("cannot write {}", svg)};
    }
    fmt::print("{}", json ? simulation_json(report) : simulation_table(report));
}

}  // namespace

std::string simulation_table(Report const& report)
{
    double const seconds = duration_of(report);
    std::size_t name_width = 6;
    for (auto const& domain : report.domains) name_width = std::max(name_width, domain.name.size());
    auto out = fmt::format("{} CPU{} under {}, {}: {:.1f} % idle, {:.0f} switches/s, {:.0f} moves/s\n\n", report.workload.cpus, report.workload.cpus == 1 ? "" : "s",
                           policy_of(report), time_text(report.workload.duration), std::abs(report.idle) * 100, static_cast<double>(report.switches) / seconds,
                           static_cast<double>(report.moves) / seconds);
    out += fmt::format("{:<{}} {:>5} {:>6} {:>7} {:>7} {:>8} {:>7} {:>8} {:>8} {:>8} {:>9} {:>7}\n", "DOMAIN", name_width, "VCPUS", "WEIGHT", "CPUS", "FAIR", "WORST 1S",
                       "WAKES", "MEDIAN", "99 %", "MOST", "WAIT", "MOVES");
    for (auto const& d : report.domains) {
        bool const woke = d.wakes != 0;
        out += fmt::format("{:<{}} {:>5} {:>6} {:>7.3f} {:>7} {:>8} {:>7} {:>8} {:>8} {:>8} {:>9} {:>7}\n", d.name, name_width, d.vcpus, d.weight, d.cpu_seconds / seconds,
                           d.fair_seconds ? fmt::format("{:.3f}", *d.fair_seconds / seconds) : "-", d.worst_second ? fmt::format("{:.1f} %", *d.worst_second * 100) : "-",
                           d.wakes, woke ? time_text(d.latency_median) : "-", woke ? time_text(d.latency_99) : "-", woke ? time_text(d.latency_most) : "-",
                           time_text(d.longest_wait), d.moves);
    }
    return out;
}

std::string simulation_json(Report const& report)
{
    auto domains = nlohmann::json::array();
    for (auto const& d : report.domains) {
        auto const optional = [](std::optional<double> const& value) { return value ? nlohmann::json(*value) : nlohmann::json(); };
        domains.push_back({{"name", d.name}, {"vcpus", d.vcpus}, {"weight", d.weight}, {"cpu_seconds", d.cpu_seconds}, {"fair_seconds", optional(d.fair_seconds)},
                           {"worst_second_cpus", optional(d.worst_second)}, {"wakes", d.wakes}, {"latency_median_ns", d.latency_median},
                           {"latency_99_ns", d.latency_99}, {"latency_most_ns", d.latency_most}, {"longest_wait_ns", d.longest_wait}, {"moves", d.moves}});
    }
    nlohmann::json const out{{"policy", policy_of(report)}, {"cpus", report.workload.cpus}, {"duration_ns", report.workload.duration}, {"idle", report.idle},
                             {"switches", report.switches}, {"moves", report.moves}, {"decisions", report.decisions}, {"domains", domains}};
    return out.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
}

std::string simulation_svg(Report const& report)
{
    double const seconds = duration_of(report);
    std::size_t const samples = report.domains.empty() ? 0 : report.domains[0].used.size();
    std::size_t const stride = std::max<std::size_t>(1, samples / 440);
    double const rows = 1 + static_cast<double>((report.domains.size() - 1) / 6);
    double const top = 44 + 20 * rows + 24;
    double const total = top + 3 * (height + gap);

    std::string out = fmt::format("<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0:.0f} {1:.0f}\" width=\"{0:.0f}\" height=\"{1:.0f}\" "
                                  "font-family=\"sans-serif\" font-size=\"12\" fill=\"#222\">\n<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
                                  width, total);
    out += fmt::format("<text x=\"{}\" y=\"26\" font-size=\"16\">{} CPU{} under {}, {}</text>\n", left, report.workload.cpus, report.workload.cpus == 1 ? "" : "s",
                       policy_of(report), time_text(report.workload.duration));
    for (std::size_t i = 0; i < report.domains.size(); ++i) {
        auto const& d = report.domains[i];
        double const x = left + static_cast<double>(i % 6) * 146;
        double const y = 48 + static_cast<double>(i / 6) * 20;
        std::string const name = d.name.size() > 12 ? d.name.substr(0, 11) + "..." : d.name;
        out += fmt::format("<path d=\"M{} {}h18\" stroke=\"{}\" stroke-width=\"3\"{}/><text x=\"{}\" y=\"{}\">{} ({}{})<title>{}</title></text>\n", x, y - 4, colour(i),
                           dashes(i), x + 24, y, escaped(name), d.vcpus == 1 ? "" : fmt::format("{} x ", d.vcpus), d.weight, escaped(d.name));
    }

    using Points = std::vector<std::pair<double, double>>;
    double most_time = 0, most_used = 0, most_latency = 1e6;
    std::size_t const window = std::max<std::size_t>(stride, 20);  // 200 ms
    std::vector<Points> times, shares, latencies;
    for (auto const& d : report.domains) {
        auto& time = times.emplace_back();
        auto& share = shares.emplace_back();
        auto& latency = latencies.emplace_back();
        most_time = std::max(most_time, most_of(d.virtual_time));
        for (std::size_t k = 0; k < samples; k += stride) {
            time.emplace_back(seconds_at(k + 1), d.virtual_time[k]);
            std::size_t const from = k >= window ? k - window : 0;
            double const used = k == from ? d.used[k] / seconds_at(1) : (d.used[k] - d.used[from]) / seconds_at(k - from);
            share.emplace_back(seconds_at(k + 1), used);
            most_used = std::max(most_used, used);
            Nanoseconds longest = 0;
            for (std::size_t j = k; j < std::min(k + stride, samples); ++j) longest = std::max(longest, d.latency[j]);
            if (longest != 0) latency.emplace_back(seconds_at(k + 1), std::log10(static_cast<double>(std::max<Nanoseconds>(longest, 1'000))));
            most_latency = std::max(most_latency, static_cast<double>(longest));
        }
    }
    most_time = std::max(most_time * 1.02, 1e-3);
    most_used = std::max(most_used * 1.05, 0.1);
    double const most_power = std::ceil(std::log10(most_latency));

    Panel time{out, top, seconds, 0, most_time};
    time.title(report.workload.policy == sched::Kind::bvt ? "virtual time: seconds at weight 256 (lines that lie together are treated alike)"
                                                          : "CPU time divided by weight: seconds at weight 256");
    ticks(time, 0, most_time);
    Panel share{out, top + height + gap, seconds, 0, most_used};
    share.title(fmt::format("CPUs used, over {:.0f} ms", seconds_at(window) * 1e3));
    ticks(share, 0, most_used);
    Panel latency{out, top + 2 * (height + gap), seconds, 3, most_power};
    latency.title("from waking to running, the longest of each moment");
    constexpr std::array names = {"1 us", "10 us", "100 us", "1 ms", "10 ms", "100 ms", "1 s", "10 s", "100 s", "1000 s"};
    for (double power = 3; power <= most_power && power < 13; ++power) latency.tick(power, names[static_cast<std::size_t>(power) - 3]);
    for (auto* const panel : {&time, &share, &latency}) panel->axes();
    for (std::size_t i = 0; i < report.domains.size(); ++i) {
        time.line(times[i], i);
        share.line(shares[i], i);
        latency.dots(latencies[i], i);
    }
    return out + "</svg>\n";
}

void add_simulation(CLI::App& sched)
{
    struct Options {
        std::string file{}, svg{};
        bool json = false;
    };
    auto* const simulate_command = sched.add_subcommand("simulate", "runs a workload on simulated CPUs, with the hypervisor's own policies");
    auto const options = std::make_shared<Options>();
    simulate_command->add_option("file", options->file, "the workload; - is the standard input")->required();
    simulate_command->add_option("--svg", options->svg, "also writes a plot of virtual time, shares and wake-up latency to this file");
    simulate_command->add_flag("--json", options->json, "as JSON");
    simulate_command->footer(help);
    simulate_command->callback([options] { simulate(options->file, options->svg, options->json); });
}

}  // namespace pvn::tools
