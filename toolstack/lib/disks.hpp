// SPDX-License-Identifier: MIT
// Disks of domains: an image or a block device of dom0's behind each.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "lib/devices.hpp"
#include "lib/domain_config.hpp"

namespace pvn::tools {

struct Disk {
    unsigned number = 0;
    DiskConfig config;
    std::string device;        // of dom0's, that the back end has open
    std::uint64_t bytes = 0;   // 0: not known yet
    std::string front, back, error;
};

std::string disk_name(unsigned number);                          // as Linux names it: pvda, pvdb, ...
std::optional<unsigned> disk_number(std::string const& text);    // of a name or a number

std::vector<Disk> disks_of(StoreClient&, std::uint16_t domain);
// Returns when dom0 offers it.  Problem: why not; nothing is left then.  The registry is held.
void attach_disk(StoreClient&, std::uint16_t domain, unsigned number, DiskConfig const&);
void detach_disk(StoreClient&, std::uint16_t domain, unsigned number, bool force);
// What its file or device has become, told to the guest.  New size in bytes.
std::uint64_t resize_disk(StoreClient&, std::uint16_t domain, unsigned number);
// All of a domain that does not run any more.
void release_disks(StoreClient&, std::uint16_t domain);

}  // namespace pvn::tools
