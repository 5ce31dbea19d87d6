// SPDX-License-Identifier: MIT
// What a guest that is dom0 does with other domains.
#pragma once

#include "guest.hpp"

namespace guest {

// Its id, or the error.  Paused, without memory.
inline long create_domain(std::uint64_t limit, std::uint64_t p2m_frames, std::uint32_t vcpus)
{
    pvn_domain_create create{};
    create.limit = limit;
    create.p2m_frames = p2m_frames;
    create.vcpus = vcpus;
    return hypercall(PVN_DOMAIN_CREATE, in_memory(&create));
}

inline long destroy_domain(std::uint64_t id)
{
    long result;
    do result = hypercall(PVN_DOMAIN_DESTROY, id);
    while (result == -PVN_E_AGAIN);
    return result;
}

inline pvn_domain_info domain_info(std::uint64_t id)
{
    pvn_domain_info info{};
    CHECK_EQUAL(hypercall(PVN_DOMAIN_INFO, id, in_memory(&info), 1), 1);
    CHECK_EQUAL(info.id, id);
    return info;
}

// Of the machine.
inline std::uint64_t free_frames()
{
    pvn_system_info info{};
    CHECK_EQUAL(hypercall(PVN_SYSTEM_INFO, in_memory(&info)), 0);
    return info.free_frames;
}

}  // namespace guest
