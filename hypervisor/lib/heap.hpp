// SPDX-License-Identifier: MIT
// Things in the order of a key, the least first: they hold the links themselves, so nothing is allocated.
#pragma once

#include <cstdint>
#include <utility>

namespace pvn {

// What a thing has for each heap in which it can be.
template <class T>
struct HeapHook {
    T* up{};
    T* left{};
    T* right{};
    std::uint64_t key{};
    std::uint32_t rank{};  // of a thing in a heap at least 1
};

// A leftist heap.  [knuth/3] 5.2.3: the rank of a thing is the length of the shortest way down to where a child is missing; that of a left
// child is never below that of the right one, so the way to the right is as short as can be: log2(n + 1) things at most.  Only that way is
// walked, and never recursively, so that insert() and erase() take O(log n) in the worst case, not only on average.
template <auto hook>
class Heap;
template <class T, HeapHook<T> T::*hook>
class Heap<hook> {
public:
    constexpr Heap() = default;
    Heap(Heap const&) = delete;
    Heap& operator=(Heap const&) = delete;

    static bool holds(T const& thing) { return (thing.*hook).rank != 0; }
    static std::uint64_t key(T const& thing) { return (thing.*hook).key; }

    // One with the least key; null: there is none.
    T* first() const { return root_; }
    std::uint32_t size() const { return size_; }

    // It is in no heap by this hook.
    void insert(T& thing, std::uint64_t key)
    {
        thing.*hook = {.key = key, .rank = 1};
        root_ = merge(root_, &thing);
        ++size_;
    }

    // It is in this one.
    void erase(T& thing)
    {
        auto const was = thing.*hook;
        auto* const rest = merge(was.left, was.right);
        if (rest != nullptr) (rest->*hook).up = was.up;
        if (was.up == nullptr)
            root_ = rest;
        else
            ((was.up->*hook).left == &thing ? (was.up->*hook).left : (was.up->*hook).right) = rest;
        for (auto* at = was.up; at != nullptr && put_right(*at); at = (at->*hook).up) {}
        thing.*hook = {};
        --size_;
    }

private:
    static std::uint32_t rank(T const* thing) { return thing != nullptr ? (thing->*hook).rank : 0; }

    // After one of its children has changed.  Whether its own rank has.
    static bool put_right(T& thing)
    {
        auto& own = thing.*hook;
        if (rank(own.left) < rank(own.right)) std::swap(own.left, own.right);
        auto const before = std::exchange(own.rank, rank(own.right) + 1);
        return own.rank != before;
    }

    // Down along both ways to the right, the lesser key first, and up again to put the ranks right.
    static T* merge(T* a, T* b)
    {
        if (a == nullptr || b == nullptr) return a != nullptr ? a : b;
        if ((b->*hook).key < (a->*hook).key) std::swap(a, b);
        auto* const root = a;
        (root->*hook).up = nullptr;
        auto* last = root;
        for (a = (root->*hook).right; b != nullptr; a = (last->*hook).right) {
            if (a == nullptr || (b->*hook).key < (a->*hook).key) std::swap(a, b);
            (last->*hook).right = a;
            (a->*hook).up = last;
            last = a;
        }
        for (auto* at = last; at != nullptr; at = (at->*hook).up) put_right(*at);
        return root;
    }

    T* root_{};
    std::uint32_t size_{};
};

}  // namespace pvn
