// SPDX-License-Identifier: MIT
// Ownership and counts.  This file and no other does arithmetic on them.
#include "frames/frame_table.hpp"

#include <limits>

#include "frames/require.hpp"

namespace pvn::frames {

FrameTable::FrameTable(std::span<Frame> frames, Memory& memory, unsigned physical_bits)
    : frames_{frames}, memory_{memory}, rules_{physical_bits}
{
    require(physical_bits >= 32 && physical_bits <= 52);
}

void FrameTable::assign(MachineFrame frame, DomainId owner)
{
    require(contains(frame) && (is_domain(owner) || owner == hypervisor_owner));
    auto& f = at(frame);
    require(f.owner() == no_owner && f.count == 0 && f.type_count == 0);
    f = Frame{};
    f.set_owner(owner);
    f.count = 1;
}

void FrameTable::mark_device(MachineFrame frame)
{
    require(contains(frame) && at(frame).owner() == no_owner && at(frame).count == 0);
    at(frame) = Frame{};
    at(frame).set_owner(device_owner);
}

Result<void> FrameTable::release(MachineFrame frame, DomainId owner)
{
    if (!is_domain(owner) && owner != hypervisor_owner)
        return Fail{Error::invalid};
    PVN_CHECK(check_owned(owner, frame));
    if (at(frame).count != 1)
        return Fail{Error::busy};
    set_free(frame);
    return {};
}

void FrameTable::set_free(MachineFrame frame)
{
    auto& f = at(frame);
    require(f.count == 1 && f.type_count == 0 && f.held == 0);
    if (f.has(Frame::weakly_cached))
        memory_.write_back(frame);
    f = Frame{};
}

Result<void> FrameTable::check_owned(DomainId domain, MachineFrame frame) const
{
    if (!contains(frame) || at(frame).owner() != domain)
        return Fail{Error::range};
    return {};
}

Result<void> FrameTable::take_general(Frame& f)
{
    if (f.count == std::numeric_limits<decltype(f.count)>::max())
        return Fail{Error::no_space};
    ++f.count;
    return {};
}

void FrameTable::drop_general(Frame& f)
{
    require(f.count > 1);  // the "allocated" reference goes last, in set_free()
    --f.count;
}

Result<void> FrameTable::take_type(MachineFrame frame, PageType type)
{
    auto& f = at(frame);
    if (f.type_count == 0) {
        f.type = type;
        f.type_count = 1;
        // No parent can name it from here, so whoever flushes now does not come to it again.
        if (f.has(Frame::was_table) && !is_table(type)) {
            memory_.flush_stale_walks(frame);
            f.clear(Frame::was_table);
        }
        return {};
    }
    if (f.type != type)
        return Fail{Error::wrong_type};
    if (f.type_count == std::numeric_limits<decltype(f.type_count)>::max())
        return Fail{Error::no_space};
    ++f.type_count;
    return {};
}

void FrameTable::drop_type(Frame& f)
{
    require(f.type_count > 0);
    if (--f.type_count == 0)
        f.type = PageType::none;
}

Result<void> FrameTable::take_both(MachineFrame frame, PageType type)
{
    PVN_CHECK(take_general(at(frame)));
    if (auto taken = take_type(frame, type); !taken) {
        drop_general(at(frame));
        return taken;
    }
    return {};
}

void FrameTable::drop_both(MachineFrame frame)
{
    drop_type(at(frame));
    drop_general(at(frame));
}

Result<void> FrameTable::hold(MachineFrame frame, PageType type)
{
    auto& f = at(frame);
    if (f.held == std::numeric_limits<decltype(f.held)>::max())
        return Fail{Error::no_space};
    PVN_CHECK(take_both(frame, type));
    ++f.held;
    return {};
}

void FrameTable::unhold(MachineFrame frame, PageType type)
{
    require(contains(frame) && at(frame).type == type && at(frame).held > 0);
    --at(frame).held;
    drop_both(frame);
}

Result<void> FrameTable::take_root(DomainId domain, MachineFrame frame)
{
    if (!is_domain(domain))
        return Fail{Error::invalid};
    PVN_CHECK(check_owned(domain, frame));
    if (at(frame).type != PageType::l4)
        return Fail{Error::wrong_type};  // taking the reference would make an untyped frame an unchecked l4
    return hold(frame, PageType::l4);
}

void FrameTable::drop_root(MachineFrame frame) { unhold(frame, PageType::l4); }

Result<void> FrameTable::take_writable(DomainId domain, MachineFrame frame)
{
    if (!is_domain(domain))
        return Fail{Error::invalid};
    PVN_CHECK(check_owned(domain, frame));
    return hold(frame, PageType::writable);
}

void FrameTable::drop_writable(MachineFrame frame) { unhold(frame, PageType::writable); }

Result<void> FrameTable::share(MachineFrame frame, DomainId guest)
{
    if (!is_domain(guest))
        return Fail{Error::invalid};
    PVN_CHECK(check_owned(hypervisor_owner, frame));
    if (at(frame).type != PageType::none)
        return Fail{Error::wrong_type};
    PVN_CHECK(hold(frame, PageType::shared));
    at(frame).set_guest(guest);
    return {};
}

Result<void> FrameTable::unshare(MachineFrame frame)
{
    PVN_CHECK(check_owned(hypervisor_owner, frame));
    auto& f = at(frame);
    if (f.type != PageType::shared)
        return Fail{Error::wrong_type};
    if (f.count != 2)  // allocated, and the sharing itself
        return Fail{Error::busy};
    unhold(frame, PageType::shared);
    f.set_guest(no_owner);
    return {};
}

}  // namespace pvn::frames
