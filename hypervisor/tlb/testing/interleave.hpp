// SPDX-License-Identifier: MIT
// Runs a few threads of control in every order that a bounded number of preemptions can bring about, one after the other and
// without real threads: what fails, fails each time.  (The method: Musuvathi and Qadeer, "Iterative context bounding for
// systematic testing of multithreaded programs", PLDI 2007.)
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace pvn::tlb::testing {

// One run.  A thread calls yield() before each access to what it shares.
class Interleaving {
public:
    void yield();
    // The thread goes on when the condition holds.  It must depend on shared things only.
    void wait_until(std::function<bool()> condition);
    // Whether what seldom happens happens now.  Both are tried, and a yes costs one of the preemptions.
    bool deviate();
    std::size_t running() const { return running_; }
    // Ends the run, with a reason.  Threads only.
    [[noreturn]] void fail(std::string reason);

private:
    friend class Explorer;
    struct Thread;
    struct Choice {
        unsigned taken, count;
    };

    Interleaving();
    ~Interleaving();
    unsigned decide(unsigned count);
    void run(std::vector<std::function<void()>> const& threads, std::function<std::string()> const& after_each_step);

    std::vector<std::unique_ptr<Thread>> threads_;
    std::size_t running_ = 0;
    std::vector<Choice> choices_;  // the first next_ of them were taken in this run
    std::size_t next_ = 0;
    std::string failure_;
    unsigned preemptions_ = 0;  // left
};

class Explorer {
public:
    struct World {
        virtual ~World() = default;
        virtual std::vector<std::function<void()>> threads() = 0;
        virtual std::string after_each_step() = 0;  // what is wrong now, or nothing
    };

    // Makes a world for each order.  Returns the first failure with the order that led to it, or nothing.
    std::string explore(std::function<std::unique_ptr<World>(Interleaving&)> const& make, unsigned preemptions);
    std::size_t runs() const { return runs_; }

private:
    std::size_t runs_ = 0;
};

}  // namespace pvn::tlb::testing
