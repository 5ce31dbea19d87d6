// SPDX-License-Identifier: MIT
// Which frames a domain has: each at its place in the P2M and the M2P.
#include <optional>

#include "domain/domain.hpp"
#include "machine.hpp"
#include "memory/free_frames.hpp"
#include "tlb/flush.hpp"

namespace pvn::domains {

static Result<void> may_populate(LockedFrames const&, Domain const& domain, std::uint64_t pfn) PVN_UNCHECKED
{
    if (pfn >= domain.p2m.size()) return Fail{Error::range};
    if (domain.p2m[pfn] != PVN_NO_FRAME) return Fail{Error::exists};
    if (domain.frames >= domain.limit || domain.dying) return Fail{Error::no_memory};
    return {};
}

Result<void> populate(Domain& domain, std::uint64_t pfn, MachineFrame const* wanted, free_frames::Contents contents)
{
    PVN_CHECK(may_populate(LockedFrames{}, domain, pfn));  // so that what is refused costs no clearing of a frame
    std::optional<MachineFrame> frame;
    if (wanted == nullptr)
        frame = free_frames::allocate();
    else if (free_frames::take(*wanted, contents))
        frame = *wanted;
    if (!frame) return Fail{Error::no_memory};
    LockedFrames const table_lock;
    if (auto const still = may_populate(table_lock, domain, pfn); !still) {
        free_frames::free(*frame);
        return still;
    }
    table_lock->assign(*frame, domain.id);
    domain.p2m[pfn] = frame->raw();
    machine.m2p[frame->raw()] = pfn;
    ++domain.frames;
    return {};
}

Result<void> give_back(Domain& domain, std::uint64_t pfn)
{
    LockedFrames const table_lock;
    auto const frame = PVN_TRY(domain.frame(pfn));
    PVN_CHECK(table_lock->release(frame, domain.id));
    domain.p2m[pfn] = PVN_NO_FRAME;
    machine.m2p[frame.raw()] = PVN_NO_FRAME;
    tlb::flush_dropped(domain.id);  // it may have another owner next
    free_frames::free(frame);
    --domain.frames;
    return {};
}

void frame_freed(DomainId owner, MachineFrame frame)
{
    auto const pfn = machine.m2p[frame.raw()];
    machine.m2p[frame.raw()] = PVN_NO_FRAME;
    auto* const domain = find(owner);
    if (domain != nullptr && pfn < domain->p2m.size() && domain->p2m[pfn] == frame.raw()) {
        domain->p2m[pfn] = PVN_NO_FRAME;
        --domain->frames;
    }
    free_frames::free(frame);
}

}  // namespace pvn::domains
