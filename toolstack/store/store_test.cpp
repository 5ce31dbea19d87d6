// SPDX-License-Identifier: MIT
// The store: its rules, its limits, transactions against a model, and streams of bytes that nobody would send.
#include "store/store.hpp"

#include <gtest/gtest.h>

#include <random>

#include "store/limits.hpp"
#include "store/protocol.hpp"

namespace pvn::store {
namespace {

constexpr Connection root = 1000, seven = 7, eight = 8;

struct StoreTest : ::testing::Test {
    Store store;
    StoreTest()
    {
        store.open(root, dom0);
        for (auto const domain : {Domain{7}, Domain{8}}) {
            store.open(domain, domain);
            auto const home = "/local/domain/" + std::to_string(domain);
            EXPECT_TRUE(store.write(root, 0, home, ""));
            EXPECT_TRUE(store.set_permissions(root, 0, home, {domain, false, false, {}}));
        }
    }
    std::vector<std::string> events(Connection connection)
    {
        std::vector<std::string> all;
        while (auto event = store.take_event(connection)) all.push_back(event->path);
        return all;
    }
};
using Texts = std::vector<std::string>;

TEST_F(StoreTest, KeepsValues)
{
    ASSERT_TRUE(store.write(root, 0, "/a/b/c", "x"));
    EXPECT_EQ(store.read(root, 0, "/a/b/c").value(), "x");
    EXPECT_EQ(store.read(root, 0, "/a/b").value(), "");
    EXPECT_EQ(store.read(root, 0, "/a/c").error(), Error::not_found);
    std::string const bytes("\0\n\xff", 3);
    ASSERT_TRUE(store.write(root, 0, "/a/b/c", bytes));
    EXPECT_EQ(store.read(root, 0, "/a/b/c").value(), bytes);
    ASSERT_TRUE(store.remove(root, 0, "/a/b"));
    EXPECT_EQ(store.read(root, 0, "/a/b/c").error(), Error::not_found);
    EXPECT_EQ(store.remove(root, 0, "/a/b").error(), Error::not_found);
    EXPECT_EQ(store.remove(root, 0, "/").error(), Error::invalid);
}

TEST_F(StoreTest, PathsAreWhatTheySay)
{
    ASSERT_TRUE(store.write(seven, 0, "device/x", "1"));
    EXPECT_EQ(store.read(root, 0, "/local/domain/7/device/x").value(), "1");
    for (auto const* path : {"//", "/a/", "/a//b", "/a b", "/.", "/a/..", "a/", "/a/\x01", "/\xc3\xa4"}) EXPECT_EQ(store.read(root, 0, path).error(), Error::invalid) << path;
    EXPECT_EQ(store.write(root, 0, "/" + std::string(limits::name + 1, 'n'), "").error(), Error::invalid);
    EXPECT_TRUE(store.write(root, 0, "/" + std::string(limits::name, 'n'), ""));
    std::string deep;
    for (std::size_t i = 0; i < limits::depth; ++i) deep += "/d";
    EXPECT_TRUE(store.write(root, 0, deep, ""));
    EXPECT_EQ(store.write(root, 0, deep + "/d", "").error(), Error::invalid);
    std::string longest;
    while (longest.size() + 53 <= limits::path) longest += "/" + std::string(50, 'p');
    longest += "/" + std::string(limits::path - longest.size() - 1, 'p');
    EXPECT_EQ(longest.size(), limits::path);
    EXPECT_TRUE(store.write(root, 0, longest, ""));
    EXPECT_EQ(store.write(root, 0, longest + "p", "").error(), Error::invalid);
    // Relative, it would be longer than it looks.
    EXPECT_EQ(store.write(seven, 0, longest.substr(1), "").error(), Error::invalid);
}

TEST_F(StoreTest, ListsInPieces)
{
    for (int i = 0; i < 40; ++i) ASSERT_TRUE(store.write(seven, 0, "many/" + std::to_string(i), ""));
    std::set<std::string> all;
    std::string after;
    for (bool more = true; more;) {
        auto const listing = store.list(seven, 0, "many", after).value();
        EXPECT_LE(listing.names.size(), limits::names);
        all.insert(listing.names.begin(), listing.names.end());
        after = listing.names.back();
        more = listing.more;
    }
    EXPECT_EQ(all.size(), 40u);
}

TEST_F(StoreTest, PermissionsHold)
{
    ASSERT_TRUE(store.write(seven, 0, "mine", "secret"));
    EXPECT_EQ(store.read(eight, 0, "/local/domain/7/mine").error(), Error::denied);
    EXPECT_EQ(store.list(eight, 0, "/local/domain/7", "").error(), Error::denied);
    EXPECT_EQ(store.write(eight, 0, "/local/domain/7/mine", "").error(), Error::denied);
    EXPECT_EQ(store.write(eight, 0, "/local/domain/7/new", "").error(), Error::denied);
    EXPECT_EQ(store.write(eight, 0, "/new", "").error(), Error::denied);
    EXPECT_EQ(store.remove(eight, 0, "/local/domain/7/mine").error(), Error::denied);
    EXPECT_EQ(store.permissions(eight, 0, "/local/domain/7/mine").error(), Error::denied);
    EXPECT_EQ(store.set_permissions(eight, 0, "/local/domain/7/mine", {8, true, true, {}}).error(), Error::denied);
    EXPECT_EQ(store.set_permissions(seven, 0, "mine", {8, true, true, {}}).error(), Error::denied);  // cannot be given away
    ASSERT_TRUE(store.set_permissions(seven, 0, "mine", {7, false, false, {{8, true, false}}}));
    EXPECT_EQ(store.read(eight, 0, "/local/domain/7/mine").value(), "secret");
    EXPECT_EQ(store.write(eight, 0, "/local/domain/7/mine", "").error(), Error::denied);
    ASSERT_TRUE(store.set_permissions(seven, 0, "mine", {7, false, true, {{8, false, false}}}));
    EXPECT_EQ(store.write(eight, 0, "/local/domain/7/mine", "").error(), Error::denied);  // its own entry counts, not the others'
    Permissions many{7, false, false, std::vector<Permissions::Entry>(limits::access + 1, {8, true, true})};
    EXPECT_EQ(store.set_permissions(seven, 0, "mine", many).error(), Error::invalid);
    // What dom0 makes there is the domain's; what the domain makes in a node of dom0's is its own.
    ASSERT_TRUE(store.write(root, 0, "/local/domain/7/given", ""));
    EXPECT_TRUE(store.write(seven, 0, "given", "taken"));
    ASSERT_TRUE(store.write(root, 0, "/shared", ""));
    ASSERT_TRUE(store.set_permissions(root, 0, "/shared", {dom0, true, true, {}}));
    ASSERT_TRUE(store.write(seven, 0, "/shared/of7", ""));
    EXPECT_EQ(store.permissions(root, 0, "/shared/of7").value().owner, 7);
}

TEST_F(StoreTest, Quotas)
{
    auto const used = store.tree().usage(7);
    std::size_t made = 0;
    while (store.write(seven, 0, "n/" + std::to_string(made), "")) ++made;
    EXPECT_EQ(static_cast<std::size_t>(store.tree().usage(7).nodes), limits::nodes);
    EXPECT_EQ(store.write(seven, 0, "one-more", "").error(), Error::no_space);
    EXPECT_TRUE(store.write(eight, 0, "n", ""));  // that is no business of others
    ASSERT_TRUE(store.remove(seven, 0, "n"));
    EXPECT_EQ(store.tree().usage(7).nodes, used.nodes);
    std::string const big(limits::value, 'v');
    EXPECT_EQ(store.write(seven, 0, "big", big + "v").error(), Error::invalid);
    for (made = 0; store.write(seven, 0, "b/" + std::to_string(made), big);) ++made;
    EXPECT_LE(static_cast<std::size_t>(store.tree().usage(7).bytes), limits::bytes);
    EXPECT_GT(static_cast<std::size_t>(store.tree().usage(7).bytes), limits::bytes - 2 * limits::value);
    EXPECT_TRUE(store.write(seven, 0, "b/0", "smaller"));
    for (std::uint64_t i = 0; i < limits::watches; ++i) ASSERT_TRUE(store.watch(seven, "x", 0, i));
    EXPECT_EQ(store.watch(seven, "x", 0, 999).error(), Error::no_space);
    EXPECT_EQ(store.watch(seven, "x", 0, 5).error(), Error::exists);
    ASSERT_TRUE(store.unwatch(seven, "x", 5));
    EXPECT_EQ(store.unwatch(seven, "x", 5).error(), Error::not_found);
    EXPECT_TRUE(store.watch(seven, "x", 0, 999));
    for (std::size_t i = 0; i < limits::transactions; ++i) ASSERT_TRUE(store.begin(seven));
    EXPECT_EQ(store.begin(seven).error(), Error::no_space);
    EXPECT_TRUE(store.begin(eight));
}

TEST_F(StoreTest, TransactionLimits)
{
    auto const t = store.begin(seven).value();
    for (std::size_t i = 0; i < limits::operations; ++i) ASSERT_TRUE(store.write(seven, t, "t", std::to_string(i)));
    EXPECT_EQ(store.write(seven, t, "t", "").error(), Error::no_space);
    for (std::size_t i = 1; i < limits::looked_at; ++i) EXPECT_EQ(store.read(seven, t, "u/" + std::to_string(i)).error(), Error::not_found);
    EXPECT_EQ(store.read(seven, t, "one-more").error(), Error::no_space);
    EXPECT_TRUE(store.end(seven, t, true));
    EXPECT_EQ(store.read(seven, 0, "t").value(), std::to_string(limits::operations - 1));
}

TEST_F(StoreTest, Transactions)
{
    ASSERT_TRUE(store.write(seven, 0, "x", "1"));
    auto const a = store.begin(seven).value(), b = store.begin(seven).value();
    EXPECT_EQ(store.read(seven, a, "x").value(), "1");
    ASSERT_TRUE(store.write(seven, a, "y", "2"));
    EXPECT_EQ(store.read(seven, a, "y").value(), "2");
    EXPECT_EQ(store.read(seven, 0, "y").error(), Error::not_found);
    ASSERT_TRUE(store.write(seven, b, "z", "3"));
    ASSERT_TRUE(store.end(seven, b, true));  // touches nothing that a looked at
    ASSERT_TRUE(store.end(seven, a, true));
    EXPECT_EQ(store.read(seven, 0, "y").value(), "2");
    EXPECT_EQ(store.read(seven, 0, "z").value(), "3");

    auto const c = store.begin(seven).value(), d = store.begin(seven).value(), e = store.begin(seven).value();
    EXPECT_TRUE(store.read(seven, c, "x"));
    EXPECT_EQ(store.read(seven, d, "new").error(), Error::not_found);
    EXPECT_TRUE(store.list(seven, e, "/local/domain/7", ""));
    ASSERT_TRUE(store.write(seven, 0, "x", "9"));
    ASSERT_TRUE(store.write(seven, 0, "new", ""));
    for (auto const t : {c, d, e}) {
        ASSERT_TRUE(store.write(seven, t, "lost", ""));
        EXPECT_EQ(store.end(seven, t, true).error(), Error::again);
        EXPECT_EQ(store.end(seven, t, true).error(), Error::again);  // it is not known any more
    }
    EXPECT_EQ(store.read(seven, 0, "lost").error(), Error::not_found);
    EXPECT_EQ(store.end(seven, 0, true).error(), Error::invalid);
    EXPECT_EQ(store.end(eight, a, true).error(), Error::again);
}

TEST_F(StoreTest, ACommitThatDoesNotFitChangesNothing)
{
    auto const t = store.begin(seven).value();
    for (int i = 0; i < 100; ++i) ASSERT_TRUE(store.write(seven, t, "t/" + std::to_string(i), ""));
    for (std::size_t i = 0; store.write(seven, 0, "n/" + std::to_string(i), "");) ++i;
    EXPECT_EQ(store.end(seven, t, true).error(), Error::no_space);
    EXPECT_EQ(store.read(seven, 0, "t").error(), Error::not_found);
    EXPECT_EQ(static_cast<std::size_t>(store.tree().usage(7).nodes), limits::nodes);
}

TEST_F(StoreTest, Watches)
{
    ASSERT_TRUE(store.watch(seven, "a", 1, 5));
    EXPECT_EQ(events(seven), Texts{"a"});  // at once, whether there is anything or not
    ASSERT_TRUE(store.write(seven, 0, "a/b/c", ""));
    EXPECT_EQ(events(seven), (Texts{"a", "a/b"}));
    ASSERT_TRUE(store.write(seven, 0, "a/b", "x"));
    ASSERT_TRUE(store.write(seven, 0, "a/b", "y"));
    EXPECT_EQ(events(seven), Texts{"a/b"});
    ASSERT_TRUE(store.set_permissions(seven, 0, "a", {7, true, false, {}}));
    EXPECT_EQ(events(seven), Texts{"a"});
    ASSERT_TRUE(store.remove(root, 0, "/local"));
    EXPECT_EQ(events(seven), Texts{"a"});  // it went with those above it
    ASSERT_TRUE(store.unwatch(seven, "a", 5));
    ASSERT_TRUE(store.write(root, 0, "/local/domain/7/a", ""));
    EXPECT_TRUE(events(seven).empty());
}

TEST_F(StoreTest, WatchesTellNothingThatCannotBeRead)
{
    ASSERT_TRUE(store.watch(eight, "/", 16, 1));
    events(eight);
    ASSERT_TRUE(store.write(seven, 0, "secret", ""));
    ASSERT_TRUE(store.remove(seven, 0, "secret"));
    EXPECT_TRUE(events(eight).empty());
    ASSERT_TRUE(store.write(eight, 0, "open", ""));
    EXPECT_EQ(events(eight), Texts{"/local/domain/8/open"});
}

TEST_F(StoreTest, TransactionsTellWhenTheyTakeEffect)
{
    ASSERT_TRUE(store.watch(seven, "a", 9, 1));
    events(seven);
    auto const t = store.begin(seven).value();
    ASSERT_TRUE(store.write(seven, t, "a/x", ""));
    EXPECT_TRUE(events(seven).empty());
    ASSERT_TRUE(store.end(seven, t, true));
    EXPECT_EQ(events(seven), (Texts{"a", "a/x"}));
}

TEST_F(StoreTest, WhoDoesNotListenIsToldToLookAgain)
{
    ASSERT_TRUE(store.watch(seven, "a", 9, 1));
    ASSERT_TRUE(store.watch(seven, "b", 9, 2));
    for (std::size_t i = 0; i < 2 * limits::events; ++i) ASSERT_TRUE(store.write(seven, 0, "a/" + std::to_string(i), ""));
    std::set<std::uint64_t> tokens;
    std::size_t count = 0;
    while (auto const event = store.take_event(seven)) {
        EXPECT_EQ(event->path, "");
        tokens.insert(event->token);
        ++count;
    }
    EXPECT_EQ(count, 2u);
    EXPECT_EQ(tokens, (std::set<std::uint64_t>{1, 2}));
    ASSERT_TRUE(store.write(seven, 0, "a/0", "again"));
    EXPECT_EQ(events(seven), Texts{"a/0"});
}

TEST_F(StoreTest, ForgetsADomain)
{
    ASSERT_TRUE(store.write(root, 0, "/shared", ""));
    ASSERT_TRUE(store.set_permissions(root, 0, "/shared", {dom0, true, false, {{7, true, true}, {8, true, true}}}));
    ASSERT_TRUE(store.write(seven, 0, "/shared/of7/x", ""));
    ASSERT_TRUE(store.write(seven, 0, "mine", ""));
    ASSERT_TRUE(store.watch(root, "/shared/of7", 0, 1));
    events(root);
    store.close(seven);
    store.forget(7);
    EXPECT_EQ(events(root), Texts{"/shared/of7"});
    EXPECT_EQ(store.tree().usage(7).nodes, 0);
    EXPECT_EQ(store.read(root, 0, "/local/domain/7").error(), Error::not_found);
    EXPECT_EQ(store.permissions(root, 0, "/shared").value().entries, (std::vector<Permissions::Entry>{{8, true, true}}));
    EXPECT_TRUE(store.read(root, 0, "/local/domain/8"));
}

TEST_F(StoreTest, TheImageMakesTheSameTree)
{
    ASSERT_TRUE(store.write(seven, 0, "a/b", "x"));
    ASSERT_TRUE(store.set_permissions(seven, 0, "a", {7, true, false, {{8, true, true}}}));
    Store other;
    for (auto const& operation : store.image()) {
        auto const back = operation_of(record_of(operation));
        ASSERT_TRUE(back);
        ASSERT_TRUE(other.replay(*back));
    }
    auto const same = [](auto const& self, Node const& a, Node const& b) -> void {
        EXPECT_EQ(a.value, b.value);
        EXPECT_EQ(a.permissions, b.permissions);
        ASSERT_EQ(a.children.size(), b.children.size());
        for (auto const& [name, child] : a.children) self(self, *child, *b.children.at(name));
    };
    same(same, *store.tree().find({}), *other.tree().find({}));
    EXPECT_EQ(store.tree().usage(7).bytes, other.tree().usage(7).bytes);
}

// Random operations and transactions of two domains: what commits is as if it had been done at that moment, all at once.
TEST_F(StoreTest, CommittedTransactionsAreSerial)
{
    std::mt19937 random{42};
    ASSERT_TRUE(store.write(root, 0, "/s", ""));
    ASSERT_TRUE(store.set_permissions(root, 0, "/s", {dom0, true, true, {}}));
    std::map<std::string, int> model;
    for (int i = 0; i < 4; ++i) {
        auto const path = "/s/" + std::to_string(i);
        ASSERT_TRUE(store.write(root, 0, path, "100"));
        ASSERT_TRUE(store.set_permissions(root, 0, path, {dom0, true, true, {}}));
    }
    struct Move {
        Connection connection;
        Store::Transaction transaction;
    };
    std::vector<Move> open;
    std::size_t committed = 0, refused = 0;
    auto const place = [&] { return "/s/" + std::to_string(random() % 4); };
    for (int step = 0; step < 6000; ++step) {
        if (open.size() < 4) {
            Connection const connection = random() % 2 ? seven : eight;
            if (auto const t = store.begin(connection)) open.push_back({connection, *t});
            continue;
        }
        auto const which = random() % open.size();
        auto const [connection, t] = open[which];
        if (random() % 3 != 0) {  // moves 1 from one node to another: the sum stays
            auto const from = place(), to = place();
            auto const x = std::stoi(store.read(connection, t, from).value());
            ASSERT_TRUE(store.write(connection, t, from, std::to_string(x - 1)));
            auto const y = std::stoi(store.read(connection, t, to).value());
            ASSERT_TRUE(store.write(connection, t, to, std::to_string(y + 1)));
        } else {
            (store.end(connection, t, true) ? committed : refused)++;
            open.erase(open.begin() + static_cast<std::ptrdiff_t>(which));
            int sum = 0;
            for (int i = 0; i < 4; ++i) sum += std::stoi(store.read(root, 0, "/s/" + std::to_string(i)).value());
            ASSERT_EQ(sum, 400);
        }
        if (store.begin(root)) store.close(root), store.open(root, dom0);
    }
    EXPECT_GT(committed, 150u);
    EXPECT_GT(refused, 150u);
}

TEST_F(StoreTest, StreamsOfBytes)
{
    auto request = blank<pvn_store_Request>();
    request.id = 77;
    request.which_what = pvn_store_Request_write_tag;
    set_text(request.what.write.path, "hello");
    auto const bytes = encode(request);
    pvn_store_Request back;
    std::size_t used = 0;
    for (std::size_t n = 0; n < bytes.size(); ++n) EXPECT_EQ(parse(std::span{bytes}.first(n), back, used), Parsed::partial);
    ASSERT_EQ(parse(bytes, back, used), Parsed::message);
    EXPECT_EQ(used, bytes.size());
    EXPECT_EQ(back.id, 77u);
    EXPECT_STREQ(back.what.write.path, "hello");
    std::vector<std::uint8_t> const too_long{0xff, 0xff, 0x7f};
    EXPECT_EQ(parse(too_long, back, used), Parsed::broken);
    std::vector<std::uint8_t> const no_end{0x80, 0x80, 0x80};
    EXPECT_EQ(parse(no_end, back, used), Parsed::broken);

    std::mt19937 random{7};
    std::size_t understood = 0;
    for (int round = 0; round < 50000; ++round) {
        auto damaged = bytes;
        for (int i = 0; i < 3; ++i) damaged[random() % damaged.size()] = static_cast<std::uint8_t>(random());
        if (parse(damaged, back, used) != Parsed::message) continue;
        ++understood;
        auto const reply = answer(store, seven, back);
        EXPECT_FALSE(encode(reply).empty());
    }
    EXPECT_GT(understood, 1000u);
}

TEST_F(StoreTest, Answers)
{
    auto const ask = [&](pvn_store_Request const& request) { return answer(store, seven, request).what.reply; };
    auto request = blank<pvn_store_Request>();
    EXPECT_EQ(ask(request).error, static_cast<std::uint32_t>(PVN_E_NOT_IMPLEMENTED));
    request.which_what = pvn_store_Request_introduce_tag;
    EXPECT_EQ(ask(request).error, static_cast<std::uint32_t>(PVN_E_NOT_IMPLEMENTED));
    request.which_what = pvn_store_Request_read_tag;
    request.id = 3;
    EXPECT_EQ(ask(request).id, 3u);
    set_text(request.what.read.path, "none");
    EXPECT_EQ(ask(request).error, static_cast<std::uint32_t>(PVN_E_NOT_FOUND));
    request = blank<pvn_store_Request>();
    request.which_what = pvn_store_Request_set_permissions_tag;
    request.what.set_permissions.permissions.owner = 70000;
    EXPECT_EQ(ask(request).error, static_cast<std::uint32_t>(PVN_E_INVALID));
    request = blank<pvn_store_Request>();
    request.which_what = pvn_store_Request_begin_tag;
    auto const begun = ask(request);
    EXPECT_EQ(begun.which_what, pvn_store_Reply_transaction_tag);
    // Not a text at all: no terminating zero fits.
    char small[4];
    EXPECT_FALSE(set_text(small, "four"));
    EXPECT_FALSE(set_text(small, std::string_view{"a\0b", 3}));
    EXPECT_TRUE(set_text(small, "abc"));
}

}  // namespace
}  // namespace pvn::store
