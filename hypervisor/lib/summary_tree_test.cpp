// SPDX-License-Identifier: MIT
#include "lib/summary_tree.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <random>
#include <set>
#include <vector>

namespace pvn {
namespace {

// Seldom changes by one more or less, so that the way up mostly ends early.
struct Summary {
    std::uint64_t least = UINT64_MAX;
    std::uint64_t most = 0;
    void add(Summary const& other)
    {
        least = std::min(least, other.least);
        most = std::max(most, other.most);
    }
    friend bool operator==(Summary const&, Summary const&) = default;
};
constexpr Summary of(std::uint64_t number) { return {number, number}; }

struct Thing {
    SummaryHook<Thing, Summary> hook{};
    bool in = false;
};
using Things = SummaryTree<&Thing::hook>;

// Checks all below a thing, and counts it.
std::size_t checked(Thing const* thing, Thing const* up, unsigned depth, unsigned most)
{
    if (thing == nullptr) return 0;
    auto const& h = thing->hook;
    EXPECT_EQ(h.up, up);
    EXPECT_LE(depth, most);
    Summary all = h.own;
    for (auto const* below : {h.left, h.right})
        if (below != nullptr) all.add(below->hook.all);
    EXPECT_EQ(all, h.all);
    return 1 + checked(h.left, thing, depth + 1, most) + checked(h.right, thing, depth + 1, most);
}

TEST(SummaryTree, is_empty_at_first)
{
    Things tree;
    EXPECT_TRUE(tree.empty());
    EXPECT_EQ(tree.all(), Summary{});
    Thing thing;
    tree.insert(thing, of(7));
    EXPECT_EQ(tree.size(), 1u);
    EXPECT_EQ(tree.all(), of(7));
    EXPECT_EQ(Things::own(thing), of(7));
    tree.erase(thing);
    EXPECT_TRUE(tree.empty());
    EXPECT_EQ(tree.all(), Summary{});
}

TEST(SummaryTree, sums_up_whatever_comes_and_goes)
{
    std::mt19937_64 random{1};
    for (std::size_t const many : {1u, 2u, 3u, 4u, 7u, 300u}) {
        Things tree;
        std::vector<Thing> things(many);
        std::multiset<std::uint64_t> model;
        for (int step = 0; step < 10'000; ++step) {
            auto& thing = things[random() % many];
            auto const number = thing.in ? Things::own(thing).least : random() % 1000;
            if (thing.in) {
                model.erase(model.find(number));
                tree.erase(thing);
            } else {
                model.insert(number);
                tree.insert(thing, of(number));
            }
            thing.in = !thing.in;
            ASSERT_EQ(tree.size(), model.size());
            ASSERT_EQ(tree.all(), (model.empty() ? Summary{} : Summary{*model.begin(), *model.rbegin()}));
            if (step % 50 != 0) continue;
            Thing const* root = nullptr;
            for (auto const& t : things)
                if (t.in && t.hook.up == nullptr) root = &t;
            ASSERT_EQ(checked(root, nullptr, 1, static_cast<unsigned>(std::bit_width(model.size()))), model.size());
        }
    }
}

TEST(SummaryTree, finds_one_if_there_is_one)
{
    std::mt19937_64 random{2};
    Things tree;
    std::vector<Thing> things(200);
    for (std::size_t i = 0; i < things.size(); ++i) {
        tree.insert(things[i], of(random() % 1'000'000));
        for (std::uint64_t const below : {std::uint64_t{0}, tree.all().least, tree.all().least + 1, std::uint64_t{500'000}}) {
            auto const* const found = tree.find([&](Summary const& s) { return s.least < below; });
            ASSERT_EQ(found != nullptr, tree.all().least < below);
            if (found != nullptr) ASSERT_LT(Things::own(*found).least, below);
        }
    }
}

TEST(SummaryTree, walks_through_all_that_are_let_in_and_the_better_part_first)
{
    std::mt19937_64 random{3};
    Things tree;
    std::vector<Thing> things(500);
    for (auto& thing : things) tree.insert(thing, of(random() % 1'000'000));
    auto const earlier = [](Summary const& a, Summary const& b) { return a.least < b.least; };
    std::set<Thing const*> seen;
    tree.walk([](Summary const&) { return true; }, earlier, [&](Thing& thing, Summary const& own) {
        EXPECT_EQ(own, Things::own(thing));
        EXPECT_TRUE(seen.insert(&thing).second);
    });
    EXPECT_EQ(seen.size(), things.size());

    // The least one is found on the way down.
    std::uint64_t best = UINT64_MAX;
    int looks = 0;
    tree.walk([&](Summary const& all) { return all.least < best; }, earlier, [&](Thing&, Summary const& own) {
        best = std::min(best, own.least);
        ++looks;
    });
    EXPECT_EQ(best, tree.all().least);
    EXPECT_LE(looks, std::bit_width(things.size()));

    seen.clear();
    tree.walk([](Summary const& all) { return all.least < 1000; }, earlier, [&](Thing& thing, Summary const& own) {
        if (own.least < 1000) seen.insert(&thing);
    });
    for (auto const& thing : things) EXPECT_EQ(seen.contains(&thing), Things::own(thing).least < 1000);
}

}  // namespace
}  // namespace pvn
