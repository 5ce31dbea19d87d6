// SPDX-License-Identifier: MIT
#include "audit/audit.hpp"

#include "arch/x86/memory_map.hpp"
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
    auto const found = frames::audit(*LockedFrames{}, {frame_pointer<frames::Tally>(*scratch), machine.frame_count}, report);
    for (std::uint64_t i = 0; i < pages; ++i) free_frames::free(*scratch + i);
    return found;
}

}  // namespace pvn::audit
