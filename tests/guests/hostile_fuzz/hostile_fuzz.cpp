// SPDX-License-Identifier: MIT
// Random hypercalls with a fixed seed, from unprivileged domains.  They may end themselves; the witness beside them, which checks that
// its memory and its calls are as they should be, ends with PASS.
#include "hostile.hpp"

char const guest_name[] = "hostile_fuzz";

namespace {

constexpr std::uint64_t numbers[] = {0x100, 0x100, 0x100, 0x101, 0x102, 0x103, 0x104, 0x105, 0x106, 0x106, 0x200, 0x201, 0x202, 0x203, 0x300, 0x301, 0x302, 0x303, 0x305, 0x306, 0x307,
                                     0x308, 0x309, 0x400, 0x401, 0x401, 0x402, 0x402, 0x403, 0x403, 0x404, 0x500, 0x600, 0x601, 0x603, 0x604, 0x605, 0x609, 0x60a, 0x800, 0x803, 0x900, 0x901, 0x904, 0x90a, 0x90d, 0xa00, 0xa03, 0xb00};

void witness()
{
    auto* const page = static_cast<std::uint64_t volatile*>(guest::allocate_page());
    for (unsigned i = 0; i < 512; ++i) page[i] = i * 0x0101010101010101;
    for (auto const end = guest::now() + 3000000000; guest::now() < end;) {
        for (unsigned i = 0; i < 512; ++i) CHECK_EQUAL(page[i], i * 0x0101010101010101);
        CHECK_EQUAL(hypercall(PVN_SYSTEM_VERSION), PVN_ABI_VERSION);
        CHECK_EQUAL(guest::m2p()[guest::p2m()[guest::start().tables_pfn]], guest::start().tables_pfn);
        (void)hypercall(PVN_SCHED_YIELD);
    }
}

}  // namespace

void guest_main()
{
    guest::install_traps();
    guest::set_handler([](guest::Registers&) {});
    auto const number = guest::option("case");
    if (number == 0) return witness();
    guest::Random random{0x2545f4914f6cdd1d * number};
    static std::uint64_t buffer[1024];
    auto const value = [&]() -> std::uint64_t {
        auto const& info = guest::start();
        switch (random.below(12)) {
        case 0: return random.next();
        case 1: return random.below(16);
        case 2: return reinterpret_cast<std::uint64_t>(buffer) + random.below(512) * 8;
        case 3: return info.first_free_pfn + random.below(64);
        case 4: return (info.first_free_pfn + random.below(64)) * 4096 + random.below(512) * 8;
        case 5: return guest::p2m()[info.first_free_pfn + random.below(64)] * 4096 | random.below(8);
        case 6: return random.below(0x10000) * 4096 | random.below(512);
        case 7: return info.tables_pfn + random.below(info.tables_count);
        case 8: return PVN_SLOT_BASE + random.below(0x100000);
        case 9: return 1ul << random.below(64);
        case 10: return info.virtual_base + (info.first_free_pfn + random.below(64)) * 4096 + random.below(512) * 8;
        default: return random.below(64);
        }
    };
    for (unsigned round = 0; round < 6000; ++round) {
        for (unsigned i = 0; i < 64; ++i) buffer[random.below(1024)] = value();
        auto const n = numbers[random.below(sizeof numbers / sizeof numbers[0])];
        if (n == PVN_MULTI || n == PVN_MMU_QUEUE) {
            // Well-formed often enough to get somewhere.
            auto* const ops = reinterpret_cast<pvn_mmu_op*>(buffer);
            for (unsigned i = 0; n == PVN_MMU_QUEUE && i < 32; ++i)
            {
                auto const kind = static_cast<std::uint32_t>(random.below(8));
                auto const count = kind == PVN_MMU_OP_WRITE_RUN ? static_cast<std::uint32_t>(random.below(80)) : 0;
                ops[i] = {kind, static_cast<std::uint32_t>(random.below(4) == 0), value(), random.below(2) ? random.below(6) : value(), 0, count};
            }
            auto* const calls = reinterpret_cast<pvn_call*>(buffer);
            for (unsigned i = 0; n == PVN_MULTI && i < 16; ++i) calls[i].number = numbers[random.below(sizeof numbers / sizeof numbers[0])];
            (void)raw_hypercall(n, reinterpret_cast<std::uint64_t>(buffer), 1 + random.below(16));
        } else {
            (void)raw_hypercall(n, value(), value(), value(), value(), value(), value());
        }
    }
    guest::say("went on to the end");
    guest::finish();
}
