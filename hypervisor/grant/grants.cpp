// SPDX-License-Identifier: MIT
#include "grant/grants.hpp"

#include "arch/x86/memory_map.hpp"
#include "machine.hpp"

namespace pvn::grant {

Result<void> add_table_page(Domain& domain, std::uint64_t index, std::uint64_t pfn)
{
    auto const memory = allocate_own_frame();
    if (memory == 0) return Fail{Error::no_memory};
    auto const added = [&]() -> Result<void> {
        LockedFrames const frames;
        PVN_CHECK(domain.grants.check_index(index));
        auto const frame = PVN_TRY(domain.frame(pfn));
        PVN_CHECK(frames->take_writable(domain.id, frame));
        domain.grants.add({frame_pointer<std::uint64_t>(frame), static_cast<Users*>(physical_pointer(memory))});
        return {};
    }();
    if (!added) free_own_frame(memory);
    return added;
}

[[gnu::always_inline]] Result<MachineFrame> begin_use(LockedFrames const& frames, Domain& granter, std::uint32_t ref, DomainId peer, bool to_write) PVN_UNCHECKED
{
    auto const pfn = PVN_TRY(granter.grants.take(ref, peer, to_write));
    auto const begun = [&]() PVN_UNCHECKED -> Result<MachineFrame> {
        auto const frame = PVN_TRY(granter.frame(pfn.raw()));
        PVN_CHECK(frames->take_granted(granter.id, frame, to_write));
        return frame;
    }();
    if (!begun) granter.grants.drop(ref, to_write);
    return begun;
}

[[gnu::always_inline]] void end_use(LockedFrames const& frames, Domain& granter, std::uint32_t ref, MachineFrame frame, bool to_write) PVN_UNCHECKED
{
    frames->drop_granted(frame, to_write);
    granter.grants.drop(ref, to_write);
}

void make_room(Domain& mapper, std::size_t handles)
{
    {
        LockedFrames const frames;
        if (!mapper.mappings.wants_page(handles)) return;
    }
    auto const memory = allocate_own_frame();
    if (memory == 0) return;
    {
        LockedFrames const frames;
        if (mapper.mappings.wants_page(handles)) return mapper.mappings.add_page(static_cast<Mapping*>(physical_pointer(memory)));
    }
    free_own_frame(memory);
}

void end_mapping(LockedFrames const& frames, Domain& mapper, std::uint32_t handle) PVN_UNCHECKED
{
    auto const mapping = mapper.mappings.at(handle);
    mapper.mappings.release(handle);
    // The frame that it holds keeps the granter, however dead, from being forgotten.
    end_use(frames, *domains::find(mapping.granter), mapping.ref, mapping.frame, mapping.to_write);
}

bool maps(Domain const& domain, MachineFrame frame) PVN_UNCHECKED
{
    for (auto handle = domain.mappings.first_from(0); handle; handle = domain.mappings.first_from(*handle + 1))
        if (domain.mappings.at(*handle).frame == frame) return true;
    return false;
}

bool end_some_mappings(Domain& domain)
{
    constexpr int some = 64;
    LockedFrames const frames;
    auto handle = domain.mappings.first_from(0);
    for (int i = 0; i < some && handle; ++i, handle = domain.mappings.first_from(*handle + 1)) {
        auto const mapping = domain.mappings.at(*handle);
        frames->unmap_granted(domain.id, mapping.table, mapping.index, mapping.frame);
        end_mapping(frames, domain, *handle);
    }
    return domain.mappings.count() == 0;
}

void drop_table(LockedFrames const& frames, Domain& domain) PVN_UNCHECKED
{
    auto& table = domain.grants;
    for (std::uint32_t i = 0; i < table.pages(); ++i) frames->drop_writable(frame_of(table.page(i).words));
    table.end();
}

void free_memory(Domain& domain) PVN_UNCHECKED  // nobody else knows it
{
    for (auto const& place : domain.grants.all_places())
        if (place.users != nullptr) free_own_frame(frame_of(place.users).raw() * page_size);
    for (std::size_t i = 0; i < domain.mappings.pages(); ++i) free_own_frame(frame_of(domain.mappings.page(i)).raw() * page_size);
}

}  // namespace pvn::grant
