// SPDX-License-Identifier: MIT
// `pvn top`: what the machine did between two looks at it.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "lib/hypervisor.hpp"

namespace pvn::tools {

// What the hypervisor has counted, at one moment.
struct Sample {
    struct Domain {
        pvn_domain_info info{};
        std::string name;
        std::vector<pvn_vcpu_info> vcpus;
    };
    pvn_system_info system{};
    std::vector<pvn_cpu_info> cpus;
    std::vector<Domain> domains;
};

struct Load {
    double cpu = 0, steal = 0;  // of one CPU: 1 is all the time.  Steal: it wanted to run and had no CPU
    double hypercalls = 0, traps = 0, emulated = 0, interrupts = 0;  // a second
    Load& operator+=(Load const&);
};

struct Activity {
    struct Vcpu {
        pvn_vcpu_info now{};
        Load load;
    };
    struct Domain {
        pvn_domain_info now{};
        std::string name;
        std::vector<Vcpu> vcpus;
        Load load;  // the sum
    };
    struct Cpu {
        pvn_cpu_info now{};
        double busy = 0, switches = 0, exits = 0;
    };
    double seconds = 0;
    pvn_system_info system{};
    std::vector<Cpu> cpus;
    std::vector<Domain> domains;  // the busiest first
};

// A domain that was not there before, or was another one with the same id, has begun at zero.
Activity activity(Sample const& before, Sample const& now);

struct TopLine {
    enum class Kind { summary, heading, cpu, domain, vcpu } kind;
    std::string text;
};
std::vector<TopLine> top_lines(Activity const&);
nlohmann::json json_of(Activity const&);

// Takes samples.  Asks for names only when a domain is new to it: who holds the registry makes us wait.
class Sampler {
public:
    explicit Sampler(Hypervisor const& hypervisor) : hypervisor_{hypervisor} {}
    Sample take();

private:
    Hypervisor const& hypervisor_;
    std::map<std::string, std::string> names_;  // by uuid
};

}  // namespace pvn::tools
