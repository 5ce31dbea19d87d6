// SPDX-License-Identifier: MIT
// Makes a domain from its description: memory, kernel, page tables, console.
#pragma once

#include <array>
#include <cstdint>

#include "lib/domain_config.hpp"
#include "lib/hypervisor.hpp"

namespace pvn::tools {

// A domain that is not finished yet: destroyed at the end of the scope unless it is kept.
class NewDomain {
public:
    NewDomain(Hypervisor const&, DomainConfig const&, std::array<std::uint8_t, 16> const& uuid);
    NewDomain(NewDomain const&) = delete;
    NewDomain& operator=(NewDomain const&) = delete;
    ~NewDomain();

    std::uint16_t id() const { return id_; }
    std::uint64_t console_frame() const { return console_frame_; }  // pfn
    std::uint32_t console_port() const { return console_port_; }    // the domain's
    void keep() { kept_ = true; }

private:
    void build(DomainConfig const&);
    Hypervisor const& hypervisor_;
    std::uint16_t id_ = 0;
    std::uint64_t console_frame_ = 0;
    std::uint32_t console_port_ = 0;
    bool kept_ = false;
};

// Until the hypervisor has given everything back.
void destroy_domain(Hypervisor const&, std::uint16_t id);

}  // namespace pvn::tools
