// SPDX-License-Identifier: MIT
// Turns bytes into operations of several domains on a small machine, and checks after each one everything that must always hold.
// The property test feeds it random bytes, the fuzzer bytes that reach new code.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "frames/testing/fake_memory.hpp"
#include "frames/testing/oracle.hpp"

namespace pvn::frames::testing {

class Driver {
public:
    static constexpr std::size_t step_bytes = 8;
    static constexpr std::size_t ram = 30;       // 28 and 29: the hypervisor's, free to be shared
    static constexpr std::size_t total = 32;     // 30 and 31: device memory inside the table
    static constexpr unsigned domains = 3;       // domain 0 is privileged
    static constexpr std::uint64_t outside = total;  // and a little beyond it

    struct Statistics {
        std::uint64_t done = 0, refused = 0, promoted = 0, leaves = 0, parents = 0, torn_down = 0;
    };

    Driver()
    {
        memory().granted = [this](DomainId mapper, MachineFrame frame) { return has_granted(mapper, frame, false); };
        for (std::uint64_t i = ram; i < total; ++i)
            table().mark_device(MachineFrame{i});
        for (std::uint64_t i = 0; i < ram; ++i) {
            if (i >= 28)
                table().assign(MachineFrame{i}, hypervisor_owner);
            else if (i < 24)
                table().assign(MachineFrame{i}, DomainId{static_cast<std::uint16_t>(i % domains)});
        }
    }

    // The first rule that is broken, with the step, or nothing.
    std::optional<std::string> run(std::span<std::uint8_t const> bytes)
    {
        while (bytes.size() >= step_bytes) {
            if (auto broken = step(bytes.first(step_bytes)); !broken.empty())
                return "step " + std::to_string(steps_) + ": " + broken;
            bytes = bytes.subspan(step_bytes);
            ++steps_;
        }
        return std::nullopt;
    }

    Statistics const& statistics() const { return statistics_; }
    Machine& machine() { return machine_; }

private:
    FrameTable& table() { return machine_.table; }
    FakeMemory& memory() { return machine_.memory; }

    struct Snapshot {
        std::vector<Frame> frames;
        std::vector<Page> pages;
        std::map<std::uint64_t, Page> roots;
    };
    Snapshot const& take_snapshot(Snapshot& into)
    {
        into.frames = machine_.frames;
        into.pages = memory().pages;
        into.roots = memory().roots;
        return into;
    }

