// SPDX-License-Identifier: MIT
// Builds the domains that start with the machine: dom0, and those that the boot loader gives as modules.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

namespace pvn::builder {

struct Request {
    std::span<std::byte const> kernel, initrd;
    std::string_view command_line;
    bool privileged;
    std::uint64_t memory;  // bytes
    std::uint32_t vcpus;
};

// Builds it, paused; panics with a clear line if that cannot be done, since nobody else could react.
void build(Request const&);

}  // namespace pvn::builder
