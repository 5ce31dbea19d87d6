// SPDX-License-Identifier: MIT
// Another process of ours, told from one that has its number by now.
#pragma once

#include <cstdint>
#include <sys/types.h>

#include "lib/file.hpp"

namespace pvn::tools {

struct Process {
    pid_t id = 0;
    std::uint64_t started = 0;  // clock ticks after boot

    friend bool operator==(Process const&, Process const&) = default;
};

Process process_of(pid_t);               // started 0: there is none
bool alive(Process const&);
void end_process(Process const&);        // asks, then compels; when it returns the process is gone
void reap(pid_t);                        // a child that has ended

}  // namespace pvn::tools
