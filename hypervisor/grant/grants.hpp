// SPDX-License-Identifier: MIT
// Grants between domains: the tables of grant/ joined with the frame table.
#pragma once

#include <cstdint>

#include "domain/domain.hpp"

namespace pvn::grant {

// A page of the domain's becomes the next one of its grant table.  As Table::check_index(), FrameTable::take_writable(); no_memory.
Result<void> add_table_page(Domain&, std::uint64_t index, std::uint64_t pfn);

// `peer` begins to use a frame of the granter's, and has a reference to it until end_use().  As Table::take(),
// FrameTable::take_granted(); range: the granter has no such frame.
Result<MachineFrame> begin_use(LockedFrames const&, Domain& granter, std::uint32_t ref, DomainId peer, bool to_write);
void end_use(LockedFrames const&, Domain& granter, std::uint32_t ref, MachineFrame, bool to_write);

// So many handles are free, if there may be and there is memory.
void make_room(Domain& mapper, std::size_t handles);
// The entry is gone, and no CPU remembers it.
void end_mapping(LockedFrames const&, Domain& mapper, std::uint32_t handle);
// Whether the domain has a grant of that frame mapped.  Looks at all of them.
bool maps(Domain const&, MachineFrame);

// The end of a domain, none of whose vCPUs runs any more.  A slice of its mappings; true: there are none left.
bool end_some_mappings(Domain&);
// And its table, whose pages become ordinary ones.
void drop_table(LockedFrames const&, Domain&);
void free_memory(Domain&);

}  // namespace pvn::grant
