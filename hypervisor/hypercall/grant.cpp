// SPDX-License-Identifier: MIT
// docs/abi/grant.md
#include <algorithm>
#include <array>
#include <cstring>
#include <type_traits>

#include "arch/x86/memory_map.hpp"
#include "frames/entry.hpp"
#include "grant/grants.hpp"
#include "guest/access.hpp"
#include "hypercall/dispatch.hpp"
#include "machine.hpp"
#include "tlb/flush.hpp"

namespace pvn::hypercall {
namespace {

std::int32_t status_of(Result<void> const& result) { return result ? 0 : -static_cast<std::int32_t>(result.error()); }

// A granter that others may begin to use.
Result<Domain*> find_granter(std::uint16_t id)
{
    auto* const domain = domains::find(DomainId{id});
    if (domain == nullptr || domain->dying) return Fail{Error::not_found};
    return domain;
}

// Does `work(operations)` for up to `Turn` elements of a list at a time: all of them are read, then done, then have their status
// written, if anything of it is not as it was.  Returns how many failed.
template <class Operation, std::size_t Turn, class Work>
Outcome for_each_turn(Vcpu& vcpu, Arguments const& a, Work work)
{
    if (a[0] % 8 != 0 || a[1] > PVN_GRANT_BATCH) return Fail{Error::invalid};
    GuestOut<Operation> const list{vcpu, a[0]};
    // Upper half: how many failed; lower half: how many are done.
    auto done = a.progress.done & 0xffffffff;
    auto failed = a.progress.done >> 32;
    for (auto const first = done; done < a[1];) {
        if (a[1] > Turn && a.progress.time_is_up() && done != first) return a.progress.stop(failed << 32 | done);
        std::array<Operation, Turn> storage;
        auto const operations = std::span{storage}.first(std::min<std::uint64_t>(Turn, a[1] - done));
        {
            LockedFrames const frames;
            PVN_CHECK(list.read(frames, done, operations));
        }
        auto const with_status = [&] { return static_cast<std::uint64_t>(std::ranges::count_if(operations, [](Operation const& op) { return op.status != 0; })); };
        bool const answers_are_there = !std::is_same_v<Operation, pvn_grant_map> && with_status() == 0;
        work(operations);
        auto const failed_now = with_status();
        if (!answers_are_there || failed_now != 0) {
            LockedFrames const frames;
            PVN_CHECK(list.write(frames, done, operations));
        }
        done += operations.size();
        failed += failed_now;
    }
    return static_cast<std::int64_t>(failed);
}

Result<void> map(LockedFrames const& frames, Vcpu& vcpu, pvn_grant_map& op) PVN_UNCHECKED
{
    auto& mapper = *vcpu.domain;
    if ((op.flags & ~(PVN_GRANT_MAP_READ_ONLY | PVN_GRANT_MAP_USER)) != 0 || op.address % PVN_PAGE_SIZE != 0) return Fail{Error::invalid};
    bool const to_write = (op.flags & PVN_GRANT_MAP_READ_ONLY) == 0;
    auto& granter = *PVN_TRY(find_granter(op.domain));
    auto const leaf = PVN_TRY(guest::walk_to_table(frames, vcpu, op.address));
    auto const handle = PVN_TRY(mapper.mappings.reserve());
    auto const used = [&]() -> Result<MachineFrame> { return grant::begin_use(frames, granter, op.ref, mapper.id, to_write); }();
    if (!used) {
        mapper.mappings.release(handle);
        return Fail{used.error()};
    }
    using Entry = frames::Entry;
    auto const bits = Entry::present_bit | Entry::accessed | Entry::dirty | Entry::no_execute | (to_write ? Entry::writable_bit : 0) |
                      ((op.flags & PVN_GRANT_MAP_USER) != 0 ? Entry::user : 0);
    if (auto const mapped = frames->map_granted(mapper.id, leaf.table, leaf.index, frames::make_entry(*used, bits)); !mapped) {
        grant::end_use(frames, granter, op.ref, *used, to_write);
        mapper.mappings.release(handle);
        return mapped;
    }
    mapper.mappings.at(handle) = {*used, leaf.table, op.ref, granter.id, static_cast<std::uint16_t>(leaf.index), to_write, true, false, 0, 0};
    op.handle = handle;
    return {};
}

// A copy while its frames cannot become anything else.
struct Copy {
    Domain* granter;
    char *local, *remote;
    bool begun;
};
static_assert(std::is_trivially_default_constructible_v<Copy>, "an array of these costs nothing before it is used");

Result<void> begin_copy(LockedFrames const& frames, Domain& domain, pvn_grant_copy const& op, Copy& copy) PVN_UNCHECKED
{
    if ((op.flags & ~PVN_GRANT_COPY_TO) != 0 || op.bytes == 0 || op.offset >= PVN_PAGE_SIZE || op.bytes > PVN_PAGE_SIZE - op.offset ||
        op.bytes > PVN_PAGE_SIZE - op.local % PVN_PAGE_SIZE)
        return Fail{Error::invalid};
    bool const to_grant = (op.flags & PVN_GRANT_COPY_TO) != 0;
    auto& granter = *PVN_TRY(find_granter(op.domain));
    auto const local = PVN_TRY(domain.frame(op.local / PVN_PAGE_SIZE));
    PVN_CHECK(frames->take_granted(domain.id, local, !to_grant));
    auto const remote = grant::begin_use(frames, granter, op.ref, domain.id, to_grant);
    if (!remote) {
        frames->drop_granted(local, !to_grant);
        return Fail{remote.error()};
    }
    copy = {&granter, frame_pointer<char>(local) + op.local % PVN_PAGE_SIZE, frame_pointer<char>(*remote) + op.offset, true};
    return {};
}

}  // namespace

Outcome grant_set_table(Vcpu& vcpu, Arguments const& a)
{
    PVN_CHECK(grant::add_table_page(*vcpu.domain, a[0], a[1]));
    return 0;
}

Outcome grant_map(Vcpu& vcpu, Arguments const& a)
{
    return for_each_turn<pvn_grant_map, 16>(vcpu, a, [&](std::span<pvn_grant_map> operations) {
        grant::make_room(*vcpu.domain, operations.size());
        LockedFrames const frames;
        for (auto& op : operations) {
            op.handle = PVN_GRANT_NONE;
            op.status = status_of(map(frames, vcpu, op));
        }
    });
}

Outcome grant_unmap(Vcpu& vcpu, Arguments const& a)
{
    return for_each_turn<pvn_grant_unmap, 32>(vcpu, a, [&](std::span<pvn_grant_unmap> operations) PVN_UNCHECKED {
        auto& mapper = *vcpu.domain;
        LockedFrames const frames;
        for (auto& op : operations) {
            auto const mapping = mapper.mappings.find(op.handle);
            op.status = mapping && !(*mapping)->ending ? 0 : -PVN_E_NOT_FOUND;
            if (op.status != 0) continue;
            (*mapping)->ending = true;
            frames->unmap_granted(mapper.id, (*mapping)->table, (*mapping)->index, (*mapping)->frame);
        }
        // One flush for all of them, and only then are the frames the granter's alone.
        tlb::flush_dropped(mapper.id);
        for (auto const& op : operations)
            if (op.status == 0) grant::end_mapping(frames, mapper, op.handle);
    });
}

Outcome grant_copy(Vcpu& vcpu, Arguments const& a)
{
    constexpr std::size_t turn = 32;
    return for_each_turn<pvn_grant_copy, turn>(vcpu, a, [&](std::span<pvn_grant_copy> operations) {
        std::array<Copy, turn> copies;
        {
            LockedFrames const frames;
            for (std::size_t i = 0; i < operations.size(); ++i) {
                copies[i].begun = false;
                operations[i].status = status_of(begin_copy(frames, *vcpu.domain, operations[i], copies[i]));
            }
        }
        // Without the lock: the references keep the frames what they are.
        for (std::size_t i = 0; i < operations.size(); ++i) {
            if (!copies[i].begun) continue;
            bool const to_grant = (operations[i].flags & PVN_GRANT_COPY_TO) != 0;
            std::memcpy(to_grant ? copies[i].remote : copies[i].local, to_grant ? copies[i].local : copies[i].remote, operations[i].bytes);
        }
        LockedFrames const frames;
        for (std::size_t i = 0; i < operations.size(); ++i) {
            if (!copies[i].begun) continue;
            bool const to_grant = (operations[i].flags & PVN_GRANT_COPY_TO) != 0;
            grant::end_use(frames, *copies[i].granter, operations[i].ref, frame_of(copies[i].remote), to_grant);
            frames->drop_granted(frame_of(copies[i].local), !to_grant);
        }
    });
}

Outcome grant_query(Vcpu& vcpu, Arguments const& a) PVN_UNCHECKED
{
    auto* const domain = a[0] < domain_limit ? domains::find(DomainId{static_cast<std::uint16_t>(a[0])}) : nullptr;
    if (domain != vcpu.domain && !vcpu.domain->privileged) return Fail{Error::denied};
    if (domain == nullptr) return Fail{Error::not_found};
    LockedFrames const frames;
    PVN_CHECK((GuestOut<pvn_grant_info>{vcpu, a[1]}.write(frames, {domain->grants.pages(), domain->grants.in_use(), domain->mappings.count(), 0}, 0)));
    return 0;
}

}  // namespace pvn::hypercall
