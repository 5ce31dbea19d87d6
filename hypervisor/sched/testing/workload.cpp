// SPDX-License-Identifier: MIT
#include "sched/testing/workload.hpp"

#include <charconv>
#include <cmath>
#include <deque>
#include <random>
#include <tuple>
#include <utility>

#include "sched/testing/machine.hpp"

namespace pvn::sched::testing {
namespace {

// --- Text ---

using Words = std::vector<std::string_view>;

Words words_of(std::string_view line)
{
    Words words;
    line = line.substr(0, line.find('#'));
    for (std::size_t at = 0; (at = line.find_first_not_of(" \t\r", at)) != line.npos;) {
        std::size_t const end = std::min(line.find_first_of(" \t\r", at), line.size());
        words.push_back(line.substr(at, end - at));
        at = end;
    }
    return words;
}

[[noreturn]] void fail(std::string const& what) { throw WorkloadError{what}; }
std::string in_quotes(std::string_view text) { return "`" + std::string{text} + "`"; }

std::uint64_t number(std::string_view text, std::uint64_t least, std::uint64_t most)
{
    std::uint64_t value = 0;
    auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size() || value < least || value > most)
        fail(in_quotes(text) + " is not a number from " + std::to_string(least) + " to " + std::to_string(most));
    return value;
}

// A whole number and a unit; 0 needs none.
Nanoseconds duration(std::string_view text)
{
    constexpr std::pair<std::string_view, Nanoseconds> units[] = {{"ns", 1}, {"us", 1'000}, {"ms", 1'000'000}, {"s", 1'000'000'000}};
    if (text == "0")
        return 0;
    std::size_t const digits = std::min(text.find_first_not_of("0123456789"), text.size());
    for (auto const& [unit, factor] : units)
        if (digits != 0 && text.substr(digits) == unit)
            return number(text.substr(0, digits), 0, 3'600'000'000'000 / factor) * factor;
    fail(in_quotes(text) + " is not a time such as 250us, 5ms or 2s, of an hour at most");
}

Range range(std::string_view text)
{
    std::size_t const dots = text.find("..");
    if (dots == text.npos)
        return {duration(text), duration(text)};
    Range const range{duration(text.substr(0, dots)), duration(text.substr(dots + 2))};
    if (range.low > range.high)
        fail(in_quotes(text) + " ends before it begins");
    return range;
}

CpuMask mask(std::string_view text)
{
    CpuMask mask;
    while (true) {
        std::size_t const comma = std::min(text.find(','), text.size());
        std::string_view const part = text.substr(0, comma);
        std::size_t const dash = std::min(part.find('-'), part.size());
        auto const from = number(part.substr(0, dash), 0, maximum_cpus - 1);
        auto const to = dash == part.size() ? from : number(part.substr(dash + 1), from, maximum_cpus - 1);
        for (auto cpu = from; cpu <= to; ++cpu)
            mask = mask | CpuMask::only(static_cast<Cpu>(cpu));
        if (comma == text.size())
            return mask;
        text.remove_prefix(comma + 1);
    }
}

std::uint32_t weight_of(std::string_view text) { return static_cast<std::uint32_t>(number(text, 1, maximum_weight)); }

class Parser {
public:
    Workload parse(std::string_view text)
    {
        std::size_t line_number = 0;
        while (!text.empty()) {
            ++line_number;
            std::size_t const end = std::min(text.find('\n'), text.size());
            try {
                line(words_of(text.substr(0, end)));
            } catch (WorkloadError const& error) {
                fail("line " + std::to_string(line_number) + ": " + error.what());
            }
            text.remove_prefix(std::min(end + 1, text.size()));
        }
        finish();
        return std::move(workload_);
    }

private:
    std::string_view next()
    {
        if (at_ == words_.size())
            fail("something is missing after " + in_quotes(words_.back()));
        return words_[at_++];
    }

