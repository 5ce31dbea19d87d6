// SPDX-License-Identifier: MIT
#include "lib/console.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "lib/registry.hpp"

namespace pvn::tools {
namespace {

std::uint64_t const* one(std::uint64_t const& value) { return &value; }

// The terminal is put back whatever ends the session.
class RawTerminal {
public:
    RawTerminal() : is_terminal_{tcgetattr(0, &before_) == 0}
    {
        if (!is_terminal_) return;
        auto raw = before_;
        cfmakeraw(&raw);
        tcsetattr(0, TCSANOW, &raw);
    }
    RawTerminal(RawTerminal const&) = delete;
    RawTerminal& operator=(RawTerminal const&) = delete;
    ~RawTerminal()
    {
        if (is_terminal_) tcsetattr(0, TCSANOW, &before_);
    }
    bool is_terminal() const { return is_terminal_; }

private:
    termios before_{};
    bool is_terminal_;
};

void write_all(int to, char const* bytes, std::size_t count)
{
    while (count > 0) {
        auto const written = write(to, bytes, count);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) return;
        bytes += written;
        count -= static_cast<std::size_t>(written);
    }
}

}  // namespace

std::string take_output(pvn_console_ring& ring)
{
    auto const produced = __atomic_load_n(&ring.out_produced, __ATOMIC_ACQUIRE);
    auto const consumed = __atomic_load_n(&ring.out_consumed, __ATOMIC_RELAXED);
    auto const count = produced - consumed;
    std::string text;
    if (count <= PVN_CONSOLE_OUT_SIZE)
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
    if (gave) __atomic_store_n(&ring.in_produced, produced, __ATOMIC_RELEASE);
    return gave;
}

ConsoleRing::ConsoleRing(std::uint16_t domain, std::uint64_t frame, std::uint32_t port) : page_{{one(frame), 1}}, port_{domain, port} {}

std::string ConsoleRing::take_output()
{
    auto text = tools::take_output(ring());
    if (!text.empty()) port_.notify();  // there is room again
    return text;
}

void ConsoleRing::give_input(std::deque<char>& input)
{
    if (tools::give_input(ring(), input)) port_.notify();
}

void ConsoleLog::append(std::string_view text)
{
    if (file_.get() >= 0 && size_ + text.size() > most_) {
        std::rename(path_.c_str(), (path_ + ".1").c_str());
        file_ = File{};
    }
    if (file_.get() < 0) {
        file_ = File{open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600)};
        struct stat status{};
        size_ = fstat(file_.get(), &status) == 0 ? static_cast<std::size_t>(status.st_size) : 0;
    }
    write_all(file_.get(), text.data(), text.size());
    size_ += text.size();
}

void attach_console(std::string const& name)
{
    File const server{socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    auto const path = console_socket(name);
    if (path.size() >= sizeof address.sun_path) throw Problem{"the domain's name is too long for its console's socket"};
    std::strcpy(address.sun_path, path.c_str());
    if (connect(server.get(), reinterpret_cast<sockaddr const*>(&address), sizeof address) != 0)
        throw Problem{fmt::format("cannot reach the console of {}: {}; `pvn list` shows whether it still runs", name, std::strerror(errno))};

    note_interruptions();  // so that the terminal is put back
    RawTerminal const terminal;
    if (terminal.is_terminal()) fmt::print(stderr, "pvn: this is the console of {}; Ctrl-] leaves\r\n", name);
    constexpr char escape = 0x1d;  // Ctrl-]
    std::array<pollfd, 2> waits{{{0, POLLIN, 0}, {server.get(), POLLIN, 0}}};
    std::array<char, 4096> bytes;
    while (!is_interrupted() && poll(waits.data(), waits.size(), -1) >= 0) {
        if (waits[1].revents != 0) {
            auto const count = recv(server.get(), bytes.data(), bytes.size(), 0);
            if (count <= 0) break;
            write_all(1, bytes.data(), static_cast<std::size_t>(count));
        }
        if (waits[0].revents != 0) {
            auto const count = read(0, bytes.data(), bytes.size());
            if (count <= 0) {
                waits[0].fd = -1;  // nothing more to type; what the domain says is still of interest
                continue;
            }
            auto const* const end = std::find(bytes.data(), bytes.data() + count, escape);
            (void)!send(server.get(), bytes.data(), static_cast<std::size_t>(end - bytes.data()), MSG_NOSIGNAL);
            if (end != bytes.data() + count) break;
        }
    }
    if (terminal.is_terminal()) fmt::print(stderr, "\r\n");
    forget_interruptions();
}

}  // namespace pvn::tools
