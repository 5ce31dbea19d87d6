// SPDX-License-Identifier: MIT
// docs/abi/sched.md
#include "dispatcher/notify.hpp"
#include "dispatcher/schedule.hpp"
#include "guest/access.hpp"
#include "hypercall/dispatch.hpp"
#include "time/clock.hpp"

namespace pvn::hypercall {

Outcome sched_yield(Vcpu& vcpu, Arguments const&)
{
    schedule::yield(vcpu);
    return 0;
}

Outcome sched_block(Vcpu& vcpu, Arguments const&)
{
    __atomic_store_n(&vcpu.page->event_mask, std::uint8_t{0}, __ATOMIC_SEQ_CST);
    schedule::block(vcpu);
    return 0;
}

// What has come the guest finds by itself.
Outcome sched_wait(Vcpu& vcpu, Arguments const& a)
{
    if (a[2] != 0) {
        auto const failed = PVN_TRY(grant_copy(vcpu, {{a[1], a[2]}, a.progress}));
        if (failed != 0 || a.progress.stopped) return failed;
        PVN_CHECK(guest::store(vcpu, a[3], static_cast<std::uint32_t>(a[4])));
    }
    schedule::block(vcpu);
    if (a[0] == 0) return 0;
    // It waits already: so whom this wakes may have its CPU, and is not put on another one.
    auto const sent = event_send(vcpu, a);
    if (!sent) schedule::wake(vcpu);
    return sent;
}

Outcome sched_shutdown(Vcpu& vcpu, Arguments const& a)
{
    if (a[0] > PVN_SHUTDOWN_CRASH) return Fail{Error::invalid};
    domains::shut_down(*vcpu.domain, static_cast<std::uint32_t>(a[0]));
    return 0;
}

Outcome sched_poll(Vcpu& vcpu, Arguments const& a)
{
    if (a[1] > vcpu.poll_ports.size() || a[0] % 4 != 0) return Fail{Error::invalid};
    if (a[1] == 0 && a[2] == 0) return Fail{Error::invalid};  // nothing could end it
    GuestIn<std::uint32_t> const list{vcpu, a[0]};
    auto const pages = event::pages_of(*vcpu.domain);
    for (std::uint64_t i = 0; i < a[1]; ++i) {
        auto const port = PVN_TRY(list.read(i));
        if (port == 0 || port >= PVN_EVENT_PORTS) return Fail{Error::invalid};
        if (event::is_pending(pages, Port{port})) return 0;
        vcpu.poll_ports[i] = port;
    }
    if (a[2] != 0 && a[2] <= clock::now()) return 0;
    vcpu.poll_count = static_cast<std::uint32_t>(a[1]) + 1;
    schedule::poll(vcpu, a[2]);
    return 0;
}

}  // namespace pvn::hypercall
