// SPDX-License-Identifier: MIT
// A machine of a few CPUs whose TLBs forget nothing: while a CPU is in a guest it remembers, after each step of anybody, all that
// its tables and what it remembers lead to.  So whatever a real TLB might still hold, this one holds.  Without PCIDs it forgets
// when it enters its guest; with PCIDs only if the rule says so, and uses what it remembers while it is in the guest.
//
// The frame table and the flush rule are the hypervisor's own; what stands between them (FrameMemory of main.cpp, domains.cpp,
// traps.cpp) is done here in the same order.
#pragma once

#include <bit>
#include <deque>
#include <map>
#include <optional>
#include <set>

#include "frames/frame_table.hpp"
#include "frames/testing/fake_memory.hpp"
#include "tlb/rule.hpp"
#include "tlb/testing/interleave.hpp"

namespace pvn::tlb::testing {

// What the tests break on purpose, to see that the model notices.
struct Broken {
    bool flush_for_type = false;    // promote() looks at contents without a flush
    bool flush_for_release = false; // a released frame goes to the free list without one
    bool tick = false;              // a dropped entry does not tick the clock
    bool entry_order = false;       // in_guest becomes visible whenever the CPU pleases
    bool stays = false;             // a CPU counts as flushed though it has not left
    bool forget = false;            // a CPU that keeps translations is not told of changes while it is outside
};

// The accesses of CPUs, in the order of x86: a store that is not sequentially consistent may become visible to others only later,
// but before any later store of the same CPU and before its next locked instruction.  [sdm/3] 9.2.2
struct Shared {
    Interleaving& order;
    Broken broken;
    std::map<std::size_t, std::deque<std::function<void()>>> buffers{};  // by thread

    void drain(std::size_t thread)
    {
        auto& buffer = buffers[thread];
        for (; !buffer.empty(); buffer.pop_front()) buffer.front()();
    }
    void store(std::function<void()> make_visible, bool sequential)
    {
        order.yield();
        auto const self = order.running();
        buffers[self].push_back(std::move(make_visible));
        if (sequential || !order.deviate()) drain(self);  // at once, or else with the next
    }
};
inline Shared* shared = nullptr;

template <class T>
class Atomic {
public:
    Atomic(T value = {}) : value_{value} {}
    T load(std::memory_order = std::memory_order_seq_cst) const
    {
        shared->order.yield();
        // A CPU sees its own stores at once.
        if (owner_ == shared->order.running() && mine_) return *mine_;
        return value_;
    }
    void store(T value, std::memory_order how = std::memory_order_seq_cst)
    {
        owner_ = shared->order.running();
        mine_ = value;
        bool const sequential = how == std::memory_order_seq_cst && !(shared->broken.entry_order && std::is_same_v<T, bool>);
        shared->store([this, value] { value_ = value; mine_.reset(); }, sequential);
    }
    T fetch_add(T n)
    {
        shared->order.yield();
        shared->drain(shared->order.running());
        return std::exchange(value_, static_cast<T>(value_ + n));
    }
    T peek() const { return value_; }  // as a condition, without a step

private:
    T value_;
    std::size_t owner_ = ~std::size_t{0};
    std::optional<T> mine_;
};

class Model : public Explorer::World {
public:
    // Each domain has a tree of one table per level; `leaf(domain, i)` of its level-1 table are the mappings.
    static constexpr std::uint64_t frame_count = 24;
    static constexpr unsigned tables = 4;
    static constexpr unsigned used_entries = 8;  // of each table

    struct Domain {
        DomainId id;
        bool privileged;
        std::uint64_t dropped_at = 0;
        std::array<MachineFrame, tables> tree{};  // levels 4, 3, 2, 1
    };

    Model(Interleaving& order, unsigned cpus, bool pcids, Broken broken = {})
        : order_{order}, pcids_{pcids}, broken_{broken}, shared_{order, broken}, cpus_(cpus), memory_{*this}, frames_(frame_count), table_{frames_, memory_, 46}
    {
        shared = &shared_;
        memory_.quiet = true;
    }
    // Set-up is done before anything runs.
    Domain& add_domain(bool privileged)
    {
        auto& domain = domains_.emplace_back(Domain{DomainId{static_cast<std::uint16_t>(domains_.size())}, privileged});
        for (unsigned i = 0; i < tables; ++i) domain.tree[i] = add_frame(domain);
        for (unsigned i = 0; i + 1 < tables; ++i) page(domain.tree[i])[0] = frames::make_entry(domain.tree[i + 1], 7).raw;
        for (unsigned i = tables; i-- > 0;) must(table_.promote(domain.id, domain.tree[i], tables - i));
        return domain;
    }
    MachineFrame add_frame(Domain const& domain)
    {
        MachineFrame const frame{next_frame_++};
        table_.assign(frame, domain.id);
        return frame;
    }
    void add_free_frame() { free_.insert(MachineFrame{next_frame_++}); }
    MachineFrame map_new(Domain const& domain, unsigned index)
    {
        auto const frame = add_frame(domain);
        must(table_.write_entry(domain.id, domain.tree[3], index, frames::make_entry(frame, 7).raw, false));
        return frame;
    }
    using Program = std::vector<std::function<void(Model&)>>;
    // What a vCPU of the domain does on that CPU: it is in the guest before, between and after these hypercalls.  An empty one is one
    // that changes nothing, as an interrupt: its return need not flush.
    void runs(unsigned cpu, Domain& domain, Program calls)
    {
        cpus_[cpu].domain = &domain;
        cpus_[cpu].calls = std::move(calls);
    }

