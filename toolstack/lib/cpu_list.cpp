// SPDX-License-Identifier: MIT
#include "lib/cpu_list.hpp"

#include <fmt/format.h>

#include <charconv>

#include "lib/file.hpp"

namespace pvn::tools {
namespace {

constexpr unsigned cpu_count = 64;

// Takes a number off the front of `rest`.
unsigned take_cpu(std::string_view& rest, std::string_view part)
{
    unsigned cpu = 0;
    auto const [at, error] = std::from_chars(rest.data(), rest.data() + rest.size(), cpu);
    if (error == std::errc::result_out_of_range || (error == std::errc{} && cpu >= cpu_count))
        throw Problem{fmt::format("`{}`: CPUs have numbers from 0 to {}", part, cpu_count - 1)};
    if (error != std::errc{}) throw Problem{fmt::format("`{}` is neither a CPU nor a range of CPUs; write for example 0-3,6 or all", part)};
    rest.remove_prefix(static_cast<std::size_t>(at - rest.data()));
    return cpu;
}

std::uint64_t parse_part(std::string_view part)
{
    auto rest = part;
    auto const first = take_cpu(rest, part);
    auto last = first;
    if (rest.starts_with('-')) {
        rest.remove_prefix(1);
        last = take_cpu(rest, part);
    }
    if (!rest.empty()) throw Problem{fmt::format("`{}` is neither a CPU nor a range of CPUs; write for example 0-3,6 or all", part)};
    if (last < first) throw Problem{fmt::format("the range `{}` ends before it begins; write {}-{}", part, last, first)};
    return all_cpus >> (cpu_count - 1 - (last - first)) << first;
}

}  // namespace

std::uint64_t parse_cpus(std::string_view text)
{
    if (text == "all") return all_cpus;
    std::uint64_t mask = 0;
    for (auto rest = text;;) {
        auto const comma = rest.find(',');
        mask |= parse_part(rest.substr(0, comma));
        if (comma == std::string_view::npos) return mask;
        rest.remove_prefix(comma + 1);
    }
}

std::string cpus_text(std::uint64_t mask)
{
    if (mask == all_cpus) return "all";
    std::string text;
    for (unsigned first = 0; first < cpu_count; ++first) {
        if ((mask >> first & 1) == 0) continue;
        auto last = first;
        while (last + 1 < cpu_count && (mask >> (last + 1) & 1) != 0) ++last;
        text += text.empty() ? "" : ",";
        text += first == last ? fmt::format("{}", first) : fmt::format("{}-{}", first, last);
        first = last;
    }
    return text.empty() ? "none" : text;
}

}  // namespace pvn::tools
