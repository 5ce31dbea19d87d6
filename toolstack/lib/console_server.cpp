// SPDX-License-Identifier: MIT
#include "lib/console_server.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <deque>
#include <vector>

#include "lib/registry.hpp"
#include "paravane/console_ring.h"

namespace pvn::tools {
namespace {

sockaddr_un address_of(std::string const& name)
{
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    auto const path = console_socket(name);
    if (path.size() >= sizeof address.sun_path) throw Problem{"the domain's name is too long for its console's socket"};
    std::strcpy(address.sun_path, path.c_str());
    return address;
}

// Reads what the guest wrote.  The ring is hostile: indices are read once, and a distance that cannot be is nothing.
std::string take_output(pvn_console_ring& ring)
{
    auto const produced = __atomic_load_n(&ring.out_produced, __ATOMIC_ACQUIRE);
    auto const consumed = __atomic_load_n(&ring.out_consumed, __ATOMIC_RELAXED);
    auto const count = produced - consumed;
    std::string text;
    if (count > PVN_CONSOLE_OUT_SIZE) {
        __atomic_store_n(&ring.out_consumed, produced, __ATOMIC_RELEASE);
        return text;
    }
    for (std::uint32_t i = 0; i < count; ++i) text += static_cast<char>(ring.out[(consumed + i) % PVN_CONSOLE_OUT_SIZE]);
    __atomic_store_n(&ring.out_consumed, produced, __ATOMIC_RELEASE);
    return text;
}

bool give_input(pvn_console_ring& ring, std::deque<char>& input)
{
    auto produced = __atomic_load_n(&ring.in_produced, __ATOMIC_RELAXED);
    auto const consumed = __atomic_load_n(&ring.in_consumed, __ATOMIC_ACQUIRE);
    bool gave = false;
    for (; !input.empty() && produced - consumed < PVN_CONSOLE_IN_SIZE; ++produced, gave = true) {
        ring.in[produced % PVN_CONSOLE_IN_SIZE] = static_cast<std::uint8_t>(input.front());
        input.pop_front();
    }
    __atomic_store_n(&ring.in_produced, produced, __ATOMIC_RELEASE);
    return gave;
}

volatile sig_atomic_t ended = 0;

// A client that does not read loses output, it does not stop the guest.
void serve(pvn_console_ring& ring, EventPort const& port, File const& listener, File const& log)
{
    constexpr std::size_t most_input = 65536, replay = 16384;
    std::vector<File> clients;
    std::deque<char> input;
    std::string recent;  // shown to a new client
    while (ended == 0) {
        auto const output = take_output(ring);
        if (!output.empty()) {
            if (write(log.get(), output.data(), output.size()) < 0) ended = 0;  // a full disk must not stop the console
            recent += output;
            if (recent.size() > replay) recent.erase(0, recent.size() - replay);
            for (auto const& client : clients) (void)!send(client.get(), output.data(), output.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
        }
        if (give_input(ring, input) || !output.empty()) port.notify();

        std::vector<pollfd> waits{{port.descriptor(), POLLIN, 0}, {listener.get(), POLLIN, 0}};
        for (auto const& client : clients) waits.push_back({client.get(), static_cast<short>(input.size() < most_input ? POLLIN : 0), 0});
        if (poll(waits.data(), waits.size(), -1) < 0) continue;
        if ((waits[0].revents & POLLIN) != 0) port.clear();
        for (std::size_t i = waits.size(); i-- > 2;) {
            if ((waits[i].revents & (POLLIN | POLLHUP | POLLERR)) == 0) continue;
            std::array<char, 1024> bytes;
            auto const count = recv(clients[i - 2].get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
            if (count > 0)
                input.insert(input.end(), bytes.begin(), bytes.begin() + count);
            else
                clients.erase(clients.begin() + static_cast<std::ptrdiff_t>(i) - 2);
        }
        if ((waits[1].revents & POLLIN) != 0) {
            File client{accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC)};
            if (client.get() < 0) continue;
            (void)!send(client.get(), recent.data(), recent.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
            clients.push_back(std::move(client));
        }
    }
}

}  // namespace

pid_t start_console_server(ConsoleOf const& console)
{
    // Everything that can fail is done here, where it can be reported.
    File listener{socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    auto const address = address_of(console.name);
    unlink(address.sun_path);
    if (listener.get() < 0 || bind(listener.get(), reinterpret_cast<sockaddr const*>(&address), sizeof address) != 0 || listen(listener.get(), 8) != 0)
        throw Problem{fmt::format("cannot listen on {}: {}", address.sun_path, std::strerror(errno))};
    File log{open(console_log(console.name).c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600)};
    if (log.get() < 0) throw Problem{fmt::format("cannot write {}: {}", console_log(console.name), std::strerror(errno))};
    EventPort port{console.id, console.port};

    auto const child = fork();
    if (child < 0) throw Problem{fmt::format("cannot start the console's process: {}", std::strerror(errno))};
    if (child > 0) return child;

    setsid();
    struct sigaction action{};
    action.sa_handler = [](int) { ended = 1; };
    sigaction(SIGTERM, &action, nullptr);
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    File const null{open("/dev/null", O_RDWR | O_CLOEXEC)};
    for (int descriptor = 0; descriptor < 3; ++descriptor) dup2(null.get(), descriptor);
    try {
        mlockall(MCL_CURRENT | MCL_FUTURE);  // not inherited
        std::uint64_t const frame[] = {console.frame};
        ForeignPages const page{frame};
        serve(*reinterpret_cast<pvn_console_ring*>(page.data()), port, listener, log);
    } catch (Problem const& problem) {
        auto const line = fmt::format("pvn console: {}\n", problem.what());
        (void)!write(log.get(), line.data(), line.size());
    }
    _exit(0);
}

void stop_console_server(pid_t process)
{
    if (process <= 0) return;
    // Waits for its end: it holds a reference to the domain's memory.
    File const handle{static_cast<int>(syscall(SYS_pidfd_open, process, 0))};
    if (handle.get() < 0) return;
    kill(process, SIGTERM);
    pollfd wait{handle.get(), POLLIN, 0};
    poll(&wait, 1, 5000);
}

void attach_console(std::string const& name)
{
    File const server{socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    auto const address = address_of(name);
    if (connect(server.get(), reinterpret_cast<sockaddr const*>(&address), sizeof address) != 0)
        throw Problem{fmt::format("cannot reach the console of {}: {}", name, std::strerror(errno))};
    termios before{};
    bool const terminal = tcgetattr(0, &before) == 0;
    if (terminal) {
        auto raw = before;
        cfmakeraw(&raw);
        tcsetattr(0, TCSANOW, &raw);
    }
    constexpr char escape = 0x1d;  // Ctrl-]
    std::array<pollfd, 2> waits{{{0, POLLIN, 0}, {server.get(), POLLIN, 0}}};
    for (std::array<char, 4096> bytes; poll(waits.data(), waits.size(), -1) >= 0;) {
        if (waits[1].revents != 0) {
            auto const count = recv(server.get(), bytes.data(), bytes.size(), 0);
            if (count <= 0) break;
            (void)!write(1, bytes.data(), static_cast<std::size_t>(count));
        }
        if (waits[0].revents != 0) {
            auto const count = read(0, bytes.data(), bytes.size());
            if (count <= 0) break;
            auto const* const end = std::find(bytes.data(), bytes.data() + count, escape);
            (void)!send(server.get(), bytes.data(), static_cast<std::size_t>(end - bytes.data()), MSG_NOSIGNAL);
            if (end != bytes.data() + count) break;
        }
    }
    if (terminal) tcsetattr(0, TCSANOW, &before);
    (void)!write(1, "\n", 1);
}

}  // namespace pvn::tools
