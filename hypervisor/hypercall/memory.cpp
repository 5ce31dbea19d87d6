// SPDX-License-Identifier: MIT
// docs/abi/memory.md
#include <algorithm>

#include "guest/access.hpp"
#include "hypercall/dispatch.hpp"
#include "machine.hpp"
#include "memory/free_frames.hpp"

namespace pvn::hypercall {
namespace {

constexpr std::uint64_t most_frames = 1024;  // in one call: bounds its time

template <class Operation>
Outcome for_each_pfn(Vcpu& vcpu, Arguments const& a, Operation operation)
{
    if (a[0] % 8 != 0) return Fail{Error::invalid};
    GuestIn<std::uint64_t> const list{vcpu, a[0]};
    auto const count = std::min(a[1], most_frames);
    auto done = std::min(a.progress.done, count);
    for (; done < count; ++done) {
        if (a.progress.time_is_up() && done != a.progress.done) return a.progress.stop(done);
        auto const pfn = list.read(done);
        auto const outcome = pfn ? operation(*pfn) : Result<void>{Fail{pfn.error()}};
        if (!outcome) {
            if (done == 0) return Fail{outcome.error()};
            break;
        }
    }
    return static_cast<std::int64_t>(done);
}

}  // namespace

Outcome memory_populate(Vcpu& vcpu, Arguments const& a)
{
    return for_each_pfn(vcpu, a, [&](std::uint64_t pfn) {
        if (!vcpu.domain->privileged) return domains::populate(*vcpu.domain, pfn);
        MachineFrame const same{pfn};  // dom0 is laid out one to one
        return domains::populate(*vcpu.domain, pfn, &same);
    });
}

Outcome memory_give_back(Vcpu& vcpu, Arguments const& a)
{
    return for_each_pfn(vcpu, a, [&](std::uint64_t pfn) { return domains::give_back(*vcpu.domain, pfn); });
}

Outcome memory_query(Vcpu& vcpu, Arguments const& a)
{
    auto const& domain = *vcpu.domain;
    auto const free = domain.privileged ? free_frames::count() : 0;
    LockedFrames const frames;
    PVN_CHECK((GuestOut<pvn_memory_info>{vcpu, a[0]}.write(frames, {domain.frames, domain.limit, domain.p2m_frames, free}, 0)));
    return 0;
}

Outcome memory_map_foreign(Vcpu& vcpu, Arguments const& a)
{
    auto const request = PVN_TRY((GuestIn<pvn_map_foreign>{vcpu, a[0]}.read()));
    if (request.count == 0 || request.count > 512 || request.address % PVN_PAGE_SIZE != 0 || request.pfns % 8 != 0 ||
        (request.flags & ~PVN_MAP_READ_ONLY) != 0)
        return Fail{Error::invalid};
    auto* const other = domains::find(DomainId{request.domain});
    if (other == nullptr) return Fail{Error::not_found};
    GuestIn<std::uint64_t> const pfns{vcpu, request.pfns};
    for (auto i = a.progress.done; i < request.count; ++i) {
        if (a.progress.time_is_up() && i != a.progress.done) return a.progress.stop(i);
        LockedFrames const frames;
        if (other->dying) return Fail{Error::not_found};
        auto const leaf = PVN_TRY(guest::walk_to_table(frames, vcpu, request.address + i * PVN_PAGE_SIZE));
        auto const pfn = PVN_TRY(pfns.read(frames, i));
        std::uint64_t entry = 0;
        if (pfn != PVN_NO_FRAME) {
            auto const frame = PVN_TRY(other->frame(pfn));
            // Present, user, accessed, dirty, no execute, and writable if asked for.
            entry = frame.raw() * PVN_PAGE_SIZE | 0x8000000000000065 | ((request.flags & PVN_MAP_READ_ONLY) != 0 ? 0u : 2u);
        }
        PVN_CHECK(frames->write_entry(vcpu.domain->id, leaf.table, leaf.index, entry, false));
    }
    return 0;
}

}  // namespace pvn::hypercall
