// SPDX-License-Identifier: MIT
// docs/abi/time.md
#include "domain/domain.hpp"
#include "hypercall/dispatch.hpp"
#include "time/clock.hpp"

namespace pvn::hypercall {

Outcome time_set_wall_clock(Vcpu&, Arguments const& a)
{
    // Until 2500 or so: ns since 1970 fit.
    constexpr std::uint64_t second = 1000000000, most_seconds = ~std::uint64_t{0} / second - 1;
    if (a[0] > most_seconds || a[1] >= second) return Fail{Error::invalid};
    auto const wall = a[0] * second + a[1];
    if (a[2] > wall) return Fail{Error::invalid};
    Guard const guard{domains::lock};
    clock::set_wall(wall - a[2]);
    for (auto* domain = domains::first_from(0); domain != nullptr; domain = domains::first_from(domain->id.raw() + 1u)) clock::publish_wall(*domain);
    return 0;
}

}  // namespace pvn::hypercall
