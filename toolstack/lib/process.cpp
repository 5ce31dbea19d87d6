// SPDX-License-Identifier: MIT
#include "lib/process.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>
#include <sstream>
#include <string>

namespace pvn::tools {

Process process_of(pid_t id)
{
    std::ifstream file{fmt::format("/proc/{}/stat", id)};
    std::string line;
    std::getline(file, line);
    // pid (name) state ...: the name may hold anything, so what counts follows the last parenthesis.
    auto const name_end = line.rfind(')');
    if (name_end == std::string::npos) return {id, 0};
    std::istringstream rest{line.substr(name_end + 1)};
    std::string word;
    for (int field = 3; field < 22; ++field) {
        rest >> word;
        if (field == 3 && (word == "Z" || word == "X")) return {id, 0};
    }
    Process process{id, 0};
    rest >> process.started;
    return process;
}

bool alive(Process const& process) { return process.id > 0 && process.started != 0 && process_of(process.id) == process; }

void end_process(Process const& process)
{
    if (process.id <= 0) return;
    File const handle{static_cast<int>(syscall(SYS_pidfd_open, process.id, 0))};
    if (handle.get() < 0 || !alive(process)) return;
    for (auto const signal : {SIGTERM, SIGKILL}) {
        syscall(SYS_pidfd_send_signal, handle.get(), signal, nullptr, 0);
        pollfd wait{handle.get(), POLLIN, 0};
        if (poll(&wait, 1, signal == SIGTERM ? 2000 : -1) > 0) return;
    }
}

void reap(pid_t child) { waitpid(child, nullptr, 0); }

}  // namespace pvn::tools
