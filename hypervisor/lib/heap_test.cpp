// SPDX-License-Identifier: MIT
#include "lib/heap.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <random>
#include <set>
#include <vector>

namespace pvn {
namespace {

struct Thing {
    std::uint64_t number = 0;
    HeapHook<Thing> hook{};
};
using Things = Heap<&Thing::hook>;

// Checks the whole order below a thing, and counts it.
std::size_t checked(Thing const* thing, Thing const* up)
{
    if (thing == nullptr) return 0;
    auto const& h = thing->hook;
    auto const rank = [](Thing const* child) { return child != nullptr ? child->hook.rank : 0; };
    EXPECT_EQ(h.up, up);
    EXPECT_GE(rank(h.left), rank(h.right));
    EXPECT_EQ(h.rank, rank(h.right) + 1);
    if (up != nullptr) EXPECT_LE(up->hook.key, h.key);
    return 1 + checked(h.left, thing) + checked(h.right, thing);
}

TEST(Heap, is_empty_at_first)
{
    Things heap;
    EXPECT_EQ(heap.first(), nullptr);
    Thing thing;
    EXPECT_FALSE(Things::holds(thing));
    heap.insert(thing, 7);
    EXPECT_EQ(heap.first(), &thing);
    EXPECT_TRUE(Things::holds(thing));
    EXPECT_EQ(Things::key(thing), 7u);
    heap.erase(thing);
    EXPECT_EQ(heap.first(), nullptr);
    EXPECT_FALSE(Things::holds(thing));
}

TEST(Heap, has_the_least_first_whatever_comes_and_goes)
{
    std::mt19937_64 random{1};
    for (std::uint64_t const keys : {3u, 1000u, 1u << 30}) {
        Things heap;
        std::vector<Thing> things(300);
        std::multiset<std::uint64_t> model;
        for (int step = 0; step < 20000; ++step) {
            auto& thing = things[random() % things.size()];
            if (Things::holds(thing)) {
                model.erase(model.find(Things::key(thing)));
                heap.erase(thing);
            } else {
                auto const key = random() % keys;
                model.insert(key);
                heap.insert(thing, key);
            }
            if (model.empty())
                EXPECT_EQ(heap.first(), nullptr);
            else
                ASSERT_EQ(Things::key(*heap.first()), *model.begin());
            if (step % 50 == 0) ASSERT_EQ(checked(heap.first(), nullptr), model.size());
        }
    }
}

// In these orders a tree that nobody keeps in shape becomes a list.
TEST(Heap, has_a_short_way_whatever_the_order)
{
    constexpr std::size_t many = 16'320;  // vCPUs, at most
    for (auto const key : {+[](std::size_t i) { return std::uint64_t{i}; }, +[](std::size_t i) { return std::uint64_t{many - i}; },
                           +[](std::size_t i) { return std::uint64_t{i % 2 == 0 ? i : many - i}; }, +[](std::size_t) { return std::uint64_t{1}; }}) {
        Things heap;
        std::vector<Thing> things(many);
        for (std::size_t i = 0; i < many; ++i) {
            heap.insert(things[i], key(i));
            ASSERT_LE(heap.first()->hook.rank, std::bit_width(i + 1));
        }
        for (std::size_t left = many; left > 0; --left) {
            ASSERT_LE(heap.first()->hook.rank, std::bit_width(left));
            heap.erase(left % 2 == 0 ? *heap.first() : heap.first()->hook.left != nullptr ? *heap.first()->hook.left : *heap.first());
        }
        EXPECT_EQ(heap.first(), nullptr);
    }
}

}  // namespace
}  // namespace pvn
