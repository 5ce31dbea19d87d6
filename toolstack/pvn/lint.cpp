// SPDX-License-Identifier: MIT
// `pvn lint`: what a kernel would do differently in ring 1.  Needs no hypervisor.
#include "lib/lint.hpp"

#include <fmt/format.h>

#include <array>
#include <nlohmann/json.hpp>

#include "lib/file.hpp"
#include "lib/kernel_file.hpp"
#include "pvn/commands.hpp"

namespace pvn::tools {

int lint_kernel(std::string const& file, bool all, bool json)
{
    Content const content{file};
    std::vector<Finding> found;
    try {
        found = lint(unpack_kernel(content.bytes()).elf);
    } catch (Problem const& problem) {
        throw Problem{fmt::format("{}: {}", file, problem.what())};
    }
    auto list = nlohmann::json::array();
    std::array<std::size_t, 3> counts{};
    bool named = false;
    for (auto const& finding : found) {
        ++counts[static_cast<std::size_t>(finding.verdict)];
        named = named || !finding.place.empty();
        if (!all && finding.verdict == Verdict::emulated) continue;
        if (json)
            list.push_back({{"address", fmt::format("{:#x}", finding.address)}, {"place", finding.place}, {"instruction", finding.instruction},
                            {"verdict", text_of(finding.verdict)}, {"advice", finding.advice}});
        else
            fmt::print("{:<8}  {:#018x}  {:<40}  {:<28}  {}\n", text_of(finding.verdict), finding.address, finding.place, finding.instruction, finding.advice);
    }
    if (json) {
        print_json({{"file", file}, {"silent", counts[0]}, {"refused", counts[1]}, {"emulated", counts[2]}, {"instructions", list}});
        return done;
    }
    fmt::print("{} do something else in ring 1 and nobody is told, {} are refused, {} are emulated{}\n", counts[0], counts[1], counts[2],
               all || counts[2] == 0 ? "" : " (--all lists these too)");
    if (!named && !found.empty()) fmt::print("{} has no symbols: take the file before it was stripped, to see where that is\n", file);
    return done;
}

}  // namespace pvn::tools
