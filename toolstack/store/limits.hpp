// SPDX-License-Identifier: MIT
// How much there may be of everything.  docs/abi/store.md promises these numbers; store_test.cpp tries each.
#pragma once

#include <cstddef>

namespace pvn::store::limits {

inline constexpr std::size_t name = 63;     // bytes of a node's name
inline constexpr std::size_t path = 255;    // bytes of an absolute path
inline constexpr std::size_t depth = 16;    // names in a path
inline constexpr std::size_t value = 512;   // bytes: with a path it fits into a request ring
inline constexpr std::size_t access = 8;    // entries of a node's permissions
inline constexpr std::size_t names = 16;    // in one reply to `list`

// Of each domain but dom0.
inline constexpr std::size_t nodes = 1000;            // that it owns
inline constexpr std::size_t bytes = 256 * 1024;      // names and values of these
inline constexpr std::size_t watches = 128;           // likewise of each connection of dom0's, times 8
inline constexpr std::size_t transactions = 8;        // open at a time; of each connection
inline constexpr std::size_t operations = 128;        // changes in one transaction
inline constexpr std::size_t looked_at = 512;         // nodes that one transaction depends on
inline constexpr std::size_t events = 256;            // that wait to be taken; of each connection
inline constexpr std::size_t dom0_watches = 8 * watches;

}  // namespace pvn::store::limits
