// SPDX-License-Identifier: MIT
// Requests to the store, as bytes of strangers: a byte that says who, then a message, and so on.  Whatever they are, answers fit where they
// must, and what the journal would keep makes the same tree.
#include <cstdlib>
#include <span>

#include "store/limits.hpp"
#include "store/protocol.hpp"

namespace {

using namespace pvn::store;

void expect(bool condition)
{
    if (!condition) std::abort();
}

std::vector<std::vector<std::uint8_t>> image_of(Store const& store)
{
    std::vector<std::vector<std::uint8_t>> records;
    for (auto const& operation : store.image()) records.push_back(encode(record_of(operation)));
    return records;
}

void check_answer(pvn_store_FromStore const& message)
{
    auto const bytes = encode(message);
    expect(!bytes.empty() && bytes.size() <= largest_answer);
    pvn_store_FromStore again;
    std::size_t used = 0;
    expect(parse(bytes, again, used) == Parsed::message && used == bytes.size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size)
{
    Store store, replayed;
    constexpr Connection domains = 3;
    for (Connection domain = 0; domain < domains; ++domain) store.open(domain, static_cast<Domain>(domain));
    store.on_change = [&](std::vector<Store::Operation> const& operations) {
        for (auto const& operation : operations) {
            // By way of the journal's bytes.
            auto const bytes = encode(record_of(operation));
            pvn_store_Record record;
            std::size_t used = 0;
            expect(parse(bytes, record, used) == Parsed::message);
            auto const read = operation_of(record);
            expect(read.has_value());
            expect(replayed.replay(*read).has_value());
        }
    };
    std::span<std::uint8_t const> input{data, size};
    while (!input.empty()) {
        auto const who = static_cast<Connection>(input[0] % domains);
        pvn_store_Request request;
        std::size_t used = 0;
        if (parse(input.subspan(1), request, used) != Parsed::message) break;
        expect(used > 0 && used <= largest_request);
        input = input.subspan(1 + used);
        check_answer(answer(store, who, request));
        for (Connection domain = 0; domain < domains; ++domain)
            while (auto const event = store.take_event(domain)) check_answer(message(*event));
    }
    expect(image_of(store) == image_of(replayed));
    return 0;
}
