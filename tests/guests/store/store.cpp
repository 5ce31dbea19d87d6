// SPDX-License-Identifier: MIT
// A domain's end of the store, byte by byte: requests and answers, a watch that tells of what dom0 does, requests in pieces, and the
// end of it all when it sends what is none.  Without a store (as a boot-time domain) there is nothing to be seen.
#include "guest.hpp"
#include "paravane/store_ring.h"

char const guest_name[] = "store";

namespace {

std::uint32_t port;
pvn_store_ring* ring;

std::uint32_t load(std::uint32_t const& index) { return __atomic_load_n(&index, __ATOMIC_ACQUIRE); }

void wait()
{
    std::uint32_t const list[] = {port};
    CHECK_EQUAL(hypercall(PVN_SCHED_POLL, reinterpret_cast<std::uint64_t>(list), 1, 0), 0);
    __atomic_fetch_and(&guest::domain().event_pending[port / 64], ~(std::uint64_t{1} << port % 64), __ATOMIC_SEQ_CST);
}

void put(std::string_view bytes)
{
    auto const produced = ring->requests_produced;
    while (produced + bytes.size() - load(ring->requests_consumed) > PVN_STORE_REQUESTS_SIZE) wait();
    for (std::size_t i = 0; i < bytes.size(); ++i) ring->requests[(produced + i) % PVN_STORE_REQUESTS_SIZE] = static_cast<std::uint8_t>(bytes[i]);
    __atomic_store_n(&ring->requests_produced, produced + static_cast<std::uint32_t>(bytes.size()), __ATOMIC_RELEASE);
    CHECK_EQUAL(hypercall(PVN_EVENT_SEND, port), 0);
}

// The next message, without its length.
char message[1100];
std::string_view take()
{
    std::size_t have = 0;
    for (;;) {
        auto const consumed = ring->answers_consumed;
        auto const count = load(ring->answers_produced) - consumed;
        CHECK(count <= PVN_STORE_ANSWERS_SIZE);
        std::size_t length = 0, header = 0;
        bool whole = false;
        for (; header < 3 && header < count && !whole; ++header) {
            auto const byte = ring->answers[(consumed + header) % PVN_STORE_ANSWERS_SIZE];
            length |= static_cast<std::size_t>(byte & 0x7f) << 7 * header;
            whole = (byte & 0x80) == 0;
        }
        if (whole && count >= header + length) {
            CHECK(length <= sizeof message);
            for (; have < length; ++have) message[have] = static_cast<char>(ring->answers[(consumed + header + have) % PVN_STORE_ANSWERS_SIZE]);
            __atomic_store_n(&ring->answers_consumed, consumed + static_cast<std::uint32_t>(header + length), __ATOMIC_RELEASE);
            CHECK_EQUAL(hypercall(PVN_EVENT_SEND, port), 0);
            return {message, length};
        }
        wait();
    }
}

constexpr char event_tag = '\x12';

// FromStore { reply { id 1, value } } and FromStore { event { token 5, path } }.  Events come when they like.
bool is(std::string_view a, std::string_view b)
{
    bool same = a.size() == b.size();
    for (std::size_t i = 0; i < a.size() && same; ++i) same = a[i] == b[i];
    return same;
}
bool seen_event;  // on the way to a reply
std::string_view take_reply()
{
    for (;;) {
        auto const got = take();
        if (got.empty() || got[0] != event_tag) return got;
        seen_event = true;
    }
}
void expect(std::string_view what)
{
    auto const got = what[0] == event_tag ? take() : take_reply();
    if (is(got, what)) return;
    for (char const c : got) guest::print_hex(static_cast<unsigned char>(c));
    CHECK(is(got, what));
}

using namespace std::string_view_literals;

}  // namespace

void guest_main()
{
    guest::install_traps();
    port = guest::start().store_port;
    if (port == 0) {
        CHECK_EQUAL(guest::start().store_pfn, 0u);
        return;
    }
    ring = static_cast<pvn_store_ring*>(guest::address_of(guest::start().store_pfn));
    while (load(ring->state) != PVN_STORE_SERVED) (void)hypercall(PVN_SCHED_YIELD);

    // Request { id 1, read { path "name" } }: the domain is called "s".
    put("\x0a\x08\x01\x52\x06\x0a\x04name"sv);
    expect("\x0a\x05\x08\x01\x52\x01s"sv);
    // Request { id 2, write { path "state", value "on" } }, in two pieces.
    put("\x0f\x08\x02\x5a"sv);
    put("\x0b\x0a\x05state\x12\x02on"sv);
    expect("\x0a\x02\x08\x02"sv);
    // Its name is not its to change: denied, 1.
    put("\x0d\x08\x03\x5a\x09\x0a\x04name\x12\x01x"sv);
    expect("\x0a\x04\x08\x03\x10\x01"sv);
    // Nor may it introduce domains: Request { id 4, introduce { domain 9 } }.
    put("\x07\x08\x04\xf2\x01\x02\x08\x09"sv);
    expect("\x0a\x04\x08\x04\x10\x01"sv);
    // Request { id 5, watch { path "control", token 5 } }; the first event comes at once.
    put("\x10\x08\x05\x82\x01\x0b\x0a\x07""control\x18\x05"sv);
    expect("\x0a\x02\x08\x05"sv);
    expect("\x12\x0b\x08\x05\x12\x07""control"sv);
    // Each event says no more than: look.  Request { id 6, read { path "control" } }
    seen_event = false;
    do {
        if (!seen_event) expect("\x12\x0b\x08\x05\x12\x07""control"sv);
        seen_event = false;
        put("\x0d\x08\x06\x52\x09\x0a\x07""control"sv);
    } while (!is(take_reply(), "\x0a\x06\x08\x06\x52\x02go"sv));
    // Many in a row, more than the ring holds.
    for (int i = 0; i < 500; ++i) {
        put("\x0a\x08\x01\x52\x06\x0a\x04name"sv);
        put("\x0a\x08\x01\x52\x06\x0a\x04name"sv);
        expect("\x0a\x05\x08\x01\x52\x01s"sv);
        expect("\x0a\x05\x08\x01\x52\x01s"sv);
    }
    // A length that no request has.
    put("\xff\xff\x7f"sv);
    while (load(ring->state) != PVN_STORE_BROKEN) wait();
    __atomic_store_n(&ring->requests_produced, 0x12345678u, __ATOMIC_RELEASE);
    __atomic_store_n(&ring->answers_consumed, 0x87654321u, __ATOMIC_RELEASE);
    for (int i = 0; i < 1000; ++i) (void)hypercall(PVN_EVENT_SEND, port);
    CHECK_EQUAL(ring->state, PVN_STORE_BROKEN);
}
