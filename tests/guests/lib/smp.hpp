// SPDX-License-Identifier: MIT
// Guests with several vCPUs: starting them, and waiting for what another one does.
#pragma once

#include "guest.hpp"

namespace guest {

using Secondary = void (*)(std::uint64_t vcpu);

template <class T>
T load(T const& from) { return __atomic_load_n(&from, __ATOMIC_SEQ_CST); }
template <class T>
void store(T& to, T value) { __atomic_store_n(&to, value, __ATOMIC_SEQ_CST); }
template <class Condition>
void wait_until(Condition condition)
{
    while (!condition()) asm volatile("pause" : : : "memory");
}

// The context in which vCPU `number` begins with `body`, on a stack of its own, with this vCPU's page tables.
inline pvn_vcpu_context secondary_context(std::uint64_t number, Secondary body)
{
    pvn_vcpu_context context{};
    allocate_page();
    context.rip = reinterpret_cast<std::uint64_t>(body);
    context.rsp = reinterpret_cast<std::uint64_t>(allocate_page()) + 4096 - 8;  // as if it had been called
    context.rdi = number;
    context.root_pfn = start().tables_pfn;
    return context;
}

inline void start_secondary(std::uint64_t number, Secondary body)
{
    auto const context = secondary_context(number, body);
    CHECK_EQUAL(hypercall(PVN_VCPU_INITIALISE, number, reinterpret_cast<std::uint64_t>(&context)), 0);
    CHECK_EQUAL(hypercall(PVN_VCPU_UP, number), 0);
}

}  // namespace guest
