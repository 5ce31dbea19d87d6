// SPDX-License-Identifier: MIT
// Makes a domain from its description: memory, kernel, page tables, console.
#pragma once

#include <array>
#include <cstdint>
#include <memory>

#include "lib/domain_config.hpp"
#include "lib/hypervisor.hpp"
#include "lib/kernel_file.hpp"

namespace pvn::tools {

using Uuid = std::array<std::uint8_t, 16>;
Uuid new_uuid();  // Problem

// The files that a domain starts from: read and checked before anything is made.
struct Images {
    explicit Images(DomainConfig const&);  // Problem
    KernelFile kernel;
    std::unique_ptr<Content> ramdisk;
};

// A domain that is not finished yet: destroyed at the end of the scope unless it is kept.
class NewDomain {
public:
    NewDomain(Hypervisor const&, DomainConfig const&, Images const&, Uuid const&);
    NewDomain(NewDomain const&) = delete;
    NewDomain& operator=(NewDomain const&) = delete;
    ~NewDomain();

    std::uint16_t id() const { return id_; }
    std::uint64_t console_frame() const { return console_frame_; }  // machine frame
    std::uint32_t console_port() const { return console_port_; }    // the domain's
    void keep() { kept_ = true; }

private:
    void build(DomainConfig const&, Images const&);
    void introduce(DomainConfig const&);
    Hypervisor const& hypervisor_;
    std::uint16_t id_ = 0;
    Uuid uuid_;
    std::uint64_t console_frame_ = 0, store_frame_ = 0;
    std::uint32_t console_port_ = 0, store_port_ = 0;
    bool kept_ = false;
};

// Whether the machine has the memory, before anything is made.  Problem: says how much there is.
void check_memory(Hypervisor const&, DomainConfig const&);
// Until the hypervisor has given everything back.
void destroy_domain(Hypervisor const&, std::uint16_t id);

// A named place on the way to a new domain, where an interruption is noticed.  PVN_TRACE=1 shows when each
// is reached; PVN_TEST_SIGNAL_AT=NAME:NUMBER sends that signal there.
void checkpoint(char const* name);

}  // namespace pvn::tools
