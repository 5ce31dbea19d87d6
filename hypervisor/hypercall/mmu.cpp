// SPDX-License-Identifier: MIT
// docs/abi/mmu.md
#include <array>
#include <span>

#include "arch/x86/cpu.hpp"
#include "arch/x86/cpu_setup.hpp"
#include "arch/x86/per_cpu.hpp"
#include "guest/access.hpp"
#include "hypercall/dispatch.hpp"
#include "hypercall/mmu_operations.hpp"
#include "machine.hpp"
#include "tlb/flush.hpp"

namespace pvn::hypercall {
namespace {

Result<void> set_root(LockedFrames const& frames, Vcpu& vcpu, std::uint64_t pfn) PVN_UNCHECKED
{
    auto& domain = *vcpu.domain;
    auto const frame = PVN_TRY(domain.frame(pfn));
    PVN_CHECK(frames->take_root(domain.id, frame));
    auto const old = vcpu.root;
    vcpu.root = frame;
    root_copies::load(frame);
    frames->drop_root(old);
    return {};
}

// What this vCPU asks to have flushed for itself has been flushed when its call returns (tlb/flush.hpp): only the arguments are
// left to check.
Result<void> flush_vcpus(Vcpu const& vcpu, std::uint64_t mask)
{
    auto const& domain = *vcpu.domain;
    if (domain.vcpu_count < 64 && mask >> domain.vcpu_count != 0) return Fail{Error::not_found};
    tlb::flush_vcpus(domain, mask);
    return {};
}

Result<void> write_entry(LockedFrames const& table, Domain& domain, std::uint64_t address, std::uint64_t value, std::uint64_t flags) PVN_UNCHECKED
{
    if ((flags & ~std::uint64_t{PVN_MMU_KEEP_AD}) != 0 || address % 8 != 0) return Fail{Error::invalid};
    auto const frame = PVN_TRY(domain.frame(address / PVN_PAGE_SIZE));
    return table->write_entry(domain.id, frame, static_cast<unsigned>(address % PVN_PAGE_SIZE / 8), value, (flags & PVN_MMU_KEEP_AD) != 0);
}

// The first entry that is refused ends the run; the operation is then what is left of it.
[[gnu::noinline]] Result<void> write_run(LockedFrames const& table, Vcpu const& caller, Domain& domain, pvn_mmu_op& op) PVN_UNCHECKED
{
    auto const index = op.target % PVN_PAGE_SIZE / 8;
    if ((op.flags & ~std::uint32_t{PVN_MMU_KEEP_AD}) != 0 || op.target % 8 != 0 || op.value % 8 != 0) return Fail{Error::invalid};
    if (op.count == 0 || op.count > PVN_MMU_RUN_MAX || index + op.count > frames::entries_per_table) return Fail{Error::invalid};
    std::array<std::uint64_t, PVN_MMU_RUN_MAX> values;
    auto const run = std::span{values}.first(op.count);
    PVN_CHECK((GuestIn<std::uint64_t>{caller, op.value}.read(table, 0, run)));
    auto const frame = PVN_TRY(domain.frame(op.target / PVN_PAGE_SIZE));
    auto const written = table->write_entries(domain.id, frame, static_cast<unsigned>(index), run, (op.flags & PVN_MMU_KEEP_AD) != 0);
    if (!written.result) {
        op.target += written.count * sizeof(std::uint64_t);
        op.value += written.count * sizeof(std::uint64_t);
        op.count -= static_cast<std::uint32_t>(written.count);
    }
    return written.result;
}

Result<void> operate(LockedFrames const& frames, Vcpu& vcpu, pvn_mmu_op& op)
{
    static_assert(PVN_MMU_OP_DEMOTE + 1 == PVN_MMU_OP_SET_ROOT && PVN_MMU_OP_FLUSH_VCPUS + 1 == PVN_MMU_OP_WRITE_RUN);  // what is between is no table's
    if (op.kind < PVN_MMU_OP_SET_ROOT || op.kind > PVN_MMU_OP_FLUSH_VCPUS) return table_operation(frames, vcpu, *vcpu.domain, op);
    if (op.count != 0 || op.flags != 0) return Fail{Error::invalid};
    switch (op.kind) {
    case PVN_MMU_OP_SET_ROOT: return set_root(frames, vcpu, op.target);
    case PVN_MMU_OP_FLUSH_VCPUS: return flush_vcpus(vcpu, op.target);
    default: return {};  // the return from the call flushes
    }
}

}  // namespace

Result<void> table_operation(LockedFrames const& table, Vcpu const& caller, Domain& domain, pvn_mmu_op& op) PVN_UNCHECKED
{
    if (op.kind == PVN_MMU_OP_WRITE) return op.count != 0 ? Fail{Error::invalid} : write_entry(table, domain, op.target, op.value, op.flags);
    if (op.kind == PVN_MMU_OP_WRITE_RUN) return write_run(table, caller, domain, op);
    if (op.kind > PVN_MMU_OP_DEMOTE) return Fail{Error::not_implemented};
    if (op.count != 0 || op.flags != 0) return Fail{Error::invalid};
    auto const frame = PVN_TRY(domain.frame(op.target));
    if (op.kind == PVN_MMU_OP_DEMOTE) return op.value != 0 ? Fail{Error::invalid} : table->demote(domain.id, frame);
    if (op.value < 1 || op.value > 4) return Fail{Error::invalid};
    return table->promote(domain.id, frame, static_cast<unsigned>(op.value));
}

Outcome mmu_queue(Vcpu& vcpu, Arguments const& a)
{
    return run_queue(vcpu, a[0], a[1], a.progress, [&](LockedFrames const& frames, pvn_mmu_op& op) { return operate(frames, vcpu, op); });
}

Outcome mmu_update_va(Vcpu& vcpu, Arguments const& a)
{
    if ((a[2] & ~std::uint64_t{PVN_MMU_INVALIDATE}) != 0) return Fail{Error::invalid};
    LockedFrames const frames;
    auto const leaf = PVN_TRY(guest::walk_to_table(frames, vcpu, a[0]));
    PVN_CHECK(frames->write_entry(vcpu.domain->id, leaf.table, leaf.index, a[1], false));
    return 0;
}

Outcome mmu_set_root(Vcpu& vcpu, Arguments const& a)
{
    LockedFrames const frames;
    PVN_CHECK(set_root(frames, vcpu, a[0]));
    return 0;
}

Outcome mmu_flush(Vcpu&, Arguments const&) { return 0; }

Outcome mmu_write(Vcpu& vcpu, Arguments const& a)
{
    LockedFrames const frames;
    PVN_CHECK(write_entry(frames, *vcpu.domain, a[0], a[1], a[2]));
    return 0;
}

Outcome mmu_invalidate_page(Vcpu&, Arguments const& a) { return cpu::canonical(a[0]) ? Outcome{0} : Fail{Error::invalid}; }

Outcome mmu_flush_vcpus(Vcpu& vcpu, Arguments const& a)
{
    PVN_CHECK(flush_vcpus(vcpu, a[0]));
    return 0;
}

}  // namespace pvn::hypercall
