// SPDX-License-Identifier: MIT
// Hypercalls: bytes become what three domains write into their memory and which calls they make with which arguments, and what the
// registers say when a call that was stopped goes on.  The domains and the frame table are real (machine/world.hpp).
#include <array>
#include <cstdint>
#include <cstring>
#include <fuzzer/FuzzedDataProvider.h>
#include <span>

#include "arch/x86/memory_map.hpp"
#include "hypercall/dispatch.hpp"
#include "machine/world.hpp"

namespace {

using namespace pvn;
using fuzz::World;

constexpr unsigned most_steps = 48, most_turns = 64;
constexpr std::int64_t last_error = PVN_E_SHUT_DOWN;

class Guests {
public:
    Guests(World& world, FuzzedDataProvider& in) : world_{world}, in_{in} {}

    void step()
    {
        auto const number = in_.ConsumeIntegralInRange<std::uint32_t>(0, fuzz::domains_in_all - 1);
        switch (in_.ConsumeIntegralInRange(0, 8)) {
        case 0: return write(number);
        case 1: return call(number, call_number(), {});
        case 2: return call(number, PVN_MMU_QUEUE, list<pvn_mmu_op>(number));
        case 3: return call(number, PVN_DOMAIN_MMU_QUEUE, list<pvn_mmu_op>(number));
        case 4: return call(number, PVN_GRANT_MAP, list<pvn_grant_map>(number));
        case 5: return call(number, PVN_GRANT_UNMAP, list<pvn_grant_unmap>(number));
        case 6: return call(number, PVN_GRANT_COPY, list<pvn_grant_copy>(number));
        case 7: return call(number, PVN_MULTI, list<pvn_call>(number));
        default: return call(number, in_.ConsumeBool() ? PVN_MEMORY_GIVE_BACK : PVN_MEMORY_POPULATE, list<std::uint64_t>(number));
        }
    }

private:
    // Something that an argument, or a word that one points to, might be.
    std::uint64_t value(std::uint32_t number) PVN_UNCHECKED
    {
        auto const whose = [&] { return byte() < 0xc0 ? number : byte() % fuzz::domains_in_all; };
        auto const page_of = [&](std::uint64_t page) { return fuzz::guest_base + page % (fuzz::pages_each + 2) * page_size; };
        switch (byte() % 12) {
        case 0: return byte();
        case 1: return page_of(byte()) + byte() * 16u;              // a place in its memory
        case 2: return page_of(byte()) + page_size - byte();        // and one that goes on in the next page
        case 3: return world_.pfn(whose(), byte());
        case 4: return world_.pfn(whose(), byte()) * page_size + byte() * 8u;
        case 5: {                                                   // an entry of a table
            auto const owner = whose();
            auto const pfn = world_.pfn(owner, byte());
            return world_.domain(owner).p2m[pfn] * page_size | byte() | (byte() < 0x40 ? std::uint64_t{1} << 63 : 0);
        }
        case 6: return std::uint64_t{byte()} | std::uint64_t{byte()} << 32;
        case 7: return std::uint64_t{1} << byte() % 64;
        case 8: return ~std::uint64_t{byte()};
        case 9: return PVN_SLOT_BASE + byte() * page_size;
        case 10: {                                                  // a grant to somebody
            return PVN_GRANT_VALID | std::uint64_t{byte()} % 4 << PVN_GRANT_DOMAIN_SHIFT | world_.pfn(number, byte()) << PVN_GRANT_PFN_SHIFT;
        }
        default: return in_.ConsumeIntegral<std::uint64_t>();
        }
    }

    std::uint8_t byte() { return in_.ConsumeIntegral<std::uint8_t>(); }
    bool mostly() { return byte() >= 24; }
    // What is expected there, but not always.
    template <class T>
    T field(std::uint32_t number, std::uint64_t likely)
    {
        return static_cast<T>(mostly() ? likely : value(number));
    }
    std::uint16_t any_domain() { return static_cast<std::uint16_t>(byte() % 4); }

    void fill(std::uint32_t number, pvn_mmu_op& op)
    {
        auto const table = world_.pfn(number, byte() % 8) * page_size;
        bool const run = byte() % 4 == 0;
        op.kind = run ? PVN_MMU_OP_WRITE_RUN + 0u : field<std::uint32_t>(number, byte() % 8);
        op.flags = field<std::uint32_t>(number, byte() % 2 == 0 ? PVN_MMU_KEEP_AD : 0);
        bool const entry = op.kind == PVN_MMU_OP_WRITE || run;
        op.target = entry ? field<std::uint64_t>(number, table + byte() % 64 * 8u) : field<std::uint64_t>(number, world_.pfn(number, byte()));
        op.value = run ? field<std::uint64_t>(number, data_page()) : entry ? value(number) : field<std::uint64_t>(number, byte() % 5);
        op.count = run ? field<std::uint32_t>(number, byte() % 8) : field<std::uint32_t>(number, 0);
    }
    void fill(std::uint32_t number, pvn_grant_map& op)
    {
        op.domain = any_domain();
        op.flags = field<std::uint16_t>(number, byte() % 4);
        op.ref = field<std::uint32_t>(number, byte() % 16);
        op.address = field<std::uint64_t>(number, fuzz::guest_base + byte() % 64 * page_size);
    }
    void fill(std::uint32_t number, pvn_grant_unmap& op) { op.handle = field<std::uint32_t>(number, byte() % 16); }
    void fill(std::uint32_t number, pvn_grant_copy& op)
    {
        auto const offset = byte() * 16u;
        op.local = field<std::uint64_t>(number, world_.pfn(number, byte()) * page_size + byte() % 16 * 256u);
        op.ref = field<std::uint32_t>(number, byte() % 16);
        op.domain = any_domain();
        op.flags = field<std::uint16_t>(number, byte() % 2);
        op.offset = field<std::uint16_t>(number, offset);
        op.bytes = field<std::uint16_t>(number, byte());
    }
    void fill(std::uint32_t number, pvn_call& call)
    {
        call.number = call_number();
        for (auto& argument : call.argument) argument = value(number);
    }
    void fill(std::uint32_t number, std::uint64_t& pfn) { pfn = field<std::uint64_t>(number, world_.pfn(number, byte())); }