    // --- Hypercalls.  The caller has the lock. ---
    auto write(Domain& d, unsigned index, std::optional<MachineFrame> frame, bool writable = true)
    {
        return table_.write_entry(d.id, d.tree[3], index, frame ? frames::make_entry(*frame, writable ? 7u : 5u).raw : 0, false);
    }
    auto promote(Domain& d, MachineFrame frame, unsigned level) { return table_.promote(d.id, frame, level); }
    auto demote(Domain& d, MachineFrame frame) { return table_.demote(d.id, frame); }
    auto hang(Domain& d, unsigned index, std::optional<MachineFrame> l1)  // into the level-2 table
    {
        return table_.write_entry(d.id, d.tree[2], index, l1 ? frames::make_entry(*l1, 7).raw : 0, false);
    }
    // As domains::give_back()
    Result<void> give_back(Domain& d, MachineFrame frame)
    {
        PVN_CHECK(table_.release(frame, d.id));
        if (!broken_.flush_for_release) flush_dropped(d.id);
        free_.insert(frame);
        return {};
    }
    // As domains::populate(): whatever is free
    std::optional<MachineFrame> populate(Domain& d)
    {
        if (free_.empty()) return std::nullopt;
        auto const frame = *free_.begin();
        free_.erase(free_.begin());
        table_.assign(frame, d.id);
        return frame;
    }
    void tear_down(Domain& d)
    {
        flush_dropped(d.id);
        (void)table_.tear_down(d.id, 0, 1'000'000);
    }
    frames::testing::Page& page(MachineFrame frame) { return memory_.pages[frame.raw()]; }

private:
    using Stay = GuestStay<Atomic>;
    struct Cpu {
        Domain* domain = nullptr;
        Program calls;
        Stay stay;
        bool inside = false;       // really: from IRETQ to the interrupt
        bool asked = false;        // an interrupt is pending
        // Frames, as bits: those that it may walk as a table of level 1 to 4 without asking, those that it may read, and write.
        std::array<std::uint32_t, tables + 1> walks{};
        std::uint32_t readable = 0, writable = 0;
        std::uint32_t walked() const { return walks[1] | walks[2] | walks[3] | walks[4]; }
        void forget()
        {
            walks = {};
            readable = writable = 0;
        }
    };

    class Memory final : public frames::Memory {
    public:
        explicit Memory(Model& model) : pages(frame_count), model_{model} {}
        std::uint64_t* table(MachineFrame frame) override
        {
            if (!quiet) model_.order_.yield();
            return pages.at(frame.raw()).data();
        }
        void flush_stale_writable(MachineFrame frame) override
        {
            if (!quiet && !model_.broken_.flush_for_type) model_.flush_dropped(model_.table_.owner(frame));
        }
        void write_back(MachineFrame) override {}
        void root_entry_changed(MachineFrame, unsigned, std::uint64_t) override {}
        void entry_dropped(DomainId id) override
        {
            if (!quiet && !model_.broken_.tick) model_.domains_[id.raw()].dropped_at = model_.clock_.tick();
        }
        bool may_map_foreign(DomainId id, MachineFrame) override { return model_.domains_[id.raw()].privileged; }
        void frame_freed(DomainId, MachineFrame frame) override { model_.free_.insert(frame); }

        std::vector<frames::testing::Page> pages;
        bool quiet;

    private:
        Model& model_;
    };

    // As tlb::flush_dropped()
    void flush_dropped(DomainId owner)
    {
        have_leave(*this, [&](std::uint32_t id) {
            auto const& cpu = cpus_[id];
            return cpu.domain != nullptr && (cpu.domain->id == owner || cpu.domain->privileged) && cpu.stay.may_remember(cpu.domain->dropped_at);
        });
    }

public:
    // --- What have_leave() asks of a machine ---
    std::uint32_t count() const { return static_cast<std::uint32_t>(cpus_.size()); }
    std::uint32_t self() const { return static_cast<std::uint32_t>(order_.running()); }
    Stay& stay(std::uint32_t id) { return cpus_[id].stay; }
    bool has_pcids(std::uint32_t) const { return pcids_; }
    void interrupt(std::uint32_t id)
    {
        order_.yield();
        cpus_[id].asked = true;
    }
    template <class Condition>
    void wait_until(Condition condition)
    {
        if (broken_.stays) return;
        // The stores of a CPU become visible in the end.
        while (!condition()) {
            auto const version = steps_;
            order_.wait_until([this, version] { return steps_ > version + 1; });  // somebody else did something
            for (auto& [thread, buffer] : shared_.buffers) shared_.drain(thread);
        }
    }

