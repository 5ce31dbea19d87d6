// SPDX-License-Identifier: MIT
// Things that come and go, with a summary of all: they hold the links themselves, so nothing is allocated.
#pragma once

#include <cstdint>

namespace pvn {

// What a thing has for each tree in which it can be.
template <class T, class Summary>
struct SummaryHook {
    T* up{};
    T* left{};
    T* right{};
    Summary own{};  // of the thing
    Summary all{};  // of it and those below it
};

// A complete binary tree: thing n, from 1, has things 2n and 2n + 1 below it, so a way is never longer than log2 of how many there are.  Its
// order means nothing: a summary is of several things, whatever of them is wanted ("the least", "whether any").  `Summary{}` is that of none,
// and a.add(b) makes it that of both, neither of none.  all() takes nothing, insert() and erase() O(log n) at most: they go up only until a
// summary stays as it was, which mostly is soon.
template <auto hook>
class SummaryTree;
template <class T, class Summary, SummaryHook<T, Summary> T::*hook>
class SummaryTree<hook> {
public:
    static constexpr unsigned most_levels = 32;

    constexpr SummaryTree() = default;
    SummaryTree(SummaryTree const&) = delete;
    SummaryTree& operator=(SummaryTree const&) = delete;

    std::uint32_t size() const { return size_; }
    bool empty() const { return root_ == nullptr; }
    Summary const& all() const { return root_ != nullptr ? (root_->*hook).all : none; }
    static Summary const& own(T const& thing) { return (thing.*hook).own; }

    // It is in no tree by this hook.
    void insert(T& thing, Summary const& own)
    {
        auto* const up = ++size_ == 1 ? nullptr : at(size_ / 2);
        auto& here = thing.*hook;
        here.up = up, here.left = here.right = nullptr;
        here.own = here.all = own;
        if (up == nullptr) {
            root_ = &thing;
            return;
        }
        (size_ % 2 == 0 ? (up->*hook).left : (up->*hook).right) = &thing;
        sum_up(up);
    }

    // It is in this one.
    void erase(T& thing)
    {
        // The last one takes its place.
        auto* const last = at(size_--);
        auto* const up = (last->*hook).up;
        put_below(up, last, nullptr);
        if (last == &thing) return sum_up(up);
        auto& own = thing.*hook;
        (last->*hook).up = own.up, (last->*hook).left = own.left, (last->*hook).right = own.right;
        put_below(own.up, &thing, last);
        for (auto* const below : {own.left, own.right})
            if (below != nullptr) (below->*hook).up = last;
        (last->*hook).all = own.all;  // what was known there
        if (up != &thing) sum_up(up);
        sum_up(last);
    }

    // One of which holds(own) is true; null: there is none.  It is true of a summary if of one of those that this is of, and only then.
    template <class Holds>
    T* find(Holds holds) const
    {
        if (!holds(all())) return nullptr;
        auto* at = root_;
        while (!holds((at->*hook).own)) at = holds(((at->*hook).left->*hook).all) ? (at->*hook).left : (at->*hook).right;
        return at;
    }

    // Goes through all, but for what is below a thing whose summary enter(all) refuses.  Calls visit(thing, own), and goes on first where
    // before(all, other_all) says.
    template <class Enter, class Before, class Visit>
    void walk(Enter enter, Before before, Visit visit) const
    {
        T* open[most_levels + 1];
        unsigned left_open = 0;
        if (root_ != nullptr) open[left_open++] = root_;
        while (left_open != 0) {
            auto* const thing = open[--left_open];
            auto& here = thing->*hook;
            if (!enter(here.all)) continue;
            visit(*thing, here.own);
            bool const right_first = here.right != nullptr && before((here.right->*hook).all, (here.left->*hook).all);
            for (auto* const below : {right_first ? here.left : here.right, right_first ? here.right : here.left})
                if (below != nullptr) open[left_open++] = below;
        }
    }

private:
    static constexpr Summary none{};

    // Thing n: from the root, the bits of n below its highest one say where to.
    T* at(std::uint32_t n) const
    {
        auto* thing = root_;
        for (auto bit = std::uint32_t{1} << (31 - __builtin_clz(n)) >> 1; bit != 0; bit >>= 1) thing = (n & bit) == 0 ? (thing->*hook).left : (thing->*hook).right;
        return thing;
    }

    void put_below(T* up, T* before, T* thing)
    {
        if (up == nullptr)
            root_ = thing;
        else
            ((up->*hook).left == before ? (up->*hook).left : (up->*hook).right) = thing;
    }

    static void sum_up(T* thing)
    {
        for (; thing != nullptr; thing = (thing->*hook).up) {
            auto& here = thing->*hook;
            Summary all = here.own;
            if (here.left != nullptr) all.add((here.left->*hook).all);
            if (here.right != nullptr) all.add((here.right->*hook).all);
            if (all == here.all) return;
            here.all = all;
        }
    }

    T* root_{};
    std::uint32_t size_{};
};

}  // namespace pvn
