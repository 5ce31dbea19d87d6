// SPDX-License-Identifier: MIT
// What other CPUs remember of page tables.
//
// Each way from the hypervisor to a guest loads CR3, and nothing in a TLB outlives that: no PGE, no PCID.  So a CPU can hold
// translations of a guest only while it is in that guest, and they were made since it entered.  To flush a CPU is to have it
// leave its guest once; one that is in the hypervisor, waiting for a lock perhaps, has nothing to flush.
//
// The translation clock: page_tables_lock guards it.  It ticks when an entry loses what it named.  A CPU notes the time at which
// it enters a guest; a domain the time at which it last dropped something.  Who entered later cannot hold it.
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

// An entry of the domain's tables lost what it named.
void dropped(Domain&);
// No CPU holds a translation that the domain `owner`, or a privileged one, dropped before.
void flush_dropped(DomainId owner);
// No CPU holds a translation that those vCPUs of the domain (bit mask) used before.
void flush_vcpus(Domain const&, std::uint64_t vcpus);

}  // namespace tlb
}  // namespace pvn
