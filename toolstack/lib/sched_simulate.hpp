// SPDX-License-Identifier: MIT
// `pvn sched simulate`: runs a workload on simulated CPUs, and shows what came out as a table, a plot or JSON.
#pragma once

#include <string>

#include "sched/testing/workload.hpp"

namespace CLI {
class App;
}

namespace pvn::tools {

std::string simulation_table(sched::testing::Report const& report);
std::string simulation_svg(sched::testing::Report const& report);
std::string simulation_json(sched::testing::Report const& report);

// Adds `simulate` to the command `sched`; it needs no hypervisor.
void add_simulation(CLI::App& sched);

}  // namespace pvn::tools