    // A step: operation, domain, frame, index, target frame, two bytes of entry bits, detail.
    std::string step(std::span<std::uint8_t const> b)
    {
        static constexpr std::uint16_t indexes[] = {0, 1, 2, 3, 255, 256, 257, 511};
        DomainId domain{static_cast<std::uint16_t>(b[1] % domains)};
        MachineFrame frame{b[2] % (outside + 2)};
        unsigned const index = b[3] < 250 ? indexes[b[3] % 8] : b[3] * 3U;
        MachineFrame target{b[4] % (outside + 2)};
        bool const detail = (b[7] & 1) != 0;

        if (dying_ == domain)
            domain = DomainId{static_cast<std::uint16_t>((domain.raw() + 1) % domains)};
        unsigned const operation = b[0] % 25;
        if ((b[7] & 0xc0) != 0)
            guide(operation, domain, frame, target);
        auto const value = entry(target, b[5], b[6]);

        auto const& before = take_snapshot(before_step_);
        remember_stale();
        bool succeeded = true;
        auto did = [&](auto const& result) { succeeded = result.has_value(); };

        switch (operation) {
        case 0:
        case 1:
        case 2:
        case 3: did(promote(domain, frame, b[7])); break;
        case 4: {
            auto const expected = oracle_.demote(domain, frame);
            auto const demoted = table().demote(domain, frame);
            agrees("demote", demoted, expected);
            if (demoted)
                oracle_.demoted(frame);
            did(demoted);
            break;
        }
        case 5:
        case 6:
        case 7:
        case 8:
        case 9: {
            auto const expected = oracle_.write(domain, frame, index, value);
            auto const written = table().write_entry(domain, frame, index, value, detail);
            agrees("write", written, expected);
            did(written);
            break;
        }
        case 10: {
            bool const guess = (b[7] & 2) != 0;
            auto const expected = guess && table().contains(frame) && index < entries_per_table ? page(frame)[index] : value;
            auto const seen = table().compare_exchange_entry(domain, frame, index, expected, value ^ (b[7] & 4));
            succeeded = seen.has_value() && *seen == expected;
            break;
        }
        case 11:
            did(table().take_root(domain, frame));
            if (succeeded) {
                memory().roots.try_emplace(frame.raw(), page(frame));
                memory().kept_roots.try_emplace(frame.raw(), page(frame));
            }
            break;
        case 12: drop_hold(frame, PageType::l4); break;
        case 13: did(table().take_writable(domain, frame)); break;
        case 14: drop_hold(frame, PageType::writable); break;
        case 15: did(detail ? table().share(frame, domain) : table().unshare(frame)); break;
        case 16: did(change_owner(domain, frame, detail)); break;
        case 17: tear_down(domain, b[7]); break;
        case 18:
        case 19: guest_store(domain, frame, index, value, b[7]); break;
        case 20:
        case 21: did(map_grant(domain, frame, index, Entry{value})); break;
        case 22: unmap_grant(b[7]); break;
        case 23:  // as for a copy
            did(table().take_granted(domain, target, detail));
            if (succeeded) table().drop_granted(target, detail);
            break;
        case 24: succeeded = write_run(domain, frame, index, b); break;
        default: break;
        }
        ++(succeeded ? statistics_.done : statistics_.refused);
        if (!succeeded && changed(before))
            return "a refused operation " + std::to_string(operation) + " changed something";
        remember_stale();
        return check();
    }

    void agrees(char const* operation, Result<void> const& result, std::optional<Error> expected)
    {
        if (result.has_value() == !expected && (result || result.error() == *expected))
            return;
        auto const text = [](std::optional<Error> error) { return error ? "error " + std::to_string(static_cast<int>(*error)) : std::string{"success"}; };
        memory().complaint = std::string{operation} + ": " + text(result ? std::optional<Error>{} : result.error()) + ", but by the tables it is " + text(expected);
    }

    // Mostly the operands are made to fit the operation, or few operations would get past the first check.
    void guide(unsigned operation, DomainId domain, MachineFrame& frame, MachineFrame& target)
    {
        auto find = [&](MachineFrame& from, auto fits) {
            for (std::uint64_t i = 0; i < ram; ++i) {
                MachineFrame const candidate{(from.raw() + i) % ram};
                if (table().owner(candidate) == domain && fits(table().type(candidate))) {
                    from = candidate;
                    return;
                }
            }
        };
        if (operation <= 3)
            return find(frame, [](PageType t) { return t == PageType::none; });
        if (operation == 11)
            return find(frame, [](PageType t) { return t == PageType::l4; });
        if (operation == 20 || operation == 21)
            return find(frame, [](PageType t) { return t == PageType::l1; });
        if (operation == 4 || (operation >= 5 && operation <= 10) || operation == 24)
            find(frame, [](PageType t) { return is_table(t); });
        else if (operation >= 18)
            find(frame, [](PageType t) { return !is_table(t); });
        if (auto const level = level_of(table().type(frame)); level > 1)
            find(target, [=](PageType t) { return level_of(t) == level - 1; });
    }

    static std::uint64_t entry(MachineFrame target, std::uint8_t low, std::uint8_t high)
    {
        static constexpr unsigned others[] = {3, 4, 7, 8, 9, 11, 45, 46, 50, 51, 52, 58, 59, 60, 62, 63};
        std::uint64_t bits = low;
        if ((high & 3) != 0)
            bits = (bits & ~std::uint64_t{0x98}) | 1;  // mostly present and well-formed
        bits |= std::uint64_t{high & 0x04U} << 61;     // NX
        if ((high & 0xf0) == 0xf0)
            bits |= std::uint64_t{1} << others[high & 0xf];  // sometimes any of the others
        return make_entry(target, bits).raw;
    }

