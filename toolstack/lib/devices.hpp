// SPDX-License-Identifier: MIT
// Split devices, as the toolstack sees them: their places in the store, and the states of both sides.  docs/abi/bus.md
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "lib/store_client.hpp"

namespace pvn::tools {

struct DevicePlace {
    std::string type;  // "block", ...
    std::uint16_t domain = 0;
    unsigned number = 0;
    std::string front() const;
    std::string back() const;
};

using Keys = std::vector<std::pair<std::string, std::string>>;

// Both places at once, or none; further keys for the back end's.
void make_places(StoreClient&, DevicePlace const&, Keys const& back);
void remove_places(StoreClient&, DevicePlace const&);
// Of one type that a domain has, in order.
std::vector<unsigned> numbers_of_devices(StoreClient&, std::string const& type, std::uint16_t domain);

enum class Side { front, back };
std::string state_of(StoreClient&, DevicePlace const&, Side);  // "" : there is none
std::string error_of(StoreClient&, DevicePlace const&);        // of either side; "": none
// Until it is one of these, or it is late.  The state in the end.
std::string wait_for_state(StoreClient&, DevicePlace const&, Side, std::initializer_list<std::string_view> states, Moment until);

// Of a back end in that state, with that `error` in its place; "": it offers its device.
std::string why_not_offered(std::string const& state, std::string const& error, std::string const& type);
// After the back end has been told to serve.  Problem: it cannot, and why; what was made is to be removed.
void wait_for_offer(StoreClient&, DevicePlace const&, std::string const& what);
// Why it does not work yet; "": it does.
std::string wait_for_connection(StoreClient&, DevicePlace const&, Moment until);
// For a table: "connected", what is wrong, or how far both sides are.
std::string device_state_text(std::string const& front, std::string const& back, std::string const& error);
// Takes it away from a guest that lets it go; `force`: from any.  Problem: it does not.
void end_device(StoreClient&, DevicePlace const&, bool force, std::string const& what);

}  // namespace pvn::tools
