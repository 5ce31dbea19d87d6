// SPDX-License-Identifier: MIT
// Which CPUs may remember a translation, and how one waits until they do not.  tlb/flush.hpp says it in words.
//
// `Atomic` is std::atomic; the tests put one there that lets other CPUs run between any two accesses (tlb/testing/model.hpp).
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

namespace pvn::tlb {

// Ticks when an entry loses what it named.  Whoever has page_tables_lock ticks it.
template <template <class> class Atomic>
class TranslationClock {
public:
    std::uint64_t now() const { return now_.load(); }
    std::uint64_t tick() { return now_.fetch_add(1) + 1; }

private:
    Atomic<std::uint64_t> now_{1};
};

// What a CPU says of its stays in guests.  It alone writes this, but for `forget`.
template <template <class> class Atomic>
struct GuestStay {
    Atomic<bool> in_guest;        // it may use translations of the guest's; cleared before anything else is done
    Atomic<std::uint64_t> exits;  // counts each such clearing, and the end of each wait for work
    Atomic<std::uint64_t> since;  // the translation clock when those were last forgotten, or before
    Atomic<bool> forget;          // set by others: before the guest is entered again, they are to be forgotten

    // Whoever changes an entry reads in_guest afterwards.  If that is false still, this store comes later, and so does every
    // translation that this CPU makes.
    void enter(TranslationClock<Atomic> const& clock)
    {
        since.store(clock.now(), std::memory_order_relaxed);
        in_guest.store(true);
    }
    // The same on a CPU with PCIDs, which keeps translations while it is outside.  Returns whether the way in has to make it forget
    // them; `must`: because of its own doings.
    //
    // Whoever changes an entry sets `forget` before it reads in_guest: if that is false still, the look at `forget` comes later.
    bool enter_again(TranslationClock<Atomic> const& clock, bool must)
    {
        auto const now = clock.now();
        if (must) since.store(now, std::memory_order_relaxed);
        in_guest.store(true);
        bool const told = forget.load();
        if (!must && !told) return false;
        // A request that this wipes out is one that the way in is yet to fulfil: it is done before anything is remembered anew.
        if (told) forget.store(false);
        since.store(now, std::memory_order_relaxed);
        return true;
    }
    void leave()
    {
        in_guest.store(false, std::memory_order_relaxed);
        count_exit();
    }
    void count_exit() { exits.store(exits.load(std::memory_order_relaxed) + 1, std::memory_order_release); }

    bool may_remember(std::uint64_t dropped_at) const { return since.load() < dropped_at; }
    bool has_left(std::uint64_t exits_then) const { return !in_guest.load() || exits.load() != exits_then; }
};

// Has every CPU of which `wanted(id)` is true forget what it remembers of its guest: before it enters again, and at once if it is
// another one that is in its guest.  Returns those that had to leave it.
//
// Cpus: count(), self(), stay(id), has_pcids(id), interrupt(id), wait_until(condition).
template <class Cpus, class Wanted>
std::uint64_t have_leave(Cpus& cpus, Wanted wanted)
{
    std::array<std::uint64_t, 64> exits;
    std::uint64_t asked = 0;
    for (std::uint32_t id = 0; id < cpus.count(); ++id) {
        auto& stay = cpus.stay(id);
        if (!wanted(id)) continue;
        if (cpus.has_pcids(id)) stay.forget.store(true);
        if (id == cpus.self() || !stay.in_guest.load()) continue;
        exits[id] = stay.exits.load();
        asked |= std::uint64_t{1} << id;
        cpus.interrupt(id);
    }
    for (std::uint32_t id = 0; id < cpus.count(); ++id)
        if ((asked >> id & 1) != 0) cpus.wait_until([&] { return cpus.stay(id).has_left(exits[id]); });
    return asked;
}

}  // namespace pvn::tlb