    std::uint64_t data_page() { return fuzz::guest_base + (fuzz::first_data + byte() % (fuzz::pages_each - fuzz::first_data)) * page_size; }

    struct List {
        std::uint64_t address, count;
    };

    // Some of these in a page of data; mostly told of as they are.
    template <class T>
    List list(std::uint32_t number)
    {
        std::array<T, 6> elements{};
        auto const count = in_.ConsumeIntegralInRange<std::size_t>(1, elements.size());
        for (auto& element : std::span{elements}.first(count)) fill(number, element);
        auto const page = fuzz::first_data + byte() % (fuzz::pages_each - fuzz::first_data);
        if (auto* const words = data_words(number, page)) std::memcpy(words, elements.data(), count * sizeof(T));
        return {field<std::uint64_t>(number, fuzz::guest_base + page * page_size), field<std::uint64_t>(number, count)};
    }

    // A page of the domain's own that it still has, and that is no table.
    std::uint64_t* data_words(std::uint32_t number, std::uint64_t page) PVN_UNCHECKED
    {
        auto const frame = world_.domain(number).frame(world_.pfn(number, page));
        if (!frame || frames::is_table(machine.frame_table->type(*frame))) return nullptr;
        return frame_pointer<std::uint64_t>(*frame);
    }

    std::uint64_t call_number()
    {
        auto const family = in_.ConsumeIntegralInRange<std::uint64_t>(1, 12), operation = in_.ConsumeIntegralInRange<std::uint64_t>(0, 0x18);
        return family << 8 | operation;
    }

    void write(std::uint32_t number)
    {
        auto* const words = data_words(number, in_.ConsumeIntegralInRange<std::uint64_t>(fuzz::first_data, fuzz::pages_each - 1));
        if (words == nullptr) return;
        auto at = byte() * 2u;
        for (auto left = in_.ConsumeIntegralInRange(1, 10); left > 0 && at < 512; --left) words[at++] = value(number);
    }

    // With any arguments, or with a list first (after the domain that it is for).
    void call(std::uint32_t number, std::uint64_t which, List const& list)
    {
        auto& domain = world_.domain(number);
        auto& vcpu = *domain.vcpus[in_.ConsumeIntegralInRange(0u, 1u)];
        Registers r{};
        r.rax = which;
        if (list.address == 0) {
            for (auto* const argument : {&r.rdi, &r.rsi, &r.rdx, &r.r10, &r.r8, &r.r9}) *argument = value(number);
        } else if (which == PVN_DOMAIN_MMU_QUEUE) {
            r.rdi = any_domain(), r.rsi = list.address, r.rdx = list.count;
        } else {
            r.rdi = list.address, r.rsi = list.count;
        }
        fuzz::clock_step = in_.ConsumeBool() ? 0 : 60000;
        std::uint64_t done = 0;
        auto const before = r;
        for (unsigned turn = 0;; ++turn) {
            constexpr std::uint64_t stopped = 1;
            r.rip = stopped;
            hypercall::dispatch(vcpu, r, done);
            if (r.rip == stopped) break;
            // Where it goes on stands in a register of the guest meanwhile.
            done = mostly() ? r.r11 : value(number);
            if (turn == most_turns) return;
        }
        auto const result = static_cast<std::int64_t>(r.rax);
        fuzz::expect(result >= -last_error, "what came back is neither a result nor an error");
        fuzz::expect(r.rdi == before.rdi && r.rsi == before.rsi && r.rdx == before.rdx && r.r10 == before.r10 && r.r8 == before.r8 && r.r9 == before.r9,
                     "an argument's register has changed");
        auto const family = which >> 8;
        if (!domain.privileged && (family == PVN_DOMAIN_CREATE >> 8 || family == PVN_PHYS_EOI >> 8))
            fuzz::expect(result == -PVN_E_DENIED || result == -PVN_E_NOT_IMPLEMENTED, "dom0's call for a domain that is not dom0");
        fuzz::expect(held_ranks() == 0, "a lock is still held");
    }

    World& world_;
    FuzzedDataProvider& in_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size)
{
    FuzzedDataProvider in{data, size};
    World world;
    Guests guests{world, in};
    for (unsigned i = 0; i < most_steps && in.remaining_bytes() != 0; ++i) guests.step();
    world.check();
    world.end();
    return 0;
}
