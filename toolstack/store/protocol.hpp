// SPDX-License-Identifier: MIT
// Messages of the store (hypercall-abi/store.proto) as they stand in a stream: each with its length before it, as a varint.
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "store.pb.h"
#include "store/store.hpp"

namespace pvn::store {

inline constexpr std::size_t largest_request = pvn_store_Request_size + 3;      // with its length
inline constexpr std::size_t largest_answer = pvn_store_FromStore_size + 3;

// All zero.  (nanopb's own initialisers leave most of a union as it was.)
template <class Message>
Message blank()
{
    static_assert(std::is_trivially_copyable_v<Message>);
    Message message;
    std::memset(&message, 0, sizeof message);
    return message;
}

// What a stream begins with: a whole message (and how long it was), not enough of one yet, or none of ours.
enum class Parsed { message, partial, broken };
Parsed parse(std::span<std::uint8_t const> stream, pvn_store_Request& request, std::size_t& used);
Parsed parse(std::span<std::uint8_t const> stream, pvn_store_FromStore& message, std::size_t& used);
Parsed parse(std::span<std::uint8_t const> stream, pvn_store_Record& record, std::size_t& used);

std::vector<std::uint8_t> encode(pvn_store_Request const&);
std::vector<std::uint8_t> encode(pvn_store_FromStore const&);
std::vector<std::uint8_t> encode(pvn_store_Record const&);

// Does what is asked, but for `introduce` and `release`, which are invalid here.
pvn_store_FromStore answer(Store&, Connection, pvn_store_Request const&);
pvn_store_FromStore message(Event const&);

// False: it does not fit into the message.
template <std::size_t Size>
bool set_text(char (&to)[Size], std::string_view text)
{
    if (text.size() >= Size || text.contains('\0')) return false;
    text.copy(to, text.size());
    to[text.size()] = 0;
    return true;
}

pvn_store_Permissions to_message(Permissions const&);
Result<Permissions> from_message(pvn_store_Permissions const&);

// An operation of the store's as a record of its journal, and back.
pvn_store_Record record_of(Store::Operation const&);
std::optional<Store::Operation> operation_of(pvn_store_Record const&);

}  // namespace pvn::store