    std::vector<std::function<void()>> threads() override
    {
        memory_.quiet = false;
        std::vector<std::function<void()>> all;
        for (unsigned id = 0; id < cpus_.size(); ++id) all.push_back([this, id] { run(id); });
        return all;
    }

    std::string after_each_step() override
    {
        ++steps_;
        for (auto& cpu : cpus_) remember(cpu);
        return check();
    }

private:
    void run(unsigned id)
    {
        auto& cpu = cpus_[id];
        if (cpu.domain == nullptr) return;
        bool flushes = true;
        for (std::size_t next = 0;;) {
            bool forgets = true;
            if (pcids_)
                forgets = cpu.stay.enter_again(clock_, flushes) && (flushes || !broken_.forget);
            else
                cpu.stay.enter(clock_);
            order_.yield();
            if (forgets) cpu.forget();
            flushes = false;
            cpu.inside = true;  // MOV to CR3 and IRETQ serialise, but nothing needs that
            bool const last = next == cpu.calls.size();
            order_.yield();
            if (last) order_.wait_until([&] { return cpu.asked || others_done(id); });
            bool const ends = last && !cpu.asked;
            cpu.asked = false;
            cpu.inside = false;
            cpu.stay.leave();
            if (ends) return shared_.drain(id);
            if (last) continue;
            shared_.drain(id);  // to try a lock is a locked instruction
            order_.wait_until([this] { return !locked_; });
            locked_ = true;
            if (auto const& call = cpu.calls[next++]) {
                flushes = true;
                call(*this);
            }
            shared_.drain(id);
            locked_ = false;
            if (next == cpu.calls.size()) ++done_;
        }
    }
    bool others_done(unsigned) const
    {
        std::size_t wanted = 0;
        for (auto const& cpu : cpus_) wanted += cpu.domain != nullptr && !cpu.calls.empty();
        return done_ == wanted;
    }

    static constexpr std::uint32_t bit(MachineFrame frame) { return std::uint32_t{1} << frame.raw(); }

    void remember(Cpu& cpu)
    {
        if (!cpu.inside) return;
        cpu.walks[4] |= bit(cpu.domain->tree[0]);
        for (unsigned level = 4; level > 0; --level)
            for (auto left = cpu.walks[level]; left != 0; left &= left - 1)
                for (auto const raw : std::span{memory_.pages[static_cast<unsigned>(std::countr_zero(left))]}.first(used_entries)) {
                    frames::Entry const entry{raw};
                    if (!entry.present() || entry.frame().raw() >= frame_count) continue;
                    if (level > 1) {
                        cpu.walks[level - 1] |= bit(entry.frame());
                    } else {
                        cpu.readable |= bit(entry.frame());
                        if (entry.writable()) cpu.writable |= bit(entry.frame());
                    }
                }
    }

    // The promises of frames/README.md, of TLBs.
    std::string check() const
    {
        std::uint32_t free = 0, promoted = 0, walked = 0, written = 0;
        for (auto const frame : free_) free |= bit(frame);
        for (std::uint64_t i = 0; i < frame_count; ++i)
            if (table_.frame(MachineFrame{i}).has(frames::Frame::promoted)) promoted |= bit(MachineFrame{i});
        for (auto const& cpu : cpus_) {
            if (!cpu.inside) continue;  // what it remembers it does not use
            auto const reached = cpu.readable | cpu.walked();
            if ((reached & free) != 0) return "a free frame is remembered";
            for (auto left = reached; left != 0 && !cpu.domain->privileged; left &= left - 1) {
                auto const owner = table_.owner(MachineFrame{static_cast<unsigned>(std::countr_zero(left))});
                if (owner != cpu.domain->id && owner != frames::no_owner) return "a stranger's frame is remembered";
            }
            if ((cpu.writable & promoted) != 0) return "a page table can be written";
            walked |= cpu.walked();
            written |= cpu.writable;
        }
        if ((walked & written) != 0) return "what can be written is walked";
        return {};
    }

    template <class R>
    static void must(R const& result)
    {
        if (!result) std::abort();
    }

    Interleaving& order_;
    bool pcids_;
    Broken broken_;
    Shared shared_;
    std::vector<Cpu> cpus_;
    std::deque<Domain> domains_;
    Memory memory_;
    std::vector<frames::Frame> frames_;
    frames::FrameTable table_;
    TranslationClock<Atomic> clock_;
    std::set<MachineFrame> free_;
    std::uint64_t next_frame_ = 1;
    std::uint64_t steps_ = 0;
    std::size_t done_ = 0;
    bool locked_ = false;
};

}  // namespace pvn::tlb::testing
