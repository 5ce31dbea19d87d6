// SPDX-License-Identifier: MIT
// Spin locks with ranks.  docs/locking.md
#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

#include "lib/thread_safety.hpp"

namespace pvn {

// A CPU takes locks in rising order only; two of one rank never, but for the ports of two domains, lower domain id first.
enum class Rank : std::uint8_t { domains, page_tables, allocator, interrupts, ports, ports_of_second, run_queue, root, console };

// The ranks that this CPU holds, a bit each: the hypervisor keeps it per CPU, a host test per thread.
std::uint32_t& held_ranks();
[[noreturn]] void lock_order_violated(Rank);
// Called now and then by who waits for another CPU for long.
void waiting_long();
inline constexpr std::uint64_t long_wait = std::uint64_t{1} << 20;  // turns of a waiting loop

// What it has cost so far.
struct LockStatistics {
    std::uint64_t taken, waited, rounds;  // times; times it was not free at once; turns of the waiting loop
    LockStatistics& operator+=(LockStatistics const& other)
    {
        taken += other.taken, waited += other.waited, rounds += other.rounds;
        return *this;
    }
};

// Whoever finds it free takes it.  In order of arrival it would be slow where CPUs are not always there, as in a virtual machine that
// shares its host's: each turn would wait for one CPU in particular.  But one that has waited for long has the next turn, if it is
// there to take it.
// Waiting is done with interrupts off, which stops nobody: who waits for another CPU with a lock held waits only for it to leave its
// guest, and one that spins here has done that (tlb/flush.hpp).
class PVN_CAPABILITY("lock") SpinLock {
public:
    explicit constexpr SpinLock(Rank rank) : rank_{rank} {}
    SpinLock(SpinLock const&) = delete;
    SpinLock& operator=(SpinLock const&) = delete;

    void lock() PVN_ACQUIRE() { lock_as(rank_); }
    void lock_as_second() PVN_ACQUIRE() { lock_as(Rank::ports_of_second); }
    void unlock() PVN_RELEASE()
    {
        held_ranks() &= ~(1u << static_cast<unsigned>(held_as_));
        taken_.store(false, std::memory_order_release);
    }
    // For the analysis, where a guard holds the lock by another name.
    void assert_held() const PVN_ASSERT_HELD() {}
    LockStatistics statistics() const { return statistics_; }  // of a moment ago
    bool taken() const { return taken_.load(std::memory_order_relaxed); }  // a moment ago
    Rank rank() const { return rank_; }

private:
    void lock_as(Rank rank) PVN_ACQUIRE()
    {
        auto& held = held_ranks();
        if (held >> static_cast<unsigned>(rank) != 0) [[unlikely]] lock_order_violated(rank);
        held |= 1u << static_cast<unsigned>(rank);
        std::uint64_t rounds = 0;
        if (promised_.load(std::memory_order_relaxed) || taken_.exchange(true, std::memory_order_acquire)) [[unlikely]] rounds = wait();
        held_as_ = rank;
        ++statistics_.taken;
        if (rounds != 0) [[unlikely]] {
            ++statistics_.waited;
            statistics_.rounds += rounds;
        }
    }

    // Until it has been taken; returns the turns of the loop.
    std::uint64_t wait()
    {
        constexpr std::uint64_t fair_wait = 1 << 12;  // turns until one is promised the lock
        constexpr std::uint64_t patience = 64;        // turns in which it was free for the other one, who cannot be there
        bool mine = false;
        std::uint64_t rounds = 1;
        for (std::uint64_t left_free = 0;; ++rounds) {
            if (!taken_.load(std::memory_order_relaxed) && (mine || !promised_.load(std::memory_order_relaxed) || ++left_free > patience) &&
                !taken_.exchange(true, std::memory_order_acquire))
                break;
            __builtin_ia32_pause();
            if (!mine && rounds > fair_wait) mine = !promised_.exchange(true, std::memory_order_relaxed);
            if (rounds % long_wait == 0) waiting_long();
        }
        if (mine) promised_.store(false, std::memory_order_relaxed);
        return rounds;
    }

    std::atomic<bool> taken_{false};
    std::atomic<bool> promised_{false};  // to one that waits
    Rank rank_;
    Rank held_as_{};
    LockStatistics statistics_{};
};

class PVN_SCOPED_CAPABILITY Guard {
public:
    explicit Guard(SpinLock& lock) PVN_ACQUIRE(lock) : lock_{lock} { lock_.lock(); }
    Guard(Guard const&) = delete;
    Guard& operator=(Guard const&) = delete;
    ~Guard() PVN_RELEASE() { lock_.unlock(); }

private:
    SpinLock& lock_;
};

// A value and its lock; the value can only be reached while the lock is held.
template <class T>
class Locked {
public:
    class Access {
    public:
        explicit Access(Locked& owner) PVN_UNCHECKED : owner_{owner} { owner_.lock_.lock(); }
        Access(Access const&) = delete;
        Access& operator=(Access const&) = delete;
        ~Access() PVN_UNCHECKED { owner_.lock_.unlock(); }
        T* operator->() const { return &owner_.value_; }
        T& operator*() const { return owner_.value_; }

    private:
        Locked& owner_;
    };

    explicit constexpr Locked(Rank rank) : lock_{rank} {}
    [[nodiscard]] Access lock() { return Access{*this}; }
    SpinLock const& spin_lock() const { return lock_; }

private:
    SpinLock lock_;
    T value_{};
};

}  // namespace pvn
