// SPDX-License-Identifier: MIT
// The process beside each domain that empties its console ring: into a log file, and to whoever is attached.
#pragma once

#include <cstdint>
#include <string>
#include <sys/types.h>

#include "lib/hypervisor.hpp"

namespace pvn::tools {

struct ConsoleOf {
    std::string name;
    std::uint16_t id;
    std::uint64_t frame;  // machine frame of the ring
    std::uint32_t port;   // the domain's
};

// Starts it and returns its process id once it listens.  Ended by SIGTERM.
pid_t start_console_server(ConsoleOf const&);
void stop_console_server(pid_t);
// Connects this terminal to the console until Ctrl-] (or the end of the input, or of the domain).
void attach_console(std::string const& name);

}  // namespace pvn::tools
