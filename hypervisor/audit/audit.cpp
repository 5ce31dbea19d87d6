// SPDX-License-Identifier: MIT
#include "audit/audit.hpp"

#include "arch/x86/memory_map.hpp"
#include "arch/x86/root_copies.hpp"
#include "console/log.hpp"
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

}  // namespace

std::uint64_t run()
{
    auto const pages = (machine.frame_count * sizeof(frames::Tally) + page_size - 1) / page_size;
    auto const scratch = free_frames::allocate_run(pages);
    if (!scratch) return ~std::uint64_t{0};
    Report report;
    std::uint64_t found = 0;
    {
        LockedFrames const table;
        found = frames::audit(*table, {frame_pointer<frames::Tally>(*scratch), machine.frame_count}, report);
        if (auto const differ = root_copies::discrepancies(); differ != 0) {
            log("audit: {} entries of copies of roots are not those of the roots", differ);
            found += differ;
        }
    }
    for (std::uint64_t i = 0; i < pages; ++i) free_frames::free(*scratch + i);
    return found;
}

}  // namespace pvn::audit
