// SPDX-License-Identifier: MIT
// What other CPUs remember of page tables.
//
// Each way from the hypervisor to a guest loads CR3.  A CPU without PCIDs forgets everything with that.  One with PCIDs
// (arch/x86/address_space_tags.hpp) keeps what it remembers of the hypervisor and of its guest, and uses of the guest's only what it
// remembers of the vCPU that it enters, if nothing was changed meanwhile: a CPU is told to forget when it enters next, or it tells
// itself.  Either way a CPU uses translations of a guest only while it is in that guest, and to flush it is to have it leave once.
// One that is in the hypervisor, waiting for a lock perhaps, is not waited for.
//
// The translation clock: page_tables_lock guards it.  It ticks when an entry loses what it named.  A CPU notes the time at which
// it forgot; a domain the time at which it last dropped something.  Who forgot later cannot hold it.
//
// The rule is rule.hpp; interleaving_test.cpp tries it, with the frame table, on CPUs that forget nothing.
#pragma once

#include <cstdint>

#include "lib/id.hpp"

namespace pvn {

struct Domain;
class LockedFrames;

namespace tlb {

// This CPU is about to enter its guest, or has come back.  After entering() the caller looks once more for what came meanwhile.
void entering_guest();
void left_guest();
// What this CPU remembers of its guest is forgotten on the way there.  Needed for whatever a guest expects to flush, and for each
// change of what a CPU sees that is not an entry's of a domain: of the slot, and of the vCPU.
void forget_guest();

// An entry of the domain's tables lost what it named.
void dropped(Domain&);
// No CPU holds a translation that the domain `owner`, or a privileged one, dropped before.
void flush_dropped(DomainId owner);
// No CPU holds a translation that those vCPUs of the domain (bit mask) used before.
void flush_vcpus(Domain const&, std::uint64_t vcpus);

}  // namespace tlb
}  // namespace pvn
