// SPDX-License-Identifier: MIT
// docs/abi/phys.md
#include "guest/access.hpp"
#include "hypercall/dispatch.hpp"
#include "interrupts/interrupts.hpp"

namespace pvn::hypercall {

Outcome phys_map_gsi(Vcpu&, Arguments const& a) { return PVN_TRY(interrupts::map_gsi(a.narrow(0), a.narrow(1))); }

Outcome phys_unmap(Vcpu&, Arguments const& a)
{
    PVN_CHECK(interrupts::unmap(a.narrow(0)));
    return 0;
}

Outcome phys_eoi(Vcpu&, Arguments const& a)
{
    PVN_CHECK(interrupts::end(a.narrow(0)));
    return 0;
}

Outcome phys_map_msi(Vcpu& vcpu, Arguments const& a)
{
    GuestOut<pvn_phys_msi> const argument{vcpu, a[0]};
    auto message = PVN_TRY(argument.read());
    PVN_CHECK(argument.write(message));  // it can be written: nothing to undo below
    auto const irq = PVN_TRY(interrupts::map_msi(message));
    PVN_CHECK(argument.write(message));
    return irq;
}

Outcome phys_io_apic_read(Vcpu&, Arguments const& a) { return PVN_TRY(interrupts::io_apic_read(a[0], a.narrow(1))); }

}  // namespace pvn::hypercall
