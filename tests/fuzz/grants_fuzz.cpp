// SPDX-License-Identifier: MIT
// Grants: bytes become what a granter writes into its words and what its peers do with them, beside a model that keeps a list of every use.
#include <algorithm>
#include <array>
#include <cstdlib>
#include <span>
#include <tuple>
#include <vector>

#include "grant/mappings.hpp"
#include "grant/table.hpp"

namespace {

using namespace pvn;
using namespace pvn::grant;

void expect(bool condition)
{
    if (!condition) std::abort();
}

constexpr std::uint32_t pages = 2, words_in_all = pages * PVN_GRANTS_PER_PAGE;

class Granter {
public:
    Granter()
    {
        for (std::uint32_t i = 0; i < pages; ++i) table_.add({words_.data() + i * PVN_GRANTS_PER_PAGE, users_.data() + i * PVN_GRANTS_PER_PAGE});
    }

    // operation, two bytes of reference, peer, bits of the word, frame
    void step(std::span<std::uint8_t const> b)
    {
        // Few references, so that they meet; sometimes any.
        auto const ref = b[1] < 0xf0 ? std::uint32_t{b[1]} % 8 * 131 : std::uint32_t{b[1]} << 8 | b[2];
        DomainId const peer{static_cast<std::uint16_t>(b[3] % 3)};
        switch (b[0] % 8) {
        case 0:
        case 1: write(ref, peer, b); break;
        case 2:
        case 3: take(ref, peer, false); break;
        case 4: take(ref, peer, true); break;
        case 5:
        case 6: drop(b[1]); break;
        default:
            if (b[1] == 0xff && b[2] == 0xff) end();
            break;
        }
        check();
    }

private:
    struct Use {
        std::uint32_t ref;
        bool to_write;
    };

    // Hostile: any value, at any time; mostly one that grants something.
    void write(std::uint32_t ref, DomainId peer, std::span<std::uint8_t const> b)
    {
        if (ref >= words_in_all) return;
        std::uint64_t bits = b[4];
        if ((b[5] & 0xc0) == 0) bits |= std::uint64_t{b[2]} << 8;  // reserved ones too
        if ((b[5] & 0xc0) == 0x40) bits &= PVN_GRANT_VALID | PVN_GRANT_READ_ONLY;
        words_[ref] = bits | std::uint64_t{peer.raw()} << PVN_GRANT_DOMAIN_SHIFT | std::uint64_t{b[5]} << PVN_GRANT_PFN_SHIFT;
    }

    void take(std::uint32_t ref, DomainId peer, bool to_write)
    {
        auto const word = ref < words_in_all ? words_[ref] : 0;
        auto const taken = table_.take(ref, peer, to_write);
        // The rules of docs/abi/grant.md, in their order.
        if (ended_ || ref >= words_in_all) return expect(!taken && taken.error() == Error::invalid);
        if ((word & PVN_GRANT_VALID) == 0) return expect(!taken && taken.error() == Error::denied);
        if ((word & PVN_GRANT_RESERVED) != 0) return expect(!taken && taken.error() == Error::invalid);
        if ((word >> PVN_GRANT_DOMAIN_SHIFT & 0xffff) != peer.raw()) return expect(!taken && taken.error() == Error::denied);
        if (to_write && (word & PVN_GRANT_READ_ONLY) != 0) return expect(!taken && taken.error() == Error::denied);
        expect(taken && taken->raw() == word >> PVN_GRANT_PFN_SHIFT);
        expect(words_[ref] == (word | std::uint64_t{to_write ? unsigned{PVN_GRANT_WRITING} : unsigned{PVN_GRANT_READING}}));
        uses_.push_back({ref, to_write});
    }

    void drop(std::uint8_t which)
    {
        if (uses_.empty()) return;
        auto const use = uses_.begin() + which % static_cast<std::ptrdiff_t>(uses_.size());
        auto const [ref, to_write] = *use;
        uses_.erase(use);
        auto const before = words_[ref];
        table_.drop(ref, to_write);
        std::uint64_t const mark = to_write ? PVN_GRANT_WRITING : PVN_GRANT_READING;
        expect(words_[ref] == (ended_ || count(ref, to_write) != 0 ? before : before & ~mark));
    }

    void end()
    {
        table_.end();
        ended_ = true;
    }

    std::uint32_t count(std::uint32_t ref, bool to_write) const
    {
        return static_cast<std::uint32_t>(std::ranges::count_if(uses_, [&](Use const& use) { return use.ref == ref && use.to_write == to_write; }));
    }

    void check() const
    {
        expect(table_.in_use() == uses_.size());
        if (ended_) return;
        for (auto const& use : uses_)
            expect(users_[use.ref].readers == count(use.ref, false) && users_[use.ref].writers == count(use.ref, true));
    }

    std::array<std::uint64_t, words_in_all> words_{};
    std::array<Users, words_in_all> users_{};
    Table table_;
    std::vector<Use> uses_;
    bool ended_ = false;
};

// Handles, beside the set of those that are out.
class Handles {
public:
    void step(std::span<std::uint8_t const> b)
    {
        auto const handle = b[1] < 0x80 ? std::uint32_t{b[1]} : std::uint32_t{b[1]} << 24 | std::uint32_t{b[2]} << 8 | b[3];
        switch (b[0] % 4) {
        case 0: reserve(b[4]); break;
        case 1: find(handle); break;
        case 2:
            if (!out_.empty()) release(out_[b[1] % out_.size()]);
            break;
        default: first_from(handle); break;
        }
        expect(mappings_.count() == out_.size() && std::ranges::is_sorted(out_));
    }

private:
    void reserve(std::uint8_t mark)
    {
        if (mappings_.wants_page(1)) {
            if (page_ == memory_.size()) return expect(!mappings_.reserve());
            mappings_.add_page(memory_[page_++].data());
        }
        auto const handle = mappings_.reserve();
        expect(handle && !std::ranges::binary_search(out_, *handle) && *handle < page_ * Mappings::per_page);
        mappings_.at(*handle) = {MachineFrame{*handle}, MachineFrame{mark}, *handle, DomainId{1}, 0, false, true, false, 0, 0};
        out_.insert(std::ranges::upper_bound(out_, *handle), *handle);
    }
    void release(std::uint32_t handle)
    {
        expect(mappings_.at(handle).ref == handle);
        mappings_.release(handle);
        std::erase(out_, handle);
    }
    void find(std::uint32_t handle)
    {
        auto const found = mappings_.find(handle);
        expect(found.has_value() == std::ranges::binary_search(out_, handle));
        if (found) expect((*found)->frame == MachineFrame{handle});
    }
    void first_from(std::uint32_t handle)
    {
        auto const first = mappings_.first_from(handle);
        auto const expected = std::ranges::lower_bound(out_, handle);
        expect(first.has_value() == (expected != out_.end()) && (!first || *first == *expected));
    }

    static constexpr std::size_t most_pages = 2;
    std::array<std::array<Mapping, Mappings::per_page>, most_pages> memory_{};
    std::size_t page_ = 0;
    Mappings mappings_;
    std::vector<std::uint32_t> out_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size)
{
    Granter granter;
    Handles handles;
    constexpr std::size_t step = 6;
    for (std::span bytes{data, size}; bytes.size() > step; bytes = bytes.subspan(step + 1)) {
        if (bytes[0] % 4 != 0)
            granter.step(bytes.subspan(1, step));
        else
            handles.step(bytes.subspan(1, step));
    }
    return 0;
}
