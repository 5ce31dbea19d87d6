// SPDX-License-Identifier: MIT
#include "audit/audit.hpp"

#include <algorithm>

#include "arch/x86/memory_map.hpp"
#include "arch/x86/per_cpu.hpp"
#include "console/log.hpp"
#include "dispatcher/standstill.hpp"
#include "frames/audit.hpp"
#include "machine.hpp"
#include "memory/free_frames.hpp"

namespace pvn::audit {
namespace {

class Report final : public frames::AuditReport {
public:
    void found(frames::Discrepancy const& d) override
    {
        constexpr std::uint64_t most_lines = 20;
        if (++lines_ <= most_lines)
            log("audit: kind {} frame {} table {} index {} expected {} actual {}", static_cast<std::uint64_t>(d.kind), Hex{d.frame.raw()},
                Hex{d.table.raw()}, d.index, d.expected, d.actual);
    }

private:
    std::uint64_t lines_ = 0;
};

// Frames for the tallies, as many as there are in one piece.
struct Scratch {
    MachineFrame first;
    std::uint64_t pages = 0;
};

Scratch allocate_scratch()
{
    constexpr std::uint64_t most = 512;
    auto const enough = (machine.frame_count * sizeof(frames::Tally) + page_size - 1) / page_size;
    for (auto pages = std::min(enough, most); pages != 0; pages /= 2)
        if (auto const first = free_frames::allocate_run(pages, free_frames::Contents::keep)) return {*first, pages};
    return {};
}

// With everybody else at a stand.
std::uint64_t audit_all(Scratch const& scratch)
{
    constexpr std::uint64_t at_once = 1024;  // frames, or a few tables: at most some 75,000 instructions
    Report report;
    frames::Audit audit{*machine.frame_table, {frame_pointer<frames::Tally>(scratch.first), scratch.pages * page_size / sizeof(frames::Tally)}, report};
    for (bool done = false; !done; standstill::breathe()) {
        LockedFrames const table;
        done = audit.step(at_once);
    }
    std::uint64_t differ = 0;
    for (std::uint32_t id = 0; id < cpu_count; ++id) {
        differ += root_copies::discrepancies(*all_cpus[id]);
        standstill::breathe();
    }
    if (differ != 0) log("audit: {} entries of copies of roots are not those of the roots", differ);
    return audit.found() + differ;
}

}  // namespace

Result<std::uint64_t> run()
{
    auto const scratch = allocate_scratch();
    if (scratch.pages == 0) return Fail{Error::no_memory};
    Result<std::uint64_t> found = Fail{Error::again};
    if (standstill::begin()) {
        found = audit_all(scratch);
        standstill::end();
    }
    for (std::uint64_t i = 0; i < scratch.pages; ++i) free_frames::free(scratch.first + i);
    return found;
}

}  // namespace pvn::audit
