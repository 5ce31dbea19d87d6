// SPDX-License-Identifier: MIT
#include "tlb/testing/interleave.hpp"

#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <utility>

namespace pvn::tlb::testing {
namespace {

constexpr std::size_t stack_size = 64 * 1024;

// A stack, and where on it the registers are that a call preserves.  The address sanitizer must hear of every change of stacks.
struct Fiber {
    void* stack_pointer = nullptr;
    void* fake_stack = nullptr;
    void const* bottom = nullptr;
    std::size_t size = 0;
};

Fiber scheduler;

// Stores the stack pointer at `from` and goes on from `to`.  (swapcontext() does the same with a system call.)
[[gnu::naked, gnu::noinline]] void exchange_stacks(void** /*from*/, void* /*to*/)
{
    asm("push %rbp; push %rbx; push %r12; push %r13; push %r14; push %r15\n"
        "mov %rsp, (%rdi); mov %rsi, %rsp\n"
        "pop %r15; pop %r14; pop %r13; pop %r12; pop %rbx; pop %rbp; ret");
}

void switch_to(Fiber& from, Fiber& to, bool from_ends = false)
{
    __sanitizer_start_switch_fiber(from_ends ? nullptr : &from.fake_stack, to.bottom, to.size);
    exchange_stacks(&from.stack_pointer, to.stack_pointer);
    __sanitizer_finish_switch_fiber(from.fake_stack, nullptr, nullptr);
}

}  // namespace

struct Interleaving::Thread {
    using Stack = std::array<std::byte, stack_size>;

    Fiber fiber;
    std::unique_ptr<Stack> stack = std::make_unique_for_overwrite<Stack>();
    std::function<void()> body;
    std::function<bool()> condition;  // it waits for this
    bool ended = false;

    bool can_run() const { return !ended && (!condition || condition()); }

    static inline Thread* starting = nullptr;
    static void main()
    {
        auto* const self = starting;
        __sanitizer_finish_switch_fiber(nullptr, &scheduler.bottom, &scheduler.size);
        self->body();
        self->ended = true;
        switch_to(self->fiber, scheduler, true);
    }
    // At the first switch, main() is returned to.
    void start(std::function<void()> what)
    {
        body = std::move(what);
        condition = nullptr;
        ended = false;
        ASAN_UNPOISON_MEMORY_REGION(stack->data(), stack_size);  // of the run before
        auto* const top = reinterpret_cast<void**>(stack->data() + stack_size);
        top[-2] = reinterpret_cast<void*>(&Thread::main);
        fiber = {top - 8, nullptr, stack->data(), stack_size};
    }
    void resume()
    {
        starting = this;
        switch_to(scheduler, fiber);
    }
};

Interleaving::Interleaving() = default;
Interleaving::~Interleaving() = default;

void Interleaving::yield() { switch_to(threads_[running_]->fiber, scheduler); }

void Interleaving::wait_until(std::function<bool()> condition)
{
    auto& self = *threads_[running_];
    self.condition = std::move(condition);
    switch_to(self.fiber, scheduler);
    self.condition = nullptr;
}

bool Interleaving::deviate()
{
    if (preemptions_ == 0 || decide(2) == 0) return false;
    --preemptions_;
    return true;
}

// Comes back to the scheduler, never to the caller.  The stack of this thread is simply forgotten.
void Interleaving::fail(std::string reason)
{
    if (failure_.empty()) failure_ = std::move(reason);
    for (;;) switch_to(threads_[running_]->fiber, scheduler);
}

unsigned Interleaving::decide(unsigned count)
{
    if (next_ == choices_.size()) choices_.push_back({0, count});
    return choices_[next_++].taken;
}

void Interleaving::run(std::vector<std::function<void()>> const& threads, std::function<std::string()> const& after_each_step)
{
    while (threads_.size() < threads.size()) threads_.push_back(std::make_unique<Thread>());
    for (std::size_t i = 0; i < threads.size(); ++i) threads_[i]->start(threads[i]);
    next_ = 0;
    running_ = 0;
    failure_.clear();
    for (bool first = true; failure_.empty(); first = false) {
        std::array<std::size_t, 8> able;
        std::size_t count = 0;
        bool all_ended = true;
        for (std::size_t i = 0; i < threads_.size(); ++i) {
            all_ended = all_ended && threads_[i]->ended;
            if (threads_[i]->can_run()) able[count++] = i;
        }
        if (count == 0) {
            if (!all_ended) failure_ = "everybody waits";
            return;
        }
        // Whoever runs goes on unless it waits, or this is one of the preemptions.
        bool const goes_on = !first && threads_[running_]->can_run();
        if (!goes_on) {
            running_ = count == 1 ? able[0] : able[decide(static_cast<unsigned>(count))];
        } else if (preemptions_ > 0 && count > 1) {
            if (auto const way = decide(static_cast<unsigned>(count)); way != 0) {
                --preemptions_;
                auto const own = static_cast<std::size_t>(std::ranges::find(able, running_) - able.begin());
                running_ = able[way - 1 < own ? way - 1 : way];
            }
        }
        threads_[running_]->resume();
        if (failure_.empty()) failure_ = after_each_step();
    }
}

std::string Explorer::explore(std::function<std::unique_ptr<World>(Interleaving&)> const& make, unsigned preemptions)
{
    Interleaving interleaving;
    for (;;) {
        auto const world = make(interleaving);
        ++runs_;
        interleaving.preemptions_ = preemptions;
        interleaving.run(world->threads(), [&] { return world->after_each_step(); });
        if (!interleaving.failure_.empty()) {
            std::string text = interleaving.failure_ + "; choices";
            for (auto const& choice : interleaving.choices_) text += " " + std::to_string(choice.taken);
            return text;
        }
        // The next order: the last choice that has another way takes it.
        auto& choices = interleaving.choices_;
        while (!choices.empty() && choices.back().taken + 1 == choices.back().count) choices.pop_back();
        if (choices.empty()) return {};
        ++choices.back().taken;
    }
}

}  // namespace pvn::tlb::testing
