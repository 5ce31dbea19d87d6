// SPDX-License-Identifier: MIT
// The domains of this machine: what the hypervisor and what the registry know of them, brought together.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "lib/hypervisor.hpp"
#include "lib/registry.hpp"

namespace pvn::tools {

struct Known {
    pvn_domain_info info;
    std::optional<Record> record;  // none: dom0, or a domain that started with the machine
    std::string name() const;
};

// Also puts in order what a pvn that was killed has left: removes domains whose `create` came to no end, and gives a keeper to those
// that have lost theirs.  Says so on standard error.
std::vector<Known> all_domains(Hypervisor const&, Registry&);
// By name or id.  Problem: there is none.
Known find_domain(Hypervisor const&, Registry&, std::string const& name);
// The same, but not dom0: "dom0 cannot be {}".
Known find_guest(Hypervisor const&, Registry&, std::string const& name, char const* done_to_it);

// Of a domain of pvn's that has not ended.  Problem: it is another one.
Record record_of_running(Known const&);

std::string state_text(pvn_domain_info const&);
nlohmann::json json_of(Known const&);
std::vector<pvn_vcpu_context> contexts_of(Hypervisor const&, pvn_domain_info const&);  // of each vCPU, if it does not run
pvn_sched_parameters scheduling_of(Hypervisor const&, std::uint16_t id);

}  // namespace pvn::tools
