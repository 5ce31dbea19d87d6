// SPDX-License-Identifier: MIT
// Events on their way: from the port table to the vCPU that hears of them.
#pragma once

#include "domain/domain.hpp"
#include "event/shared_pages.hpp"

namespace pvn::event {

SharedPages pages_of(Domain&);

// The port tables of one domain, or of two, locked.
class LockedPorts {
public:
    explicit LockedPorts(Domain& a) : LockedPorts{a, a} {}
    LockedPorts(Domain& a, Domain& b);
    LockedPorts(LockedPorts const&) = delete;
    LockedPorts& operator=(LockedPorts const&) = delete;
    ~LockedPorts();
    PortTable& of(Domain&) const;

private:
    Domain& first_;
    Domain& second_;
};

void carry_out(Domain&, Raised);            // wakes the vCPU if need be
void raise(Domain&, Port);                  // from Paravane itself
void raise_vcpu_virq(Vcpu&, std::uint32_t virq);
void raise_virq(std::uint32_t virq);        // dom0's domain-wide virqs
Result<void> send(Domain&, Port);          // to the other end
Result<void> close(Domain&, Port);
bool close_some(Domain&);  // of a dying domain; true: it has none any more

}  // namespace pvn::event
