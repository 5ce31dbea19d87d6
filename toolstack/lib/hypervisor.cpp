// SPDX-License-Identifier: MIT
#include "lib/hypervisor.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace pvn::tools {

File open_control()
{
    File device{open("/dev/pvn", O_RDWR | O_CLOEXEC)};
    if (device.get() < 0) {
        if (errno == ENOENT) throw Problem{"there is no /dev/pvn: this command works in dom0, on a machine that runs under Paravane"};
        throw Problem{fmt::format("cannot open /dev/pvn: {}; run this command as root", std::strerror(errno))};
    }
    return device;
}

Hypervisor::Hypervisor() : device_{open_control()}
{
    // Hypercalls read and write arguments where they are: nothing of ours may be paged out or copy-on-write then.
    // As they are touched: to bring in all of the program would take longer than most commands.
    if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) != 0) throw Problem{fmt::format("cannot lock memory: {}", std::strerror(errno))};
}

std::int64_t Hypervisor::raw_call(pvn_control_hypercall call) const
{
    if (ioctl(device_.get(), PVN_CONTROL_HYPERCALL, &call) != 0) throw Problem{fmt::format("hypercall: {}", std::strerror(errno))};
    return call.result;
}

char const* Hypervisor::text_of(std::int64_t error)
{
    switch (-error) {
    case PVN_E_DENIED: return "not permitted";
    case PVN_E_NOT_FOUND: return "there is no such domain";
    case PVN_E_AGAIN: return "try again";
    case PVN_E_NO_MEMORY: return "the machine has too little free memory (see `pvn info`)";
    case PVN_E_BAD_ADDRESS: return "bad address";
    case PVN_E_BUSY: return "it is in use";
    case PVN_E_EXISTS: return "it exists already";
    case PVN_E_INVALID: return "a value is out of range";
    case PVN_E_NO_SPACE: return "too many of them";
    case PVN_E_RANGE: return "the domain has no such frame";
    case PVN_E_NOT_IMPLEMENTED: return "this hypervisor cannot do that";
    case PVN_E_WRONG_TYPE: return "a frame is in use as something else";
    case PVN_E_NOT_LISTENING: return "the guest does not listen to such requests";
    case PVN_E_SHUT_DOWN: return "the domain has ended already";
    default: return "unknown error";
    }
}

std::int64_t Hypervisor::checked(char const* what, std::int64_t result)
{
    if (result < 0) throw Problem{fmt::format("cannot {}: {}", what, text_of(result))};
    return result;
}

std::vector<pvn_domain_info> Hypervisor::domains() const
{
    std::vector<pvn_domain_info> all, piece(16);
    for (std::uint64_t first = 0;;) {
        auto const filled = must("list domains", PVN_DOMAIN_INFO, first, piece.data(), piece.size());
        all.insert(all.end(), piece.begin(), piece.begin() + filled);
        if (static_cast<std::size_t>(filled) < piece.size()) return all;
        first = all.back().id + 1u;
    }
}

std::optional<pvn_domain_info> Hypervisor::domain(std::uint16_t id) const
{
    pvn_domain_info info{};
    if (must("look at the domain", PVN_DOMAIN_INFO, id, &info, 1) == 1 && info.id == id) return info;
    return {};
}

pvn_system_info Hypervisor::system() const
{
    pvn_system_info system{};
    must("ask the hypervisor", PVN_SYSTEM_INFO, &system);
    return system;
}

std::vector<std::uint64_t> Hypervisor::machine_frames(std::uint16_t domain, std::uint64_t first, std::uint64_t count) const
{
    std::vector<std::uint64_t> frames(count);
    for (std::uint64_t done = 0; done < count;) {
        auto const filled = must("look up the domain's memory", PVN_DOMAIN_GET_MFNS, domain, first + done, frames.data() + done, count - done);
        if (filled == 0) throw Problem{"the domain has less memory than expected"};
        done += static_cast<std::uint64_t>(filled);
    }
    return frames;
}

ForeignPages::ForeignPages(std::span<std::uint64_t const> frames) : size_{frames.size() * PVN_PAGE_SIZE}
{
    auto const device = open_control();
    memory_ = mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_SHARED, device.get(), 0);
    if (memory_ == MAP_FAILED) throw Problem{fmt::format("cannot map memory of a domain: {}", std::strerror(errno))};
    // The mapping keeps the file open, but the request must come through the same one.
    for (std::size_t done = 0; done < frames.size();) {
        auto const count = std::min<std::size_t>(frames.size() - done, 4096);
        pvn_control_map const request{reinterpret_cast<std::uint64_t>(memory_) + done * PVN_PAGE_SIZE,
                                      reinterpret_cast<std::uint64_t>(frames.data() + done), static_cast<std::uint32_t>(count), 0};
        if (ioctl(device.get(), PVN_CONTROL_MAP, &request) != 0) {
            auto const error = errno;
            munmap(memory_, size_);
            throw Problem{fmt::format("cannot map memory of a domain: {}", std::strerror(error))};
        }
        done += count;
    }
}
ForeignPages::ForeignPages(ForeignPages&& other) noexcept : memory_{std::exchange(other.memory_, nullptr)}, size_{other.size_} {}
ForeignPages::~ForeignPages()
{
    if (memory_ != nullptr) munmap(memory_, size_);
}

static void clear_signals(File const&);

EventPort::EventPort(std::uint16_t domain, std::uint32_t remote_port) : device_{open_control()}
{
    pvn_control_bind const request{domain, 0, remote_port};
    if (ioctl(device_.get(), PVN_CONTROL_BIND, &request) != 0) throw Problem{fmt::format("cannot bind an event channel: {}", std::strerror(errno))};
    fcntl(device_.get(), F_SETFL, O_NONBLOCK);
}
static void clear_signals(File const& device)
{
    std::uint64_t count = 0;
    while (read(device.get(), &count, sizeof count) > 0) {}
}
void EventPort::clear() const { clear_signals(device_); }
DomainChanges::DomainChanges() : device_{open_control()}
{
    if (ioctl(device_.get(), PVN_CONTROL_BIND_VIRQ, PVN_VIRQ_DOMAIN) != 0) throw Problem{fmt::format("cannot listen to changes of domains: {}", std::strerror(errno))};
    fcntl(device_.get(), F_SETFL, O_NONBLOCK);
}
void DomainChanges::clear() const { clear_signals(device_); }
void EventPort::notify() const { ioctl(device_.get(), PVN_CONTROL_NOTIFY, 0); }

}  // namespace pvn::tools
