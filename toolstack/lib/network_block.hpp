// SPDX-License-Identifier: MIT
// Images that qemu-nbd reads, as devices of Linux.  Everything here with the registry's lock held.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "lib/domain_config.hpp"

namespace pvn::tools {

// A device that serves an image; it ends with this, unless it is kept.  If this process ends before either, the next pvn finds a mark of
// it (end_abandoned_network_blocks).
class NetworkBlock {
public:
    explicit NetworkBlock(DiskConfig const&);  // Problem
    NetworkBlock(NetworkBlock const&) = delete;
    NetworkBlock& operator=(NetworkBlock const&) = delete;
    ~NetworkBlock();
    std::string const& name() const { return name_; }
    void keep();  // the store says whose it is

private:
    std::string name_;
    bool kept_ = false;
};

void end_network_block(std::string const& device);
// Those that a pvn which was killed had connected for a disk that is none of these domains'.
void end_abandoned_network_blocks(std::span<std::uint16_t const> domains);

}  // namespace pvn::tools
