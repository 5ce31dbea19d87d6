// SPDX-License-Identifier: MIT
#include "lib/network_block.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <spawn.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <vector>

#include "lib/disks.hpp"
#include "lib/file.hpp"
#include "lib/registry.hpp"
#include "lib/store_client.hpp"

namespace pvn::tools {
namespace {

constexpr unsigned devices = 16;  // that Linux makes
constexpr int mark_number = 3;    // the mark's descriptor in qemu-nbd
constexpr std::chrono::seconds patience{10};  // with qemu-nbd, from its start until Linux has the device
constexpr unsigned look_again = 5000;         // microseconds: of what nothing tells

std::string device_name(unsigned number) { return fmt::format("/dev/nbd{}", number); }
// Is there while the device may be nobody's; locked by whoever connects it, which is also qemu-nbd after the pvn that started it.
std::string mark_of(std::string const& device) { return fmt::format("{}/{}.connecting", run_folder(), device.substr(sizeof "/dev/" - 1)); }

bool exists(std::string const& path)
{
    std::error_code none;
    return std::filesystem::exists(path, none);
}

bool in_use(unsigned number) { return exists(fmt::format("/sys/block/nbd{}/pid", number)); }

// What is in a pipe by now, of which the writer has gone.
std::size_t read_some(int descriptor, std::span<char> to)
{
    auto const got = read(descriptor, to.data(), to.size());
    return got > 0 ? static_cast<std::size_t>(got) : 0;
}

// qemu-nbd, to its end; what it says, if that is not well.  What goes on serving after that has the mark, if there is one.
std::string run_qemu_nbd(std::vector<std::string> words, File const& mark = File{})
{
    words.insert(words.begin(), "qemu-nbd");
    std::vector<char*> arguments;
    for (auto& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    std::array<int, 2> ends{};
    if (pipe2(ends.data(), O_CLOEXEC) != 0) return std::strerror(errno);
    File const ours{ends[0]};
    pid_t child = 0;
    int failed = 0;
    {
        File const theirs{ends[1]};
        posix_spawn_file_actions_t actions;
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
        posix_spawn_file_actions_adddup2(&actions, theirs.get(), 2);
        if (mark.get() >= 0) posix_spawn_file_actions_adddup2(&actions, mark.get(), mark_number);
        failed = posix_spawnp(&child, arguments[0], &actions, nullptr, arguments.data(), environ);
        posix_spawn_file_actions_destroy(&actions);
    }
    if (failed != 0) return fmt::format("qemu-nbd cannot be started: {}; it is in Debian's package qemu-utils", std::strerror(failed));
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) {}
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return "";
    std::array<char, 1024> text{};
    auto const size = read_some(ours.get(), text);
    std::string_view said{text.data(), size};
    said = said.substr(0, said.find('\n'));
    return said.empty() ? "qemu-nbd failed" : std::string{said};
}

std::uint64_t sectors_of(std::string const& device)
{
    std::uint64_t bytes = 0;
    File const file{open(device.c_str(), O_RDONLY | O_CLOEXEC)};
    return file.get() >= 0 && ioctl(file.get(), BLKGETSIZE64, &bytes) == 0 ? bytes / 512 : 0;
}

std::string disconnect(std::string const& device) { return run_qemu_nbd({"--disconnect", device}); }

void wait_for_size(DiskConfig const& disk, std::string const& device)
{
    // It says that it serves before the device has its size.
    for (auto const until = in(patience); sectors_of(device) == 0; usleep(look_again))
        if (std::chrono::steady_clock::now() >= until) throw Problem{fmt::format("cannot use {} as a disk: {} gets no size from qemu-nbd", disk.target, device)};
}

void connect(DiskConfig const& disk, std::string const& device, File const& mark)
{
    std::vector<std::string> words{"--connect=" + device, "--fork", "--format=" + disk.format};
    if (disk.read_only) words.emplace_back("--read-only");
    words.push_back(disk.target);
    if (auto const why = run_qemu_nbd(words, mark); !why.empty()) throw Problem{fmt::format("cannot use {} as a disk: {}", disk.target, why)};
    try {
        wait_for_size(disk, device);
    } catch (...) {
        (void)disconnect(device);
        throw;
    }
}

File set_mark(std::string const& device)
{
    File mark{open(mark_of(device).c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600)};
    if (mark.get() < 0 || flock(mark.get(), LOCK_EX | LOCK_NB) != 0) throw Problem{fmt::format("cannot make {}: {}", mark_of(device), std::strerror(errno))};
    return mark;
}

void remove_mark(std::string const& device) { (void)unlink(mark_of(device).c_str()); }

// Waits for the qemu-nbd of a pvn that was killed: it may not have come as far as the device.
bool is_connected(unsigned number)
{
    File const mark{open(mark_of(device_name(number)).c_str(), O_WRONLY | O_CLOEXEC)};
    for (auto const until = in(patience); !in_use(number); usleep(look_again)) {
        if (flock(mark.get(), LOCK_EX | LOCK_NB) == 0) return in_use(number);
        if (std::chrono::steady_clock::now() >= until) throw Problem{fmt::format("qemu-nbd has begun to connect {}, and does not come to its end", device_name(number))};
    }
    return true;
}

}  // namespace

NetworkBlock::NetworkBlock(DiskConfig const& disk)
{
    unsigned number = 0;
    while (number < devices && (!exists(device_name(number)) || in_use(number))) ++number;
    if (number == devices) throw Problem{fmt::format("no network block device is free for {}; `modprobe nbd` makes some", disk.target)};
    name_ = device_name(number);
    auto const mark = set_mark(name_);
    try {
        connect(disk, name_, mark);
    } catch (...) {
        remove_mark(name_);
        throw;
    }
}

NetworkBlock::~NetworkBlock()
{
    if (kept_) return;
    end_network_block(name_);
    remove_mark(name_);
}

void NetworkBlock::keep()
{
    remove_mark(name_);
    kept_ = true;
}

void end_network_block(std::string const& device)
{
    if (auto const why = disconnect(device); !why.empty()) fmt::print(stderr, "pvn: {} is left: {}\n", device, why);
}

void end_abandoned_network_blocks(std::span<std::uint16_t const> domains)
{
    for (unsigned number = 0; number < devices; ++number) {
        auto const device = device_name(number);
        if (!exists(mark_of(device))) continue;
        StoreClient store;
        bool const is_somebodys = std::ranges::any_of(domains, [&](auto const domain) {
            return std::ranges::any_of(disks_of(store, domain), [&](auto const& disk) { return disk.device == device; });
        });
        if (!is_somebodys && is_connected(number)) {
            end_network_block(device);
            fmt::print(stderr, "pvn: ended {}, which an interrupted pvn had left\n", device);
        }
        remove_mark(device);
    }
}

}  // namespace pvn::tools
