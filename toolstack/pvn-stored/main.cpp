// SPDX-License-Identifier: MIT
// pvn-stored: keeps the store.  docs/abi/store.md
//
// Two processes: one serves, the other holds the socket on which programs call and starts the first anew when it is killed.  What
// was done is in the journal, and rings keep what has not been done; to a guest it is a pause.
#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <string_view>

#include "lib/registry.hpp"
#include "store/server.hpp"

namespace pvn::store {
namespace {

using tools::File;
using tools::Problem;

constexpr auto usage = R"(usage: pvn-stored [--foreground]

Keeps the store of this machine's domains: serves /run/pvn/store.socket and the domains' rings.
`pvn` starts it when it is needed.  --foreground: does not leave the terminal.
)";

// One daemon for each machine; the lock goes with the process.
File lock()
{
    auto const path = tools::run_folder() + "/store.lock";
    File file{open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)};
    if (file.get() < 0) throw Problem{fmt::format("cannot open {}: {}", path, std::strerror(errno))};
    if (flock(file.get(), LOCK_EX | LOCK_NB) != 0) throw Problem{"it runs already"};
    return file;
}

File listen_for_programs()
{
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    auto const path = socket_path();
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    unlink(path.c_str());
    File listener{socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
    auto const mask = umask(0177);
    bool const bound = listener.get() >= 0 && bind(listener.get(), reinterpret_cast<sockaddr const*>(&address), sizeof address) == 0;
    umask(mask);
    if (!bound || listen(listener.get(), 32) != 0) throw Problem{fmt::format("cannot listen on {}: {}", path, std::strerror(errno))};
    return listener;
}

void leave_terminal()
{
    if (fork() != 0) _exit(0);
    setsid();
    (void)!chdir("/");
    auto const log = tools::run_folder() + "/store.log";
    File const null{open("/dev/null", O_RDWR | O_CLOEXEC)}, out{open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600)};
    dup2(null.get(), 0);
    dup2(out.get() >= 0 ? out.get() : null.get(), 1);
    dup2(out.get() >= 0 ? out.get() : null.get(), 2);
}

[[noreturn]] void serve(File listener)
{
    prctl(PR_SET_NAME, "pvn-stored");
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    try {
        Server{std::move(listener)}.run();
    } catch (std::exception const& problem) {
        fmt::print(stderr, "pvn-stored: {}\n", problem.what());
        _exit(1);
    }
    _exit(0);
}

int keep_serving(File const& listener)
{
    static volatile sig_atomic_t stopping = 0;
    static volatile pid_t child = 0;
    struct sigaction action{};
    action.sa_handler = [](int) {
        stopping = 1;
        if (child > 0) kill(child, SIGTERM);
    };
    sigaction(SIGTERM, &action, nullptr);
    sigaction(SIGINT, &action, nullptr);
    prctl(PR_SET_NAME, "pvn-stored-up");
    constexpr int most_short_lives = 5;
    for (int short_lives = 0; stopping == 0;) {
        auto const started = std::chrono::steady_clock::now();
        child = fork();
        if (child == 0) {
            signal(SIGINT, SIG_IGN);
            signal(SIGTERM, SIG_DFL);
            serve(File{dup(listener.get())});
        }
        int status = 0;
        while (waitpid(child, &status, 0) < 0 && errno == EINTR) {}
        if (stopping != 0) break;
        fmt::print(stderr, "pvn-stored: {} {}; starting anew\n", WIFSIGNALED(status) ? "killed by signal" : "ended with", WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        short_lives = std::chrono::steady_clock::now() - started < std::chrono::seconds{2} ? short_lives + 1 : 0;
        // Who kills it on purpose may; one that cannot live is given up, and the next `pvn` tries again.
        if (short_lives == most_short_lives && !(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)) return 1;
    }
    return 0;
}

int run(bool foreground)
{
    tools::make_folders();  // not more: a pvn that holds the registry may be waiting for us
    tools::Hypervisor const hypervisor;
    auto const only = lock();
    auto const listener = listen_for_programs();
    if (!foreground) leave_terminal();
    return keep_serving(listener);
}

}  // namespace
}  // namespace pvn::store

int main(int argc, char** argv)
{
    bool foreground = false;
    for (int i = 1; i < argc; ++i) {
        std::string_view const argument{argv[i]};
        if (argument == "--help" || argument == "-h") return fmt::print("{}", pvn::store::usage), 0;
        if (argument != "--foreground") return fmt::print(stderr, "pvn-stored: what is {}?\n{}", argument, pvn::store::usage), 2;
        foreground = true;
    }
    try {
        return pvn::store::run(foreground);
    } catch (std::exception const& problem) {
        fmt::print(stderr, "pvn-stored: {}\n", problem.what());
        return 1;
    }
}