    void line(Words words)
    {
        words_ = std::move(words);
        at_ = 0;
        if (words_.empty())
            return;
        std::string_view const what = next();
        if (what == "domain")
            domain();
        else if (what == "at")
            change();
        else if (what == "cpus")
            workload_.cpus = static_cast<Cpu>(number(next(), 1, maximum_cpus));
        else if (what == "policy")
            policy(next());
        else if (what == "allowance")
            workload_.options.allowance = duration(next());
        else if (what == "slice")
            workload_.options.slice = duration(next());
        else if (what == "duration")
            workload_.duration = duration(next());
        else if (what == "jitter")
            workload_.jitter = duration(next());
        else if (what == "seed")
            workload_.seed = number(next(), 0, UINT64_MAX);
        else
            fail(in_quotes(what) + " is unknown here; a line begins with domain, at, cpus, policy, allowance, slice, duration, jitter or seed");
        if (at_ != words_.size())
            fail(in_quotes(words_[at_]) + " is one word too many");
    }

    void policy(std::string_view name)
    {
        auto const kind = policy_kind(name);
        if (!kind)
            fail("there is no policy " + in_quotes(name) + "; there are bvt, rr and null");
        workload_.policy = *kind;
    }

    void domain()
    {
        DomainLoad domain;
        domain.name = next();
        if (index_of(domain.name))
            fail("there are two domains " + in_quotes(domain.name));
        bool loaded = false;
        while (at_ != words_.size()) {
            std::string_view const key = next();
            if (key == "weight") {
                domain.parameters.weight = weight_of(next());
            } else if (key == "vcpus") {
                domain.vcpus = static_cast<Cpu>(number(next(), 1, 64));
            } else if (key == "warp") {
                domain.parameters.warping = Warp::enabled;
                domain.parameters.warp = duration(next());
            } else if (key == "limit") {
                domain.parameters.warp_limit = duration(next());
            } else if (key == "unwarp") {
                domain.parameters.unwarp = duration(next());
            } else if (key == "cpus") {
                domain.affinity.hard = mask(next());
            } else if (key == "prefers") {
                domain.affinity.soft = mask(next());
            } else if (key == "start") {
                domain.starts = duration(next());
            } else if (key == "stop") {
                domain.stops = duration(next());
            } else if (key == "busy") {
                loaded = true;
            } else if (key == "run") {
                loaded = true;
                domain.busy = false;
                domain.run = range(next());
                std::string_view const then = next();
                if (then == "sleep")
                    domain.sleep = range(next());
                else if (then != "yield")
                    fail("after `run TIME` comes `sleep TIME` or `yield`, not " + in_quotes(then));
                if (domain.run.low < 1'000)
                    fail("a run of less than 1us is no load");
            } else {
                fail("a domain has no " + in_quotes(key) + "; it has weight, vcpus, warp, limit, unwarp, cpus, prefers, start, stop, and busy or run");
            }
        }
        if (!loaded)
            fail("domain " + in_quotes(domain.name) + " has no load: busy, run TIME sleep TIME, or run TIME yield");
        if (domain.stops <= domain.starts)
            fail("domain " + in_quotes(domain.name) + " stops before it starts");
        workload_.domains.push_back(std::move(domain));
    }

    void change()
    {
        WeightChange change;
        change.at = duration(next());
        std::string_view const name = next();
        auto const index = index_of(name);
        if (!index)
            fail("no domain " + in_quotes(name) + " has been named before");
        change.domain = *index;
        if (next() != "weight")
            fail("what can change is the weight: at TIME NAME weight N");
        change.weight = weight_of(next());
        workload_.changes.push_back(change);
    }

    void finish()
    {
        if (workload_.domains.empty())
            fail("no domain: the least is a line such as `domain one busy`");
        if (workload_.duration == 0)
            fail("the duration is 0");
        for (auto const& domain : workload_.domains)
            if ((domain.affinity.hard & CpuMask::first(workload_.cpus)).empty())
                fail("domain " + in_quotes(domain.name) + " may run on none of the " + std::to_string(workload_.cpus) + " CPUs");
    }

    std::optional<std::size_t> index_of(std::string_view name) const
    {
        for (std::size_t i = 0; i < workload_.domains.size(); ++i)
            if (workload_.domains[i].name == name)
                return i;
        return {};
    }

    Workload workload_{};
    Words words_{};
    std::size_t at_ = 0;
};

// --- Running one ---

Machine::Plan plan_of(DomainLoad const& domain, std::uint64_t seed)
{
    if (domain.busy)
        return [](Nanoseconds) { return Step{}; };
    return [run = domain.run, sleep = domain.sleep, random = std::mt19937_64{seed}](Nanoseconds) mutable {
        auto const draw = [&random](Range range) { return range.low + random() % (range.high - range.low + 1); };
        Nanoseconds const time = draw(run);
        return Step{.run = time, .sleep = draw(sleep)};
    };
}

double seconds(Nanoseconds time) { return static_cast<double>(time) * 1e-9; }

class Run {
public:
    explicit Run(Workload const& workload)
    {
        report_.workload = workload;
        for (Cpu cpu = 0; cpu < workload.cpus; ++cpu)
            machine_.append(slots_.emplace_back().start(workload.policy, workload.options, machine_.pool(), cpu));
        if (workload.jitter != 0)
            machine_.set_jitter(workload.jitter, workload.seed);
        for (auto const& domain : workload.domains) {
            auto& tasks = tasks_.emplace_back();
            for (Cpu i = 0; i < domain.vcpus; ++i)
                tasks.push_back(&machine_.add(domain.parameters, plan_of(domain, workload.seed + 1'000 * tasks_.size() + i), domain.affinity,
                                              domain.starts));
            report_.domains.push_back({.name = domain.name, .vcpus = domain.vcpus, .weight = domain.parameters.weight});
            bound_ = bound_ || (CpuMask::first(workload.cpus) & domain.affinity.hard) != CpuMask::first(workload.cpus);
        }
        seen_.resize(tasks_.size());
        fair_.resize(tasks_.size());
        machine_.sample(sample_period, [this] { sample(); });
    }

    Report finish()
    {
        auto const& workload = report_.workload;
        struct Event {
            Nanoseconds at;
            std::size_t domain;
            std::uint32_t weight;  // 0: it stops
        };
        std::vector<Event> events;
        for (auto const& change : workload.changes)
            events.push_back({change.at, change.domain, change.weight});
        for (std::size_t i = 0; i < workload.domains.size(); ++i)
            if (workload.domains[i].stops != no_deadline)
                events.push_back({workload.domains[i].stops, i, 0});
        std::ranges::sort(events, [](Event const& a, Event const& b) { return std::tie(a.at, a.domain, a.weight) < std::tie(b.at, b.domain, b.weight); });
        for (auto const& event : events) {
            if (event.at > workload.duration)
                break;
            machine_.run_for(event.at - machine_.now());
            auto parameters = workload.domains[event.domain].parameters;
            parameters.weight = event.weight;
            for (auto* const task : tasks_[event.domain])
                event.weight == 0 ? machine_.halt(*task) : machine_.set_parameters(*task, parameters);
            if (event.weight != 0)
                report_.domains[event.domain].weight = event.weight;
        }
        machine_.run_for(workload.duration - machine_.now());
        double used = 0;
        for (std::size_t i = 0; i < tasks_.size(); ++i) {
            summarise(i);
            used += report_.domains[i].cpu_seconds;
        }
        report_.idle = 1 - used / (seconds(workload.duration) * workload.cpus);
        report_.switches = machine_.switches();
        report_.moves = machine_.moves();
        report_.decisions = machine_.decisions();
        return std::move(report_);
    }

private:
    double used_by(std::size_t i) const
    {
        double used = 0;
        for (auto const* const task : tasks_[i])
            used += seconds(task->ran(machine_.now()));
        return used;
    }

    bool active(std::size_t i) const
    {
        auto const& domain = report_.workload.domains[i];
        return machine_.now() > domain.starts && machine_.now() <= domain.stops;
    }

    void sample()
    {
        std::vector<double> weights;
        std::vector<std::size_t> owners;
        double left = report_.workload.cpus * seconds(sample_period);
        for (std::size_t i = 0; i < tasks_.size(); ++i) {
            auto& domain = report_.domains[i];
            double const before = domain.used.empty() ? 0 : domain.used.back();
            domain.used.push_back(used_by(i));
            double virtual_time = 0;
            Nanoseconds longest = 0;
            seen_[i].resize(tasks_[i].size());
            for (std::size_t j = 0; j < tasks_[i].size(); ++j) {
                auto const& task = *tasks_[i][j];
                virtual_time += report_.workload.policy == Kind::bvt ? seconds(static_cast<Bvt const&>(machine_.policy(task.home)).account(task.entity).actual) * default_weight
                                                                     : seconds(task.ran(machine_.now())) * default_weight / domain.weight;
                for (; seen_[i][j] < task.latencies.size(); ++seen_[i][j])
                    longest = std::max<Nanoseconds>(longest, std::max<Nanoseconds>(1, task.latencies[seen_[i][j]]));
            }
            domain.virtual_time.push_back(active(i) ? virtual_time / static_cast<double>(tasks_[i].size()) : std::nan(""));
            domain.latency.push_back(longest);
            if (!report_.workload.domains[i].busy || !active(i)) {
                left -= domain.used.back() - before;
                continue;
            }
            for (std::size_t j = 0; j < tasks_[i].size(); ++j) {
                weights.push_back(domain.weight);
                owners.push_back(i);
            }
        }
        for (auto& fair : fair_)
            fair.push_back(fair.empty() ? 0 : fair.back());
        auto const shares = ideal_shares(weights, left / seconds(sample_period));
        for (std::size_t k = 0; k < shares.size(); ++k)
            fair_[owners[k]].back() += shares[k] * seconds(sample_period);
    }

    void summarise(std::size_t i)
    {
        auto& domain = report_.domains[i];
        domain.cpu_seconds = used_by(i);
        std::vector<Nanoseconds> latencies;
        for (auto const* const task : tasks_[i]) {
            latencies.insert(latencies.end(), task->latencies.begin(), task->latencies.end());
            bool const waits = !task->sleeping && !task->running;
            domain.longest_wait = std::max({domain.longest_wait, task->longest_wait, waits ? machine_.now() - task->ready_since : 0});
            domain.moves += task->moves;
        }
        std::ranges::sort(latencies);
        domain.wakes = latencies.size();
        if (!latencies.empty()) {
            domain.latency_median = latencies[latencies.size() / 2];
            domain.latency_99 = latencies[latencies.size() * 99 / 100];
            domain.latency_most = latencies.back();
        }
        if (!report_.workload.domains[i].busy || bound_ || report_.workload.policy != Kind::bvt || fair_[i].empty())
            return;
        domain.fair_seconds = fair_[i].back();
        std::size_t const window = 1'000'000'000 / sample_period;
        double worst = 0;
        for (std::size_t k = 0; k + window < fair_[i].size(); ++k)
            worst = std::max(worst, std::abs(domain.used[k + window] - domain.used[k] - (fair_[i][k + window] - fair_[i][k])));
        if (fair_[i].size() > window)
            domain.worst_second = worst;
    }

    Machine machine_{};
    std::deque<PolicySlot> slots_{};
    Report report_{};
    std::vector<std::vector<Machine::Task*>> tasks_{};
    std::vector<std::vector<std::size_t>> seen_{};
    std::vector<std::vector<double>> fair_{};  // CPU seconds since the start, by weight
    bool bound_ = false;
};

}  // namespace

Workload parse_workload(std::string_view text) { return Parser{}.parse(text); }
Report simulate(Workload const& workload) { return Run{workload}.finish(); }

}  // namespace pvn::sched::testing
