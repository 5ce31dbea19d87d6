// SPDX-License-Identifier: MIT
// A list of page-table operations in guest memory: that of a vCPU for its own domain, and that of dom0 for another one.
#pragma once

#include <algorithm>
#include <array>

#include "domain/domain.hpp"
#include "guest/access.hpp"
#include "hypercall/dispatch.hpp"

namespace pvn::hypercall {

// WRITE, WRITE_RUN, PROMOTE and DEMOTE, on tables of that domain; the values of a run are in the caller's memory.
Result<void> table_operation(LockedFrames const&, Vcpu const& caller, Domain&, pvn_mmu_op&);

// Does the `count` operations at `address` in the memory of `vcpu`, in turns with the lock: others may have it in between.  The first
// that fails ends it, and has the error in its `result`.
template <class Operate>
Outcome run_queue(Vcpu& vcpu, std::uint64_t address, std::uint64_t count, Progress& progress, Operate operate)
{
    constexpr std::uint64_t entries_per_turn = 64;
    if (count > PVN_MMU_QUEUE_MAX || address % 8 != 0) return Fail{Error::invalid};
    GuestOut<pvn_mmu_op> const queue{vcpu, address};
    for (auto i = progress.done; i < count;) {
        if (i != progress.done && progress.time_is_up()) return progress.stop(i);
        LockedFrames const frames;
        for (auto left = entries_per_turn; i < count && left != 0;) {
            // As many as lie in one page, or one that lies in two.
            std::array<pvn_mmu_op, 16> ops;
            auto const in_page = (page_size - (address + i * sizeof(pvn_mmu_op)) % page_size) / sizeof(pvn_mmu_op);
            auto const some = std::clamp<std::uint64_t>(in_page, 1, std::min<std::uint64_t>(count - i, ops.size()));
            PVN_CHECK(queue.read(frames, i, std::span{ops}.first(some)));
            for (auto& op : std::span{ops}.first(some)) {
                if (auto const done = operate(frames, op); !done) {
                    op.result = -static_cast<std::int32_t>(done.error());
                    PVN_CHECK(queue.write(frames, op, i));
                    return Fail{done.error()};
                }
                ++i;
                --left;
                if (op.kind == PVN_MMU_OP_WRITE_RUN)
                    left -= std::min<std::uint64_t>(left, op.count - 1);
                // To check a whole table takes long.
                else if (op.kind != PVN_MMU_OP_WRITE && i < count && progress.time_is_up())
                    return progress.stop(i);
                if (left == 0) break;
            }
        }
    }
    return 0;
}

}  // namespace pvn::hypercall
