// SPDX-License-Identifier: MIT
// Two and three CPUs change, type and give away what the others have in their TLBs, in every order (up to a number of preemptions).
#include <gtest/gtest.h>

#include "tlb/testing/model.hpp"

namespace pvn::tlb::testing {
namespace {

using Call = std::function<void(Model&)>;
using SetUp = std::function<void(Model&)>;

struct Outcome {
    std::string failure;
    std::size_t runs;
};

Outcome explore(unsigned cpus, unsigned preemptions, bool pcids, SetUp const& set_up, Broken broken = {})
{
    Explorer explorer;
    auto failure = explorer.explore(
        [&](Interleaving& order) {
            auto model = std::make_unique<Model>(order, cpus, pcids, broken);
            set_up(*model);
            return model;
        },
        preemptions);
    return {failure, explorer.runs()};
}

// What succeeds depends on the order; that nothing is remembered that must not be does not.
template <class R>
void any(R&&)
{
}

void unmap_and_promote(Model& m)
{
    auto& d = m.add_domain(false);
    auto const data = m.map_new(d, 1);
    m.runs(0, d, {[&d](Model& x) { any(x.write(d, 1, std::nullopt)); }, [&d, data](Model& x) { any(x.promote(d, data, 1)); }});
    m.runs(1, d, {});
}

void unmapped_beside_interrupts(Model& m)
{
    auto& d = m.add_domain(false);
    auto const data = m.map_new(d, 1);
    m.runs(0, d, {[&d](Model& x) { any(x.write(d, 1, std::nullopt)); }, nullptr, [&d, data](Model& x) { any(x.promote(d, data, 1)); }});
    m.runs(1, d, {nullptr, nullptr});
}

// Who is in the hypervisor while it happens.
void given_away_beside_interrupts(Model& m)
{
    auto& d = m.add_domain(false);
    auto& e = m.add_domain(false);
    auto const data = m.map_new(d, 1);
    m.runs(0, d, {[&d](Model& x) { any(x.write(d, 1, std::nullopt)); }, [&d, data](Model& x) { any(x.give_back(d, data)); }});
    m.runs(1, d, {nullptr, nullptr});
    m.runs(2, e, {[&e](Model& x) {
                      if (auto const frame = x.populate(e)) any(x.write(e, 1, *frame));
                  }});
}

void one_unmaps_another_promotes(Model& m)
{
    auto& d = m.add_domain(false);
    auto const data = m.map_new(d, 1);
    m.runs(0, d, {[&d](Model& x) { any(x.write(d, 1, std::nullopt)); }});
    m.runs(1, d, {[&d, data](Model& x) { any(x.promote(d, data, 1)); }, [&d, data](Model& x) { any(x.write(d, 2, data)); }});
}

void made_read_only_and_promoted(Model& m)
{
    auto& d = m.add_domain(false);
    auto const data = m.map_new(d, 1);
    m.runs(0, d, {[&d, data](Model& x) { any(x.write(d, 1, data, false)); }, [&d, data](Model& x) { any(x.promote(d, data, 1)); }});
    m.runs(1, d, {[&d, data](Model& x) { any(x.demote(d, data)); any(x.write(d, 1, data)); }});
}

void table_becomes_data(Model& m)
{
    auto& d = m.add_domain(false);
    auto const table = m.add_frame(d);
    any(m.promote(d, table, 1));
    any(m.hang(d, 1, table));
    m.runs(0, d, {[&d](Model& x) { any(x.hang(d, 1, std::nullopt)); }, [&d, table](Model& x) { any(x.demote(d, table)); },
                  [&d, table](Model& x) { any(x.write(d, 1, table)); }});
    m.runs(1, d, {[&d, table](Model& x) { any(x.write(d, 2, table)); }});
}

void given_to_another_domain(Model& m)
{
    auto& d = m.add_domain(false);
    auto& e = m.add_domain(false);
    auto const data = m.map_new(d, 1);
    m.runs(0, d, {[&d](Model& x) { any(x.write(d, 1, std::nullopt)); }, [&d, data](Model& x) { any(x.give_back(d, data)); }});
    m.runs(1, e, {[&e](Model& x) {
                      if (auto const frame = x.populate(e)) any(x.write(e, 1, *frame));
                  }});
    m.runs(2, d, {});
}

void foreign_mapping(Model& m)
{
    auto& dom0 = m.add_domain(true);
    auto& d = m.add_domain(false);
    auto const data = m.map_new(d, 1);
    any(m.write(dom0, 1, data));
    m.runs(0, d, {[&d](Model& x) { any(x.write(d, 1, std::nullopt)); }, [&d, data](Model& x) { any(x.promote(d, data, 1)); }});
    m.runs(1, dom0, {[&dom0](Model& x) { any(x.write(dom0, 1, std::nullopt)); }});
}

void three_at_once(Model& m)
{
    auto& d = m.add_domain(false);
    auto const data = m.map_new(d, 1);
    m.runs(0, d, {[&d](Model& x) { any(x.write(d, 1, std::nullopt)); }});
    m.runs(1, d, {[&d, data](Model& x) { any(x.promote(d, data, 1)); }});
    m.runs(2, d, {[&d, data](Model& x) { any(x.write(d, 3, data)); }});
}

void torn_down(Model& m)
{
    auto& dom0 = m.add_domain(true);
    auto& d = m.add_domain(false);
    auto const data = m.map_new(d, 1);
    any(m.write(dom0, 1, data));
    m.runs(0, dom0, {[&dom0](Model& x) { any(x.write(dom0, 1, std::nullopt)); }, [&d](Model& x) { x.tear_down(d); }});
    m.runs(1, dom0, {[&dom0](Model& x) {
                         if (auto const frame = x.populate(dom0)) any(x.write(dom0, 2, *frame));
                     }});
}

struct Case {
    char const* name;
    unsigned cpus, preemptions;
    unsigned with_pcids;  // preemptions there: their rule has more steps, so more orders
    void (*set_up)(Model&);
};

class Interleavings : public ::testing::TestWithParam<std::tuple<Case, bool>> {};

TEST_P(Interleavings, NothingIsRememberedThatMustNotBe)
{
    auto const& [test, pcids] = GetParam();
    auto const outcome = explore(test.cpus, pcids ? test.with_pcids : test.preemptions, pcids, test.set_up);
    EXPECT_EQ(outcome.failure, "");
    EXPECT_GT(outcome.runs, 100u);
    RecordProperty("runs", static_cast<int>(outcome.runs));
}

INSTANTIATE_TEST_SUITE_P(
    Tlb, Interleavings,
    ::testing::Combine(::testing::Values(Case{"unmap_and_promote", 2, 3, 3, unmap_and_promote},
                                         Case{"unmapped_beside_interrupts", 2, 2, 2, unmapped_beside_interrupts},
                                         Case{"given_away_beside_interrupts", 3, 1, 1, given_away_beside_interrupts},
                                         Case{"one_unmaps_another_promotes", 2, 3, 2, one_unmaps_another_promotes},
                                         Case{"made_read_only_and_promoted", 2, 2, 2, made_read_only_and_promoted},
                                         Case{"table_becomes_data", 2, 2, 2, table_becomes_data},
                                         Case{"given_to_another_domain", 3, 1, 1, given_to_another_domain},
                                         Case{"foreign_mapping", 2, 2, 2, foreign_mapping}, Case{"three_at_once", 3, 2, 1, three_at_once},
                                         Case{"torn_down", 2, 3, 2, torn_down}),
                       ::testing::Bool()),
    [](auto const& info) { return std::string{std::get<0>(info.param).name} + (std::get<1>(info.param) ? "_with_pcids" : ""); });

// The model notices what it is there for: each part of the rule, left out.

class TlbModel : public ::testing::TestWithParam<bool> {};

TEST_P(TlbModel, NoticesAPromotionWithoutFlush)
{
    EXPECT_NE(explore(2, 1, GetParam(), unmap_and_promote, {.flush_for_type = true}).failure, "");
    EXPECT_NE(explore(2, 2, GetParam(), table_becomes_data, {.flush_for_type = true}).failure, "");
}

TEST_P(TlbModel, NoticesAReleaseWithoutFlush)
{
    EXPECT_NE(explore(3, 1, GetParam(), given_to_another_domain, {.flush_for_release = true}).failure, "");
}

TEST_P(TlbModel, NoticesADropThatDoesNotTick) { EXPECT_NE(explore(2, 1, GetParam(), unmap_and_promote, {.tick = true}).failure, ""); }

TEST_P(TlbModel, NoticesAnEntryThatIsSeenLate) { EXPECT_NE(explore(2, 2, GetParam(), unmap_and_promote, {.entry_order = true}).failure, ""); }

TEST_P(TlbModel, NoticesAFlushThatDoesNotWait) { EXPECT_NE(explore(2, 1, GetParam(), unmap_and_promote, {.stays = true}).failure, ""); }

INSTANTIATE_TEST_SUITE_P(Pcids, TlbModel, ::testing::Bool(), [](auto const& info) { return info.param ? "on" : "off"; });

TEST(TlbModelWithPcids, NoticesWhatIsKept)
{
    EXPECT_NE(explore(2, 1, true, unmap_and_promote, {.forget = true}).failure, "");
    EXPECT_NE(explore(3, 1, true, given_away_beside_interrupts, {.forget = true}).failure, "");
}

}  // namespace
}  // namespace pvn::tlb::testing
