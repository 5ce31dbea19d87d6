// SPDX-License-Identifier: MIT
// Our own broken invariant ends everything; nothing that a guest does reaches this.
#pragma once

namespace pvn::frames {

inline void require(bool condition)
{
    if (!condition) [[unlikely]]
        __builtin_trap();
}

}  // namespace pvn::frames
