// SPDX-License-Identifier: MIT
// Events on their way: from the port table to the vCPU that hears of them.
#pragma once

#include "domain/domain.hpp"
#include "event/shared_pages.hpp"

namespace pvn::event {

SharedPages pages_of(Domain&);
void carry_out(Domain&, Raised);            // wakes the vCPU if need be
void raise(Domain&, Port);                  // from Paravane itself
void raise_vcpu_virq(Vcpu&, std::uint32_t virq);
void raise_virq(std::uint32_t virq);        // dom0's domain-wide virqs
Result<void> close(Domain&, Port);
void close_all(Domain&);

}  // namespace pvn::event
