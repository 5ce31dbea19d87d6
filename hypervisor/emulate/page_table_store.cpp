// SPDX-License-Identifier: MIT
#include "emulate/page_table_store.hpp"

#include "arch/x86/memory_map.hpp"
#include "console/log.hpp"
#include "decode/store.hpp"
#include "domain/domain.hpp"
#include "emulate/count.hpp"
#include "guest/access.hpp"
#include "machine.hpp"

namespace pvn::emulate {

// Status flags, [sdm/1] appendix A: parity of the low byte, zero, sign; and of `a - b` those that a logic operation clears.
static std::uint64_t status_of(std::uint64_t result)
{
    return (__builtin_parityll(result & 0xff) == 0 ? 4u : 0u) | (result == 0 ? 0x40u : 0u) | (result >> 63 != 0 ? 0x80u : 0u);
}
static std::uint64_t status_of_compare(std::uint64_t a, std::uint64_t b)
{
    auto const result = a - b;
    return status_of(result) | (a < b ? 1u : 0u) | ((a ^ b ^ result) & 0x10) | (((a ^ b) & (a ^ result)) >> 63 != 0 ? 0x800u : 0u);
}

std::uint64_t& general_register(Registers& r, unsigned number)
{
    std::uint64_t* const registers[16] = {&r.rax, &r.rcx, &r.rdx, &r.rbx, &r.rsp, &r.rbp, &r.rsi, &r.rdi,
                                          &r.r8,  &r.r9,  &r.r10, &r.r11, &r.r12, &r.r13, &r.r14, &r.r15};
    return *registers[number & 15];
}

Instruction fetch(Vcpu const& vcpu, Registers const& r)
{
    Instruction i{};
    auto const here = page_size - r.rip % page_size;
    auto const first = here < sizeof i.bytes ? static_cast<unsigned>(here) : static_cast<unsigned>(sizeof i.bytes);
    if (!guest::copy(vcpu, r.rip, i.bytes, first, guest::Access::read)) return i;
    i.count = first;
    if (first < sizeof i.bytes && guest::copy(vcpu, r.rip + first, i.bytes + first, sizeof i.bytes - first, guest::Access::read))
        i.count = sizeof i.bytes;
    return i;
}

bool page_table_store(Vcpu& vcpu, Registers& r, std::uint64_t address)
{
    auto const instruction = fetch(vcpu, r);
    LockedFrames const table;
    auto const leaf = guest::walk(table, vcpu, address);
    if (!leaf || leaf->writable) return false;
    auto const frame = MachineFrame{(leaf->entry & 0x000ffffffffff000) / page_size};
    auto& domain = *vcpu.domain;
    if (table->owner(frame) != domain.id || !frames::is_table(table->type(frame)) || address % 8 != 0) return false;

    auto const store = decode::store({instruction.bytes, instruction.count});
    if (!store) return false;
    count_trap(vcpu, r, instruction);
    auto const index = static_cast<unsigned>(address % page_size / 8);
    auto const source = store->source < 0 ? store->immediate : general_register(r, static_cast<unsigned>(store->source));
    for (;;) {
        auto const old = __atomic_load_n(frame_pointer<std::uint64_t>(frame) + index, __ATOMIC_RELAXED);
        auto const effect = decode::apply(*store, old, source, r.rax);
        if (effect.write) {
            auto const seen = table->compare_exchange_entry(domain.id, frame, index, old, effect.value);
            if (!seen) {
                constexpr unsigned most_lines = 20;  // a guest can do this as often as it likes
                if (domain.refused_stores < most_lines && ++domain.refused_stores != 0) log("d{}: a store of {} to entry {} of level-{} table {} was refused (error {}) at {}", domain.id.raw(), Hex{effect.value}, index,
                    frames::level_of(table->type(frame)), Hex{frame.raw()}, static_cast<std::int64_t>(seen.error()), Hex{r.rip});
                return false;
            }
            if (*seen != old) continue;
        }
        constexpr std::uint64_t carry_flag = 1;
        if (effect.carry_written) r.rflags = (r.rflags & ~carry_flag) | (effect.carry ? carry_flag : 0);
        if (store->operation == decode::Operation::exchange) general_register(r, static_cast<unsigned>(store->source)) = old;
        if (store->operation == decode::Operation::compare_exchange) {
            r.rflags = (r.rflags & ~flags::arithmetic) | status_of_compare(r.rax, old);
            r.rax = old;
        }
        if (store->operation >= decode::Operation::bitwise_and) r.rflags = (r.rflags & ~flags::arithmetic) | status_of(effect.value);
        r.rip += store->length;
        return true;
    }
}

}  // namespace pvn::emulate