    // Random contents are rarely fit to be a table: mostly the frame is cleared first, as a guest would.
    Result<void> promote(DomainId domain, MachineFrame frame, std::uint8_t detail)
    {
        if ((detail & 0x18) != 0 && table().owner(frame) == domain && !is_table(table().type(frame)))
            page(frame).fill(0);
        auto const level = (detail & 0x20) != 0 ? 1 + detail % 4U : detail % 6U;
        auto const& before = take_snapshot(before_promotion_);
        auto const expected = oracle_.promote(domain, frame, level);
        auto result = table().promote(domain, frame, level);
        agrees("promote", result, expected);
        if (result) {
            ++statistics_.promoted;
            oracle_.promoted(frame, level);
        } else if (changed(before))
            memory().complaint = "a refused promotion changed something";
        // The clearing above is no part of the operation.
        if (!result)
            return {};
        return result;
    }

    // A run is its entries one by one, up to the first that would be refused.  False if nothing was written.
    bool write_run(DomainId domain, MachineFrame frame, unsigned first, std::span<std::uint8_t const> b)
    {
        std::array<std::uint64_t, 20> values;
        bool const keep = (b[7] & 1) != 0;
        for (unsigned i = 0; i < values.size(); ++i)
            values[i] = (b[4] >> i % 8 & 1) != 0 ? 0 : entry(MachineFrame{(b[4] + i / 4) % (outside + 2)}, b[5], i < b[7] / 8U ? 0 : b[6]);
        auto const run = std::span{values}.first(1 + b[7] % values.size());
        auto const before = table().contains(frame) ? page(frame) : Page{};
        auto const written = table().write_entries(domain, frame, first, run, keep);
        for (std::size_t i = 0; table().contains(frame) && i < run.size() && first + i < entries_per_table; ++i) {
            auto const kept = keep ? Entry::accessed | Entry::dirty : 0;
            auto const now = page(frame)[first + i];
            if (i < written.count ? ((now ^ run[i]) & ~kept) != 0 : now != before[first + i])
                memory().complaint = "a run wrote something else";
        }
        if (written.result.has_value() != (written.count == run.size()))
            memory().complaint = "a run ended early, or with an error that is none";
        if (!written.result && first + run.size() <= entries_per_table &&
            table().write_entry(domain, frame, first + static_cast<unsigned>(written.count), run[written.count], keep) != written.result)
            memory().complaint = "a run was refused what is allowed";
        return written.count != 0;
    }

    void drop_hold(MachineFrame frame, PageType type)
    {
        if (table().type(frame) != type || table().held(frame) == granted(frame, true))
            return;
        if (type == PageType::writable)
            return table().drop_writable(frame);
        table().drop_root(frame);
        if (table().held(frame) == 0)
            memory().roots.erase(frame.raw());
    }

    Result<void> change_owner(DomainId domain, MachineFrame frame, bool give)
    {
        if (!give)
            return table().release(frame, domain);
        if (table().contains(frame) && table().owner(frame) == no_owner) {
            forget_stale(frame);  // the allocator flushes
            table().assign(frame, domain);
        }
        return {};
    }

    void tear_down(DomainId domain, std::uint8_t detail)
    {
        if (!dying_) {
            if (detail >= 16)  // rarely, or nothing would live long
                return;
            dying_ = domain;
            next_ = 0;
            for (std::uint64_t i = 0; i < ram; ++i) {
                MachineFrame const frame{i};
                while (table().owner(frame) == domain && table().held(frame) > granted(frame, true))
                    drop_hold(frame, table().type(frame));
            }
            for (std::size_t i = grants_.size(); i-- > 0;)
                if (grants_[i].mapper == domain)
                    end_grant(i);
        }
        next_ = *table().tear_down(*dying_, next_, 1 + detail * 4U);
        oracle_.torn_down();
        if (next_ != table().size())
            return;
        ++statistics_.torn_down;
        auto const dead = *std::exchange(dying_, std::nullopt);
        // Another domain may have given up a mapping after the pass came by: a second one in one go frees that.
        if (table().tear_down(dead, 0, ~std::uint64_t{0}) != table().size())
            memory().complaint = "tear-down with any budget did not end";
        oracle_.torn_down();
        // What remains is only there because another domain has it mapped.
        for (std::uint64_t i = 0; i < ram; ++i)
            if (table().owner(MachineFrame{i}) == dead && !mapped_by_other(dead, MachineFrame{i}) && granted(MachineFrame{i}) == 0)
                memory().complaint = "tear-down left a frame that nobody maps";
    }

