// SPDX-License-Identifier: MIT
// The pages in which a domain sees its events: the guest writes them at any time, so each access is one atomic operation.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "lib/id.hpp"
#include "paravane/domain_page.h"
#include "paravane/vcpu_page.h"

namespace pvn::event {

// Views of the shared pages of one domain: `vcpus[n]` is the page of vCPU n.
struct SharedPages {
    pvn_domain_page& domain;
    std::span<pvn_vcpu_page* const> vcpus;
};

// What became of an event.
struct Raised {
    VcpuId vcpu{};               // whom the port notifies
    bool newly_pending = false;  // its pending bit was clear: wake the vCPU if it polls this port
    bool upcall_due = false;     // and event_pending was clear: wake the vCPU if it blocks, kick it if it runs elsewhere

    friend constexpr bool operator==(Raised const&, Raised const&) = default;
};

// A port's place in the bit maps; the mask keeps the index inside them even on a mispredicted path.
struct PortBit {
    explicit constexpr PortBit(Port port)
        : word{(port.raw() & (PVN_EVENT_PORTS - 1)) / 64}, bit{std::uint64_t{1} << (port.raw() % 64)}
    {
    }
    std::size_t word;
    std::uint64_t bit;
};

// The three steps order like this with a guest that clears in the opposite order (event_pending, then pending_words, then the
// port): whatever is set after it looked sets event_pending again.  All are sequentially consistent; on x86, locked instructions.
// A vCPU that has no page is told nothing.
inline bool notify(SharedPages pages, PortBit at, VcpuId vcpu)
{
    if (vcpu.raw() >= pages.vcpus.size())
        return false;
    pvn_vcpu_page& page = *pages.vcpus[vcpu.raw()];
    __atomic_fetch_or(&page.pending_words, std::uint64_t{1} << at.word, __ATOMIC_SEQ_CST);
    return __atomic_exchange_n(&page.event_pending, std::uint8_t{1}, __ATOMIC_SEQ_CST) == 0;
}

inline Raised set_pending(SharedPages pages, Port port, VcpuId vcpu)
{
    PortBit const at{port};
    std::uint64_t const before = __atomic_fetch_or(&pages.domain.event_pending[at.word], at.bit, __ATOMIC_SEQ_CST);
    if ((before & at.bit) != 0)
        return {.vcpu = vcpu};
    // Read after the pending bit is set: a guest that unmasks clears this first and then looks at the pending bit.
    std::uint64_t const mask = __atomic_load_n(&pages.domain.event_mask[at.word], __ATOMIC_SEQ_CST);
    bool const due = (mask & at.bit) == 0 && notify(pages, at, vcpu);
    return {.vcpu = vcpu, .newly_pending = true, .upcall_due = due};
}

inline Raised clear_mask(SharedPages pages, Port port, VcpuId vcpu)
{
    PortBit const at{port};
    __atomic_fetch_and(&pages.domain.event_mask[at.word], ~at.bit, __ATOMIC_SEQ_CST);
    std::uint64_t const pending = __atomic_load_n(&pages.domain.event_pending[at.word], __ATOMIC_SEQ_CST);
    return {.vcpu = vcpu, .upcall_due = (pending & at.bit) != 0 && notify(pages, at, vcpu)};
}

inline void clear_pending(SharedPages pages, Port port)
{
    PortBit const at{port};
    __atomic_fetch_and(&pages.domain.event_pending[at.word], ~at.bit, __ATOMIC_SEQ_CST);
}

inline bool is_pending(SharedPages pages, Port port)
{
    PortBit const at{port};
    return (__atomic_load_n(&pages.domain.event_pending[at.word], __ATOMIC_SEQ_CST) & at.bit) != 0;
}

}  // namespace pvn::event
