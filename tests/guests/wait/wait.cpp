// SPDX-License-Identifier: MIT
// PVN_SCHED_WAIT does first what it is told to: it copies what is granted, then sets a word, so that whoever sees the word sees the data,
// then sends an event, and waits.  If something of that fails, what comes after it is not done, and nothing is waited for: this domain has
// nothing that would end a wait, so one that should not be is a test that does not end.
#include <iterator>

#include "smp.hpp"

char const guest_name[] = "wait";

namespace {

constexpr unsigned most = PVN_GRANT_BATCH;
constexpr std::uint32_t source_ref = 0, constant_ref = 1, no_ref = 2;

std::uint64_t* source;
std::uint64_t *landing[8];
pvn_grant_copy copies[most];
std::uint32_t word;
std::uint64_t own;  // a port to oneself

std::uint64_t address_of(void const* p) { return reinterpret_cast<std::uint64_t>(p); }

bool came()
{
    auto& bits = guest::domain().event_pending[own / 64];
    bool const is = (__atomic_fetch_and(&bits, ~(std::uint64_t{1} << own % 64), __ATOMIC_SEQ_CST) >> own % 64 & 1) != 0;
    guest::vcpu().event_pending = 0;
    guest::vcpu().pending_words = 0;
    return is;
}

// From the source to the landing pages, one after the other.
void fill(unsigned count)
{
    for (unsigned i = 0; i < count; ++i)
        copies[i] = {guest::pfn_of(landing[i % std::size(landing)]) * 4096, source_ref, static_cast<std::uint16_t>(guest::start().domain_id), 0, 0, 4096, 0};
}

long wait(std::uint64_t port, unsigned count, void const* at, std::uint64_t value)
{
    return hypercall(PVN_SCHED_WAIT, port, address_of(copies), count, address_of(at), value);
}

// --- whoever sees the word sees the data -----------------------------------------------------------------------------

constexpr std::uint32_t rounds = 200;
std::uint32_t seen;

void watch(std::uint64_t)
{
    guest::vcpu().event_mask = 1;
    for (std::uint32_t round = 1; round <= rounds; ++round) {
        guest::wait_until([round] { return guest::load(word) == round; });
        for (auto* const page : landing)
            for (auto const i : {0, 511}) CHECK_EQUAL(__atomic_load_n(&page[i], __ATOMIC_RELAXED), round);
        guest::store(seen, round);
    }
    (void)hypercall(PVN_VCPU_DOWN, 1);
}

void data_come_before_the_word()
{
    guest::store(word, 0u);
    guest::start_secondary(1, watch);
    for (std::uint32_t round = 1; round <= rounds; ++round) {
        for (unsigned i = 0; i < 512; ++i) source[i] = round;
        fill(std::size(landing));
        CHECK_EQUAL(wait(own, std::size(landing), &word, round), 0);
        CHECK(came());
        guest::wait_until([round] { return guest::load(seen) == round; });
    }
}

}  // namespace

void guest_main()
{
    guest::install_traps();
    guest::vcpu().event_mask = 1;
    auto* const table = static_cast<std::uint64_t*>(guest::allocate_page());
    source = static_cast<std::uint64_t*>(guest::allocate_page());
    for (auto& page : landing) page = static_cast<std::uint64_t*>(guest::allocate_page());
    auto const grant = [](std::uint64_t bits) {
        return bits | std::uint64_t{guest::start().domain_id} << PVN_GRANT_DOMAIN_SHIFT | guest::pfn_of(source) << PVN_GRANT_PFN_SHIFT;
    };
    CHECK_EQUAL(hypercall(PVN_GRANT_SET_TABLE, 0, guest::pfn_of(table)), 0);
    table[source_ref] = grant(PVN_GRANT_VALID);
    table[constant_ref] = grant(PVN_GRANT_VALID | PVN_GRANT_READ_ONLY);
    own = static_cast<std::uint64_t>(hypercall(PVN_EVENT_BIND_IPI, 0));

    // All of it; the longest list too, which is done in many turns.
    for (auto const count : {1u, 32u, 33u, most}) {
        for (unsigned i = 0; i < 512; ++i) source[i] = count * 1000 + i;
        for (auto* const page : landing) page[511] = 0;
        fill(count);
        CHECK_EQUAL(wait(own, count, &word, count), 0);
        CHECK(came());
        CHECK_EQUAL(word, count);
        for (unsigned i = 0; i < std::size(landing); ++i) CHECK_EQUAL(landing[i][511], i < count ? count * 1000 + 511 : 0u);
        for (unsigned i = 0; i < count; ++i) CHECK_EQUAL(copies[i].status, 0);
    }
    // Without copies there is no word either: those arguments are not looked at.
    word = 7;
    CHECK_EQUAL(hypercall(PVN_SCHED_WAIT, own, 1, 0, address_of(&word), 8), 0);
    CHECK(came());
    CHECK_EQUAL(word, 7u);

    // A copy fails: the others are done, and nothing else is.
    fill(3);
    copies[1].ref = no_ref;
    copies[2].ref = constant_ref;
    copies[2].flags = PVN_GRANT_COPY_TO;
    landing[0][511] = 0;
    CHECK_EQUAL(wait(own, 3, &word, 9), 2);
    CHECK_EQUAL(landing[0][511], source[511]);
    CHECK_EQUAL(copies[0].status, 0);
    CHECK_EQUAL(copies[1].status, -PVN_E_DENIED);
    CHECK_EQUAL(copies[2].status, -PVN_E_DENIED);
    CHECK(!came());
    CHECK_EQUAL(word, 7u);

    // The list itself.
    fill(1);
    CHECK_EQUAL(wait(own, most + 1, &word, 9), -PVN_E_INVALID);
    CHECK_EQUAL(hypercall(PVN_SCHED_WAIT, own, address_of(copies) + 4, 1, address_of(&word), 9), -PVN_E_INVALID);
    CHECK_EQUAL(hypercall(PVN_SCHED_WAIT, own, 0, 1, address_of(&word), 9), -PVN_E_BAD_ADDRESS);
    CHECK(!came());
    CHECK_EQUAL(word, 7u);

    // The word: aligned, mapped, writable, and not in the slot.
    auto const bytes = address_of(&word);
    for (auto const odd : {1, 2, 3}) CHECK_EQUAL(hypercall(PVN_SCHED_WAIT, own, address_of(copies), 1, bytes + static_cast<unsigned>(odd), 9), -PVN_E_INVALID);
    CHECK_EQUAL(guest::protect(landing[7], false), 0);
    for (std::uint64_t const bad : {std::uint64_t{0}, std::uint64_t{0x800000000000}, ~std::uint64_t{3}, address_of(landing[7]), std::uint64_t{PVN_SLOT_VCPU_PAGE},
                                    std::uint64_t{PVN_SLOT_CPU_TABLES}, address_of(guest::p2m())})
        CHECK_EQUAL(hypercall(PVN_SCHED_WAIT, own, address_of(copies), 1, bad, 9), -PVN_E_BAD_ADDRESS);
    CHECK_EQUAL(guest::protect(landing[7], true), 0);
    CHECK(!came());
    CHECK_EQUAL(word, 7u);

    // The port: the word is set by then, and takes the lower half of what it is to be.
    CHECK_EQUAL(wait(PVN_EVENT_PORTS, 1, &word, 0x500000009), -PVN_E_INVALID);
    CHECK_EQUAL(word, 9u);

    data_come_before_the_word();
}
