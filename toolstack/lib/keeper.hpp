// SPDX-License-Identifier: MIT
// The process beside each domain, from its creation to its end: keeps what its console says, shows it to whoever is attached, and
// when the domain ends does what on_poweroff, on_reboot or on_crash say.
#pragma once

#include <string>

#include "lib/process.hpp"
#include "lib/registry.hpp"

namespace pvn::tools {

// A keeper that has no domain yet, or has one that is not finished: ended with the scope unless it is kept.
class NewKeeper {
public:
    // Forks: early, while this process is small, since the keeper stays as long as the domain.
    explicit NewKeeper(Registry* held = nullptr);
    NewKeeper(NewKeeper const&) = delete;
    NewKeeper& operator=(NewKeeper const&) = delete;
    ~NewKeeper();
    Process const& process() const { return process_; }
    void take_over(Record const&);  // when it returns, the keeper listens.  Problem: why it cannot
    void keep() { kept_ = true; }

private:
    Process process_;
    File channel_;
    bool kept_ = false;
};

// "powered off", "crashed: why", ...
std::string end_text(pvn_domain_info const&);

}  // namespace pvn::tools
