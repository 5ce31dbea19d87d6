// SPDX-License-Identifier: MIT
// Network cards of domains: an interface of dom0's, vifDOMAIN.NUMBER, for each, in a bridge or with an address.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "lib/devices.hpp"
#include "lib/domain_config.hpp"

namespace pvn::tools {

struct Vif {
    unsigned number = 0;
    VifConfig config;
    std::string interface;  // dom0's
    std::string front, back, error;
};

// What a card without a `mac` has: always the same for a domain's name and the card's number, and of the kind for own use.
std::string usual_mac(std::string const& domain_name, unsigned number);

std::vector<Vif> vifs_of(StoreClient&, std::uint16_t domain);
// Returns when dom0 offers it, and its interface is up.  Problem: why not; nothing is left then.  The registry is held.
void attach_vif(StoreClient&, std::uint16_t domain, std::string const& domain_name, unsigned number, VifConfig const&);
void detach_vif(StoreClient&, std::uint16_t domain, unsigned number, bool force);
// Puts dom0's interface for a card where the store says, if it is there.  Again when a back end was replaced: it is a new one then.
void set_up_interface(StoreClient&, std::uint16_t domain, unsigned number);
// All of a domain that does not run any more.
void release_vifs(StoreClient&, std::uint16_t domain);

}  // namespace pvn::tools