    // --- Grants: what the hypervisor's list of mappings would say ---
    struct Grant {
        DomainId mapper;
        MachineFrame frame, table;
        unsigned index;
        bool to_write;
    };
    std::uint32_t granted(MachineFrame frame, bool only_to_write = false) const
    {
        return static_cast<std::uint32_t>(std::ranges::count_if(grants_, [=](Grant const& g) { return g.frame == frame && (g.to_write || !only_to_write); }));
    }
    Result<void> map_grant(DomainId mapper, MachineFrame at, unsigned index, Entry entry)
    {
        auto const frame = entry.frame();
        auto const owner = table().owner(frame);
        if (!is_domain(owner) || owner == dying_)
            return Fail{Error::range};
        PVN_CHECK(table().take_granted(owner, frame, entry.writable()));
        if (auto const mapped = table().map_granted(mapper, at, index, entry); !mapped) {
            table().drop_granted(frame, entry.writable());
            return mapped;
        }
        grants_.push_back({mapper, frame, at, index, entry.writable()});
        return {};
    }
    void unmap_grant(std::uint8_t which)
    {
        if (!grants_.empty())
            end_grant(which % grants_.size());
    }
    void end_grant(std::size_t which)
    {
        auto const grant = grants_[which];
        grants_.erase(grants_.begin() + static_cast<std::ptrdiff_t>(which));
        table().unmap_granted(grant.mapper, grant.table, grant.index, grant.frame);
        table().drop_granted(grant.frame, grant.to_write);
    }
    bool has_granted(DomainId mapper, MachineFrame frame, bool writable) const
    {
        return std::ranges::any_of(grants_, [=](Grant const& g) { return g.mapper == mapper && g.frame == frame && (g.to_write || !writable); });
    }

    bool mapped_by_other(DomainId domain, MachineFrame frame)
    {
        bool found = false;
        each_entry([&](MachineFrame table_frame, unsigned level, unsigned, Entry e) {
            found = found || (level == 1 && e.frame() == frame && table().owner(table_frame) != domain);
        });
        return found;
    }

    // The guest writes its memory directly, which it can unless the frame is a table.
    void guest_store(DomainId domain, MachineFrame frame, unsigned index, std::uint64_t value, std::uint8_t detail)
    {
        if (table().contains(frame) && table().owner(frame) == domain && !is_table(table().type(frame)))
            page(frame)[index % entries_per_table] = detail % 4 == 0 ? 0 : value;
    }

    Page& page(MachineFrame frame) { return memory().pages[frame.raw()]; }

    bool changed(Snapshot const& before)
    {
        for (std::size_t i = 0; i < total; ++i) {
            auto const &a = before.frames[i], &b = machine_.frames[i];
            if (a.count != b.count || a.type_count != b.type_count || a.owner() != b.owner() || a.guest() != b.guest() ||
                a.held != b.held || a.type != b.type || a.has(Frame::promoted) != b.has(Frame::promoted))
                return true;
        }
        return before.pages != memory().pages || before.roots != memory().roots;
    }

    // While a frame is writable some CPU may load a writable translation of it; while it is a table some CPU may walk it.
    void remember_stale()
    {
        for (std::uint64_t i = 0; i < total; ++i) {
            if (table().type(MachineFrame{i}) == PageType::writable)
                memory().stale_writable.insert(i);
            if (is_table(table().type(MachineFrame{i})))
                memory().stale_walks.insert(i);
        }
    }
    void forget_stale(MachineFrame frame)
    {
        memory().stale_writable.erase(frame.raw());
        memory().stale_walks.erase(frame.raw());
    }

