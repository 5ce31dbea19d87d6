// SPDX-License-Identifier: MIT
// A value or an error of the ABI's list.
#pragma once

#include <cstdint>
#include <expected>
#include <utility>

#include "paravane/errors.h"

namespace pvn {

enum class [[nodiscard]] Error : std::int32_t {
    denied = PVN_E_DENIED,
    not_found = PVN_E_NOT_FOUND,
    again = PVN_E_AGAIN,
    no_memory = PVN_E_NO_MEMORY,
    bad_address = PVN_E_BAD_ADDRESS,
    busy = PVN_E_BUSY,
    exists = PVN_E_EXISTS,
    invalid = PVN_E_INVALID,
    no_space = PVN_E_NO_SPACE,
    range = PVN_E_RANGE,
    not_implemented = PVN_E_NOT_IMPLEMENTED,
    wrong_type = PVN_E_WRONG_TYPE,
    not_listening = PVN_E_NOT_LISTENING,
    shut_down = PVN_E_SHUT_DOWN,
};

template <class T>
using Result = std::expected<T, Error>;
using Fail = std::unexpected<Error>;

}  // namespace pvn

// The value of `expr`, or returns its error from the enclosing function.
#define PVN_TRY(expr)                                                       \
    ({                                                                      \
        auto try_result_ = (expr);                                          \
        if (!try_result_) [[unlikely]]                                      \
            return ::std::unexpected(try_result_.error());                  \
        *::std::move(try_result_);                                          \
    })
// The same for an expression without a value.
#define PVN_CHECK(expr)                                                     \
    do {                                                                    \
        if (auto check_result_ = (expr); !check_result_) [[unlikely]]       \
            return ::std::unexpected(check_result_.error());                \
    } while (false)
