// SPDX-License-Identifier: MIT
// Several vCPUs do contrary things to the same frames, tables, roots, ports and vCPUs at the same time: whatever each call
// answers, it is one of the ABI's answers, and after each round the audit finds the machine as it should be.  The other vCPUs stop for it, so nothing is
// excused by something that was under way.
#include "hostile.hpp"
#include "smp.hpp"

char const guest_name[] = "hostile_races";

namespace {

constexpr std::uint64_t most_vcpus = 64, steps = 150, rounds_of_each = 4;
constexpr std::uint64_t present = 1, writable = 2;
constexpr std::uint64_t region = 0x40000000;  // its level-2 and level-1 tables are raced for
constexpr unsigned first_slot = 2, slots = 3;  // level-4 entries that are raced for: 1 TiB and on

constexpr unsigned frame_count = 6;
std::uint64_t frames[frame_count];  // pfns, mapped at VIRTUAL_BASE read-only, or not at all
std::uint64_t l1_entry, l2_entry;   // guest-physical addresses of the region's first entries
std::uint64_t roots[2];
std::uint64_t gone[2];              // pfns that come and go

std::uint64_t mfn(std::uint64_t pfn) { return guest::p2m()[pfn]; }

// --- one step each.  Each returns what a call answered. ---

long type(guest::Random& random)
{
    auto const pfn = frames[random.below(frame_count)];
    switch (random.below(4)) {
    case 0: return guest::promote(pfn, static_cast<unsigned>(1 + random.below(4)));
    case 1: return guest::demote(pfn);
    default: return guest::write_entry(l1_entry + random.below(4) * 8, random.below(3) == 0 ? 0 : mfn(pfn) * 4096 | present | (random.next() & writable));
    }
}

long link_tables(guest::Random& random)
{
    auto const pfn = frames[random.below(frame_count)];
    switch (random.below(5)) {
    case 0: return guest::promote(pfn, 1);
    case 1: return guest::demote(pfn);
    // A page that is a table or not, or that names another one, as its own first entry says.
    case 2: return guest::write_entry(pfn * 4096 + random.below(2) * 8, random.below(2) == 0 ? 0 : mfn(frames[random.below(frame_count)]) * 4096 | present);
    default: return guest::write_entry(l2_entry + (1 + random.below(3)) * 8, random.below(3) == 0 ? 0 : mfn(pfn) * 4096 | present | writable);
    }
}

extern "C" char read_word[], read_word_end[];
asm(R"(
.pushsection .text
.global read_word, read_word_end
read_word:
    mov (%rdi), %rax
read_word_end:
    ret
.popsection
)");

// A load that may fault; the handler steps over it.
void try_to_read(std::uint64_t address) { asm volatile("call read_word" : : "D"(address) : "rax", "memory", "cc"); }

void on_trap(guest::Registers& r)
{
    CHECK_EQUAL(r.vector, 14u);
    CHECK_EQUAL(r.rip, reinterpret_cast<std::uint64_t>(read_word));
    r.rip = reinterpret_cast<std::uint64_t>(read_word_end);
}

long change_roots(guest::Random& random)
{
    auto const table = frames[random.below(2)];
    auto const slot = first_slot + random.below(slots);
    switch (random.below(8)) {
    case 0: return guest::promote(table, 3);
    case 1: return guest::demote(table);
    case 2: return hypercall(PVN_MMU_SET_ROOT, roots[random.below(2)]);
    case 3: return random.below(4) == 0 ? guest::demote(roots[1]) : guest::promote(roots[1], 4);
    case 4: try_to_read((slot << 39) + random.below(2) * 0x40000000); return 0;
    default: return guest::write_entry(roots[random.below(2)] * 4096 + slot * 8, random.below(3) == 0 ? 0 : mfn(table) * 4096 | present | writable);
    }
}

long events(guest::Random& random)
{
    auto const port = 1 + random.below(12), vcpu = random.below(guest::start().vcpus);
    switch (random.below(8)) {
    case 0: return hypercall(PVN_EVENT_ALLOC, 0);
    case 1: return hypercall(PVN_EVENT_BIND_DOMAIN, 0, port);
    case 2: return hypercall(PVN_EVENT_BIND_IPI, vcpu);
    case 3: return hypercall(PVN_EVENT_BIND_VIRQ, random.below(PVN_VIRQ_COUNT), vcpu);
    case 4: return hypercall(PVN_EVENT_CLOSE, port);
    case 5: return hypercall(PVN_EVENT_BIND_VCPU, port, vcpu);
    case 6: return hypercall(PVN_EVENT_UNMASK, port);
    default: return hypercall(PVN_EVENT_SEND, port);
    }
}

long memory(guest::Random& random)
{
    std::uint64_t const list[1] = {gone[random.below(2)]};
    auto const pages = reinterpret_cast<std::uint64_t>(list);
    switch (random.below(4)) {
    case 0: return hypercall(PVN_MEMORY_GIVE_BACK, pages, 1);
    case 1: return hypercall(PVN_MEMORY_POPULATE, pages, 1);
    default: {
        auto const frame = mfn(list[0]);  // it may be another one when the call is made
        return guest::write_entry(l1_entry + (8 + random.below(2)) * 8, frame == PVN_NO_FRAME || random.below(2) == 0 ? 0 : frame * 4096 | present | writable);
    }
    }
}

// The last vCPU is the one that is started and stopped.
pvn_vcpu_context victim_context;
std::uint64_t victim() { return guest::start().vcpus - 1; }

[[noreturn]] void be_started_and_stopped(std::uint64_t)
{
    for (;;) (void)hypercall(PVN_SCHED_YIELD);
}

long vcpus(guest::Random& random)
{
    switch (random.below(4)) {
    case 0: return hypercall(PVN_VCPU_INITIALISE, victim(), reinterpret_cast<std::uint64_t>(&victim_context));
    case 1: return hypercall(PVN_VCPU_DOWN, victim());
    default: return hypercall(PVN_VCPU_UP, victim());
    }
}

struct Race {
    long (*step)(guest::Random&);
    char const* name;
};
constexpr Race races[] = {{type, "types"}, {link_tables, "tables"}, {change_roots, "roots"}, {events, "events"}, {memory, "memory"}, {vcpus, "vcpus"}};

// --- rounds ---

std::uint64_t round_number, done, worked[std::size(races)];

bool is_refusal(long answer)
{
    for (auto const error : {PVN_E_DENIED, PVN_E_NOT_FOUND, PVN_E_AGAIN, PVN_E_NO_MEMORY, PVN_E_BUSY, PVN_E_EXISTS, PVN_E_INVALID, PVN_E_NO_SPACE, PVN_E_RANGE, PVN_E_WRONG_TYPE})
        if (answer == -error) return true;
    return false;
}

void race(std::uint64_t round, std::uint64_t vcpu)
{
    guest::Random random{0x9e3779b97f4a7c15 * (round * most_vcpus + vcpu + 1)};
    auto const kind = round % std::size(races);
    std::uint64_t succeeded = 0;
    for (std::uint64_t i = 0; i < steps; ++i) {
        auto const answer = races[kind].step(random);
        if (answer >= 0) {
            ++succeeded;
            continue;
        }
        if (!is_refusal(answer)) guest::fail(__FILE__, __LINE__, races[kind].name, static_cast<std::uint64_t>(answer));
    }
    __atomic_fetch_add(&worked[kind], succeeded, __ATOMIC_SEQ_CST);
}

[[noreturn]] void take_part(std::uint64_t number)
{
    guest::install_traps();
    for (std::uint64_t round = 0;; ++round) {
        guest::wait_until([&] { return guest::load(round_number) > round; });
        race(round, number);
        __atomic_fetch_add(&done, 1, __ATOMIC_SEQ_CST);
    }
}

// Pages that VIRTUAL_BASE does not map writable, so that they can become anything.
std::uint64_t page()
{
    auto* const mapped = guest::allocate_page();
    CHECK_EQUAL(guest::protect(mapped, false), 0);
    return guest::pfn_of(mapped);
}

void set_up()
{
    for (auto& pfn : frames) pfn = page();
    CHECK_EQUAL(guest::map_user(region, frames[0], present), 0);  // makes its tables
    l1_entry = guest::entry_of(region, 1);
    l2_entry = guest::entry_of(region, 2);
    CHECK(l1_entry != 0 && l2_entry != 0);

    roots[0] = guest::start().tables_pfn;
    auto* const second = guest::allocate_page();
    memcpy(second, guest::address_of(roots[0]), 4096);
    static_cast<std::uint64_t*>(second)[PVN_SLOT_INDEX] = 0;
    CHECK_EQUAL(guest::protect(second, false), 0);
    roots[1] = guest::pfn_of(second);
    CHECK_EQUAL(guest::promote(roots[1], 4), 0);

    for (auto& pfn : gone) {
        auto* const mapped = guest::allocate_page();
        pfn = guest::pfn_of(mapped);
        CHECK_EQUAL(guest::write_entry(guest::entry_of(reinterpret_cast<std::uint64_t>(mapped)), 0), 0);
    }
    victim_context = guest::secondary_context(victim(), be_started_and_stopped);
}

}  // namespace

void guest_main()
{
    guest::install_traps();
    guest::set_handler(on_trap);
    auto const count = guest::start().vcpus;
    CHECK(count >= 4 && count <= most_vcpus);
    set_up();
    for (std::uint64_t n = 1; n + 1 < count; ++n) guest::start_secondary(n, take_part);

    CHECK_EQUAL(hypercall(PVN_DOMAIN_AUDIT), 0);
    for (std::uint64_t round = 0; round < rounds_of_each * std::size(races); ++round) {
        guest::store(done, std::uint64_t{0});
        guest::store(round_number, round + 1);
        race(round, 0);
        guest::wait_until([&] { return guest::load(done) == count - 2; });
        if (auto const found = hypercall(PVN_DOMAIN_AUDIT); found != 0) {
            guest::print(races[round % std::size(races)].name);
            guest::print(": ");
            guest::fail(__FILE__, __LINE__, "audit after a race", static_cast<std::uint64_t>(found));
        }
    }
    // A race in which hardly anything can be done shows nothing.
    for (auto const& count_of_kind : worked) CHECK(count_of_kind >= rounds_of_each * (count - 1) * steps / 10);
    for (std::uint64_t n = 1; n < count; ++n) (void)hypercall(PVN_VCPU_DOWN, n);
}
