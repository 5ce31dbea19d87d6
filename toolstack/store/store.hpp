// SPDX-License-Identifier: MIT
// The store: a tree that connections read, change and watch.  Pure bookkeeping: no input or output.  docs/abi/store.md
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "store/tree.hpp"

namespace pvn::store {

// Who asks: a domain by its ring, or a program of dom0's by a socket of its own.
using Connection = std::uint32_t;

struct Event {
    std::uint64_t token;
    std::string path;  // as the watch was named: relative if that was; empty: look at all of it again
    friend auto operator<=>(Event const&, Event const&) = default;
};

struct Listing {
    std::vector<std::string> names;
    bool more;
};

// Errors are those of docs/abi/store.md, in that order.
class Store {
public:
    using Transaction = std::uint32_t;  // 0: none

    void open(Connection, Domain);
    // Ends its transactions and watches.
    void close(Connection);
    bool is_open(Connection connection) const { return clients_.contains(connection); }
    Domain domain(Connection connection) const { return clients_.at(connection).domain; }

    Result<std::string> read(Connection, Transaction, std::string_view path);
    Result<Listing> list(Connection, Transaction, std::string_view path, std::string_view after);
    Result<Permissions> permissions(Connection, Transaction, std::string_view path);
    Result<void> write(Connection, Transaction, std::string_view path, std::string_view value);
    Result<void> remove(Connection, Transaction, std::string_view path);
    Result<void> set_permissions(Connection, Transaction, std::string_view path, Permissions const&);
    Result<Transaction> begin(Connection);
    Result<void> end(Connection, Transaction, bool commit);
    Result<void> watch(Connection, std::string_view path, std::uint32_t depth, std::uint64_t token);
    Result<void> unwatch(Connection, std::string_view path, std::uint64_t token);
    // A domain is gone: what it owned, what it was let do.
    void forget(Domain);

    // The oldest event that waits, if any.
    std::optional<Event> take_event(Connection);
    bool has_event(Connection connection) const { return !clients_.at(connection).events.empty(); }

    // For who keeps a journal: called for each change of the tree that took effect, in groups that took effect together.
    struct Operation {
        enum class Kind { write, remove, set_permissions } kind;
        Domain domain;
        Names path;
        std::string value;
        Permissions permissions;
    };
    std::function<void(std::vector<Operation> const&)> on_change;
    Result<void> replay(Operation const&);
    // What makes this tree out of an empty one.
    std::vector<Operation> image() const;

    struct Watch {
        std::string text;  // as it was given
        std::uint32_t depth;
        std::uint64_t token;
    };
    std::vector<Watch> watches(Connection) const;
    Tree const& tree() const { return tree_; }

private:
    struct Seen {
        std::optional<std::uint64_t> changed, children_changed;  // nullopt: not looked at
        bool absent = false;
    };
    struct Open {
        Tree tree;  // as it was, with the transaction's own changes
        std::vector<Operation> operations;
        std::map<Names, Seen> seen;  // in what was there before
        Tree before;
    };
    struct Watching {
        Connection connection;
        Names path;
        Watch watch;
    };
    struct Client {
        Domain domain;
        std::map<Transaction, Open> open;
        Transaction next = 1;
        std::size_t watches = 0;
        std::deque<Event> events;
        std::set<Event> waiting;  // the same ones
    };

    Result<Open*> find(Client&, Transaction);
    // Notes what a transaction depends on: the node's value, or its children; no_space.
    static Result<void> look(Open&, Names const&, bool children);
    Result<NodePtr> look_at(Connection, Transaction, Names const&, bool children);
    Result<void> change(Connection, Transaction, Operation);
    static Result<void> apply(Tree&, Operation const&, std::vector<Change>&);
    void tell(std::vector<Change> const&);
    void tell(Watching const&, Names const& path);
    void queue(Client&, Connection, Event);

    Tree tree_;
    std::map<Connection, Client> clients_;
    std::multimap<Names, Watching> watches_;  // by path
};

}  // namespace pvn::store
