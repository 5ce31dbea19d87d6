// SPDX-License-Identifier: MIT
// The store's end of a domain's ring.  The page is hostile: an index is read once, and a distance that cannot be is the end.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "paravane/store_ring.h"

namespace pvn::store {

class RingEnd {
public:
    explicit RingEnd(pvn_store_ring& ring) : ring_{ring} {}

    // A private copy of what is there to read.  Nullopt: the indices make no sense.
    std::optional<std::vector<std::uint8_t>> requests() const
    {
        auto const produced = __atomic_load_n(&ring_.requests_produced, __ATOMIC_ACQUIRE);
        auto const consumed = __atomic_load_n(&ring_.requests_consumed, __ATOMIC_RELAXED);
        auto const count = produced - consumed;
        if (count > PVN_STORE_REQUESTS_SIZE) return std::nullopt;
        std::vector<std::uint8_t> bytes(count);
        for (std::uint32_t i = 0; i < count; ++i) bytes[i] = ring_.requests[(consumed + i) % PVN_STORE_REQUESTS_SIZE];
        return bytes;
    }
    void consume(std::size_t bytes)
    {
        auto const consumed = __atomic_load_n(&ring_.requests_consumed, __ATOMIC_RELAXED);
        __atomic_store_n(&ring_.requests_consumed, consumed + static_cast<std::uint32_t>(bytes), __ATOMIC_RELEASE);
    }
    // How much may be answered now.
    std::optional<std::size_t> room() const
    {
        auto const produced = __atomic_load_n(&ring_.answers_produced, __ATOMIC_RELAXED);
        auto const consumed = __atomic_load_n(&ring_.answers_consumed, __ATOMIC_ACQUIRE);
        auto const count = produced - consumed;
        if (count > PVN_STORE_ANSWERS_SIZE) return std::nullopt;
        return PVN_STORE_ANSWERS_SIZE - count;
    }
    // Fits into the room.  Becomes visible as a whole.
    void answer(std::span<std::uint8_t const> bytes)
    {
        auto const produced = __atomic_load_n(&ring_.answers_produced, __ATOMIC_RELAXED);
        for (std::uint32_t i = 0; i < bytes.size(); ++i) ring_.answers[(produced + i) % PVN_STORE_ANSWERS_SIZE] = bytes[i];
        __atomic_store_n(&ring_.answers_produced, produced + static_cast<std::uint32_t>(bytes.size()), __ATOMIC_RELEASE);
    }
    void set_state(std::uint32_t state) { __atomic_store_n(&ring_.state, state, __ATOMIC_RELEASE); }

private:
    pvn_store_ring& ring_;
};

}  // namespace pvn::store
