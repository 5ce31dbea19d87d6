// SPDX-License-Identifier: MIT
// Frames that their owner lets another domain use.
#include <atomic>
#include <limits>

#include "frames/frame_table.hpp"
#include "frames/require.hpp"

namespace pvn::frames {

// Each page that is copied by grant comes here four times: a call costs as much as the work.
[[gnu::always_inline]] Result<void> FrameTable::take_granted(DomainId owner, MachineFrame frame, bool to_write)
{
    if (!is_domain(owner))
        return Fail{Error::invalid};
    PVN_CHECK(check_owned(owner, frame));
    auto& f = at(frame);
    if (to_write)
        return hold(frame, PageType::writable);
    if (f.readers() == std::numeric_limits<std::uint16_t>::max())
        return Fail{Error::no_space};
    PVN_CHECK(take_general(f));
    f.set_readers(static_cast<std::uint16_t>(f.readers() + 1));
    return {};
}

[[gnu::always_inline]] void FrameTable::drop_granted(MachineFrame frame, bool to_write)
{
    if (to_write)
        return unhold(frame, PageType::writable);
    require(contains(frame) && at(frame).readers() > 0);
    auto& f = at(frame);
    f.set_readers(static_cast<std::uint16_t>(f.readers() - 1));
    drop_general(f);
}

Result<void> FrameTable::map_granted(DomainId mapper, MachineFrame table, unsigned index, Entry next)
{
    auto const place = PVN_TRY(find_place(mapper, table, index));
    if (place.level != 1)
        return Fail{Error::wrong_type};
    if (!next.present() || !rules_.allow(1, index, next))
        return Fail{Error::invalid};
    std::atomic_ref live{*place.address};
    if (Entry{live.load(std::memory_order_relaxed)}.present())
        return Fail{Error::exists};
    require(contains(next.frame()) && is_domain(at(next.frame()).owner()));
    PVN_CHECK(take_mapping(next, PageType::writable));
    live.store(next.raw);
    at(table).clear(Frame::emptied);
    return {};
}

void FrameTable::unmap_granted(DomainId mapper, MachineFrame table, unsigned index, MachineFrame frame)
{
    if (owner(table) != mapper || type(table) != PageType::l1 || index >= entries_per_table)
        return;
    std::atomic_ref live{memory_.table(table)[index]};
    if (Entry const seen{live.load(std::memory_order_relaxed)}; !seen.present() || seen.frame() != frame)
        return;
    Entry const old{live.exchange(0)};  // meanwhile the CPU may have set accessed and dirty bits, no others
    memory_.entry_dropped(mapper);
    drop_entry(1, old);
}

}  // namespace pvn::frames
