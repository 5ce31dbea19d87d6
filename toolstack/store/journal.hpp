// SPDX-License-Identifier: MIT
// What was done, in a file, so that a daemon that is started anew does it again.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>

#include "lib/file.hpp"
#include "store/protocol.hpp"

namespace pvn::store {

// Each group of records is written at once, with its length and checksum: what a killed daemon has not finished is not there.
class Journal {
public:
    explicit Journal(std::string path);  // Problem
    // Calls `take` for each record that is whole, and cuts off what comes after the last.
    void load(std::function<void(pvn_store_Record const&)> const& take);
    void append(std::span<pvn_store_Record const> group);
    // Puts these in the place of all that there is.
    void replace(std::span<pvn_store_Record const> records);
    bool is_long() const { return size_ > smallest && size_ > 4 * size_when_replaced_; }

private:
    static constexpr std::uint64_t smallest = 1 << 20;

    std::string path_;
    tools::File file_;
    std::uint64_t size_ = 0, size_when_replaced_ = 0;
};

}  // namespace pvn::store