    template <class Visit>
    void each_entry(Visit visit)
    {
        for (std::uint64_t i = 0; i < total; ++i) {
            auto const level = level_of(table().type(MachineFrame{i}));
            for (unsigned k = 0; level != 0 && k < entries_per_table; ++k)
                if (Entry const e{memory().pages[i][k]}; e.present())
                    visit(MachineFrame{i}, level, k, e);
        }
    }

    // Written against the rules, not against the code: neither counts nor the audit are believed.
    std::string check()
    {
        if (!memory().complaint.empty())
            return memory().complaint;
        std::string broken;
        std::array<std::uint64_t, total> leaves{}, writable{}, parents{};
        each_entry([&](MachineFrame at, unsigned level, unsigned index, Entry e) {
            auto const owner = table().owner(at);
            auto const target = e.frame();
            auto const owner_of_target = table().owner(target);
            if (level == 4 && index == PVN_SLOT_INDEX)
                broken = "the slot's entry is present";
            if (!table().contains(target)) {
                if (level > 1 || owner != memory().privileged)
                    broken = "an entry leads out of memory";
                return;
            }
            if (level > 1) {
                ++statistics_.parents;
                ++parents[target.raw()];
                if (owner_of_target != owner || level_of(table().type(target)) != level - 1)
                    broken = "a child is no table of the level below";
                if ((e.raw & Entry::page_size) != 0)
                    broken = "a large page";
                return;
            }
            ++statistics_.leaves;
            ++leaves[target.raw()];
            writable[target.raw()] += e.writable();
            bool const own = owner_of_target == owner;
            bool const shared = owner_of_target == hypervisor_owner && table().type(target) == PageType::shared &&
                                machine_.frames[target.raw()].guest() == owner;
            bool const foreign = owner == memory().privileged && owner_of_target != hypervisor_owner && owner_of_target != no_owner;
            if (!own && !shared && !foreign && !has_granted(owner, target, e.writable()))
                broken = "a stranger maps a frame";
        });
        for (std::uint64_t i = 0; i < total; ++i) {
            MachineFrame const frame{i};
            auto const type = table().type(frame);
            if (is_table(type) && writable[i] != 0)
                broken = "a page table is mapped writable";
            if (parents[i] != 0 && !is_table(type))
                broken = "a parent names what is no table";
            if (is_table(type) && memory().stale_writable.contains(i))
                broken = "a page table may still be writable through a TLB";
            if (type == PageType::writable && memory().stale_walks.contains(i))
                broken = "a writable frame may still be walked";
            if (table().owner(frame) == no_owner && leaves[i] + parents[i] != 0)
                broken = "a free frame is in use";
            auto const root = memory().roots.find(i);
            if ((root != memory().roots.end()) != (type == PageType::l4 && table().held(frame) != 0))
                broken = "a root in use is no level-4 table";
            else if (root != memory().roots.end() && root->second != memory().pages[i])
                broken = "the copy of a root is out of date";
        }
        for (auto const& [frame, copy] : memory().kept_roots)
            if (copy != memory().pages[frame])
                broken = "the copy of a root that is kept is out of date";
        if (!broken.empty())
            return broken;
        if (auto const log = machine_.audit(steps_ % 3 == 0 ? 7 : 64); !log.list.empty())
            return "audit:\n" + log.text();
        return {};
    }

    static constexpr unsigned physical_bits = 46;
    Machine machine_{total, physical_bits};
    Oracle oracle_{machine_.table, machine_.memory, physical_bits};
    std::vector<Grant> grants_;
    Snapshot before_step_, before_promotion_;
    std::optional<DomainId> dying_;
    std::uint64_t next_ = 0;
    std::uint64_t steps_ = 0;
    Statistics statistics_;
};

}  // namespace pvn::frames::testing
