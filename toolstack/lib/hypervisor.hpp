// SPDX-License-Identifier: MIT
// The hypervisor, through /dev/pvn.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "lib/file.hpp"
#include "paravane/control.h"
#include "paravane/hypercall.h"

namespace pvn::tools {

class Hypervisor {
public:
    Hypervisor();  // Problem: not in dom0, not root
    template <class... Arguments>
    std::int64_t call(std::uint64_t number, Arguments... arguments) const
    {
        return raw_call({number, {argument(arguments)...}, 0});
    }
    // The same, but an error is a Problem: "cannot WHAT: why".
    template <class... Arguments>
    std::int64_t must(char const* what, std::uint64_t number, Arguments... arguments) const
    {
        return checked(what, call(number, arguments...));
    }
    std::vector<pvn_domain_info> domains() const;
    std::optional<pvn_domain_info> domain(std::uint16_t id) const;
    pvn_system_info system() const;
    std::vector<std::uint64_t> machine_frames(std::uint16_t domain, std::uint64_t first, std::uint64_t count) const;

    static std::int64_t checked(char const* what, std::int64_t result);
    static char const* text_of(std::int64_t error);

private:
    template <class T>
    static std::uint64_t argument(T value)
    {
        if constexpr (std::is_pointer_v<T>)
            return reinterpret_cast<std::uint64_t>(value);
        else
            return static_cast<std::uint64_t>(value);
    }
    std::int64_t raw_call(pvn_control_hypercall call) const;
    File device_;
};

// Pages of another domain, mapped here.
class ForeignPages {
public:
    ForeignPages(std::span<std::uint64_t const> machine_frames);
    ForeignPages(ForeignPages&&) noexcept;
    ForeignPages& operator=(ForeignPages&&) = delete;
    ~ForeignPages();
    char* data() const { return static_cast<char*>(memory_); }

private:
    void* memory_;
    std::size_t size_;
};

// The end of an event channel: readable when the other end signalled.
class EventPort {
public:
    EventPort(std::uint16_t domain, std::uint32_t remote_port);
    int descriptor() const { return device_.get(); }
    void clear() const;
    void notify() const;

private:
    File device_;
};

// Readable when some domain may have changed its state.
class DomainChanges {
public:
    DomainChanges();
    int descriptor() const { return device_.get(); }
    void clear() const;

private:
    File device_;
};

File open_control();

}  // namespace pvn::tools
