// SPDX-License-Identifier: MIT
#include "store/store.hpp"

#include <algorithm>
#include <span>

#include "store/limits.hpp"

namespace pvn::store {

void Store::open(Connection connection, Domain domain)
{
    close(connection);
    clients_[connection].domain = domain;
}

void Store::close(Connection connection)
{
    std::erase_if(watches_, [=](auto const& watch) { return watch.second.connection == connection; });
    clients_.erase(connection);
}

Result<Store::Open*> Store::find(Client& client, Transaction transaction)
{
    if (transaction == 0) return nullptr;
    auto const found = client.open.find(transaction);
    // One that is not known was open when the store was started anew: to do it again helps, as with a conflict.
    if (found == client.open.end()) return Fail{Error::again};
    return &found->second;
}

// Only what the transaction has not made itself can be in conflict: it is looked up in the tree as it was.
Result<void> Store::look(Open& open, Names const& path, bool children)
{
    auto const known = open.seen.find(path);
    if (known == open.seen.end() && open.seen.size() >= limits::looked_at) return Fail{Error::no_space};
    auto& seen = open.seen[path];
    auto const node = open.before.find(path);
    seen.absent = node == nullptr;
    if (node == nullptr) return {};
    if (children)
        seen.children_changed = node->children_changed;
    else
        seen.changed = node->changed;
    return {};
}

Result<NodePtr> Store::look_at(Connection connection, Transaction transaction, Names const& path, bool children)
{
    auto& client = clients_.at(connection);
    auto* const open = PVN_TRY(find(client, transaction));
    auto const node = (open != nullptr ? open->tree : tree_).find(path);
    if (open != nullptr) PVN_CHECK(look(*open, path, children));
    if (node == nullptr) return Fail{Error::not_found};
    if (!node->permissions.allow(client.domain, Access::read)) return Fail{Error::denied};
    return node;
}

Result<std::string> Store::read(Connection connection, Transaction transaction, std::string_view path)
{
    auto const names = PVN_TRY(parse_path(path, domain(connection)));
    return PVN_TRY(look_at(connection, transaction, names, false))->value;
}

Result<Listing> Store::list(Connection connection, Transaction transaction, std::string_view path, std::string_view after)
{
    auto const names = PVN_TRY(parse_path(path, domain(connection)));
    auto const node = PVN_TRY(look_at(connection, transaction, names, true));
    Listing listing{};
    for (auto child = after.empty() ? node->children.begin() : node->children.upper_bound(after); child != node->children.end(); ++child) {
        if (listing.names.size() == limits::names) {
            listing.more = true;
            break;
        }
        listing.names.push_back(child->first);
    }
    return listing;
}

Result<Permissions> Store::permissions(Connection connection, Transaction transaction, std::string_view path)
{
    auto const names = PVN_TRY(parse_path(path, domain(connection)));
    return PVN_TRY(look_at(connection, transaction, names, false))->permissions;
}

Result<void> Store::apply(Tree& tree, Operation const& operation, std::vector<Change>& changes)
{
    switch (operation.kind) {
    case Operation::Kind::write: return tree.write(operation.domain, operation.path, operation.value, changes);
    case Operation::Kind::remove: return tree.remove(operation.domain, operation.path, changes);
    case Operation::Kind::set_permissions: return tree.set_permissions(operation.domain, operation.path, operation.permissions, changes);
    }
    return Fail{Error::invalid};
}

Result<void> Store::change(Connection connection, Transaction transaction, Operation operation)
{
    auto& client = clients_.at(connection);
    operation.domain = client.domain;
    auto* const open = PVN_TRY(find(client, transaction));
    std::vector<Change> changes;
    if (open == nullptr) {
        PVN_CHECK(apply(tree_, operation, changes));
        if (on_change) on_change({operation});
        tell(changes);
        return {};
    }
    if (open->operations.size() >= limits::operations) return Fail{Error::no_space};
    PVN_CHECK(look(*open, operation.path, false));
    if (operation.kind == Operation::Kind::remove) PVN_CHECK(look(*open, operation.path, true));
    PVN_CHECK(apply(open->tree, operation, changes));
    open->operations.push_back(std::move(operation));
    return {};
}

Result<void> Store::write(Connection connection, Transaction transaction, std::string_view path, std::string_view value)
{
    auto names = PVN_TRY(parse_path(path, domain(connection)));
    return change(connection, transaction, {Operation::Kind::write, {}, std::move(names), std::string{value}, {}});
}

Result<void> Store::remove(Connection connection, Transaction transaction, std::string_view path)
{
    auto names = PVN_TRY(parse_path(path, domain(connection)));
    return change(connection, transaction, {Operation::Kind::remove, {}, std::move(names), {}, {}});
}

Result<void> Store::set_permissions(Connection connection, Transaction transaction, std::string_view path, Permissions const& permissions)
{
    auto names = PVN_TRY(parse_path(path, domain(connection)));
    return change(connection, transaction, {Operation::Kind::set_permissions, {}, std::move(names), {}, permissions});
}

Result<Store::Transaction> Store::begin(Connection connection)
{
    auto& client = clients_.at(connection);
    if (client.open.size() >= limits::transactions) return Fail{Error::no_space};
    while (client.next == 0 || client.open.contains(client.next)) ++client.next;
    auto const transaction = client.next++;
    client.open.emplace(transaction, Open{tree_, {}, {}, tree_});
    return transaction;
}

Result<void> Store::end(Connection connection, Transaction transaction, bool commit)
{
    auto& client = clients_.at(connection);
    if (transaction == 0) return Fail{Error::invalid};
    auto const open = std::move(*PVN_TRY(find(client, transaction)));
    client.open.erase(transaction);
    if (!commit) return {};
    for (auto const& [path, seen] : open.seen) {
        auto const node = tree_.find(path);
        if (seen.absent != (node == nullptr)) return Fail{Error::again};
        if (node == nullptr) continue;
        if (seen.changed && *seen.changed != node->changed) return Fail{Error::again};
        if (seen.children_changed && *seen.children_changed != node->children_changed) return Fail{Error::again};
    }
    // On a copy, for the quota may have been used up by others meanwhile.
    auto next = tree_;
    std::vector<Change> changes;
    for (auto const& operation : open.operations) PVN_CHECK(apply(next, operation, changes));
    tree_ = std::move(next);
    if (on_change && !open.operations.empty()) on_change(open.operations);
    tell(changes);
    return {};
}

Result<void> Store::watch(Connection connection, std::string_view path, std::uint32_t depth, std::uint64_t token)
{
    auto& client = clients_.at(connection);
    auto const names = PVN_TRY(parse_path(path, client.domain));
    auto const [first, last] = watches_.equal_range(names);
    for (auto it = first; it != last; ++it)
        if (it->second.connection == connection && it->second.watch.token == token) return Fail{Error::exists};
    if (client.watches >= (client.domain == dom0 ? limits::dom0_watches : limits::watches)) return Fail{Error::no_space};
    ++client.watches;
    watches_.emplace(names, Watching{connection, names, {std::string{path}, depth, token}});
    queue(client, connection, {token, std::string{path}});  // so that to watch and then to look misses nothing
    return {};
}

Result<void> Store::unwatch(Connection connection, std::string_view path, std::uint64_t token)
{
    auto& client = clients_.at(connection);
    auto const names = PVN_TRY(parse_path(path, client.domain));
    auto const [first, last] = watches_.equal_range(names);
    for (auto it = first; it != last; ++it) {
        if (it->second.connection != connection || it->second.watch.token != token) continue;
        watches_.erase(it);
        --client.watches;
        std::erase_if(client.events, [=](Event const& event) { return event.token == token; });
        std::erase_if(client.waiting, [=](Event const& event) { return event.token == token; });
        return {};
    }
    return Fail{Error::not_found};
}

void Store::forget(Domain domain)
{
    std::vector<Change> changes;
    tree_.forget(domain, changes);
    tell(changes);
}

std::optional<Event> Store::take_event(Connection connection)
{
    auto& client = clients_.at(connection);
    if (client.events.empty()) return std::nullopt;
    auto event = std::move(client.events.front());
    client.events.pop_front();
    client.waiting.erase(event);
    return event;
}

// In the order of what happened; the same thing twice only once.
void Store::queue(Client& client, Connection connection, Event event)
{
    if (client.waiting.contains(event)) return;
    if (client.events.size() >= limits::events) {
        // Too slow: each of its watches has one event that stands for all.
        client.events.clear();
        client.waiting.clear();
        for (auto const& [path, watching] : watches_)
            if (watching.connection == connection)
                if (Event all{watching.watch.token, ""}; client.waiting.insert(all).second) client.events.push_back(std::move(all));
        return;
    }
    if (client.waiting.contains({event.token, ""})) return;
    client.waiting.insert(event);
    client.events.push_back(std::move(event));
}

void Store::tell(Watching const& watching, Names const& path)
{
    auto const& text = watching.watch.text;
    auto named = text;
    for (auto i = watching.path.size(); i < path.size(); ++i) {
        if (!named.ends_with('/') && !named.empty()) named += '/';
        named += path[i];
    }
    queue(clients_.at(watching.connection), watching.connection, {watching.watch.token, std::move(named)});
}

void Store::tell(std::vector<Change> const& changes)
{
    auto const may_know = [this](Watching const& watching, Change const& change) {
        auto const domain = clients_.at(watching.connection).domain;
        return (change.before != nullptr && change.before->permissions.allow(domain, Access::read)) ||
               (change.after != nullptr && change.after->permissions.allow(domain, Access::read));
    };
    for (auto const& change : changes) {
        // Watches on the node and above it.
        auto at = change.path;
        for (std::uint32_t distance = 0;; ++distance) {
            auto const [first, last] = watches_.equal_range(at);
            for (auto it = first; it != last; ++it)
                if (distance <= it->second.watch.depth && may_know(it->second, change)) tell(it->second, change.path);
            if (at.empty()) break;
            at.pop_back();
        }
        if (change.after != nullptr) continue;
        // And below it, where a node has gone with this one.
        for (auto it = watches_.upper_bound(change.path); it != watches_.end() && std::ranges::equal(std::span{it->first}.first(std::min(it->first.size(), change.path.size())), change.path); ++it) {
            auto node = change.before;
            for (auto i = change.path.size(); node != nullptr && i < it->first.size(); ++i) {
                auto const child = node->children.find(it->first[i]);
                node = child == node->children.end() ? nullptr : NodePtr{child->second};
            }
            if (node != nullptr && node->permissions.allow(clients_.at(it->second.connection).domain, Access::read)) tell(it->second, it->first);
        }
    }
}

Result<void> Store::replay(Operation const& operation)
{
    std::vector<Change> changes;
    return apply(tree_, operation, changes);
}

std::vector<Store::Operation> Store::image() const
{
    std::vector<Operation> operations;
    auto const visit = [&](auto const& self, Names const& path, Node const& node) -> void {
        operations.push_back({Operation::Kind::write, dom0, path, node.value, {}});
        operations.push_back({Operation::Kind::set_permissions, dom0, path, {}, node.permissions});
        for (auto const& [name, child] : node.children) {
            auto below = path;
            below.push_back(name);
            self(self, below, *child);
        }
    };
    visit(visit, {}, *tree_.find({}));
    return operations;
}

std::vector<Store::Watch> Store::watches(Connection connection) const
{
    std::vector<Watch> found;
    for (auto const& [path, watching] : watches_)
        if (watching.connection == connection) found.push_back(watching.watch);
    return found;
}

}  // namespace pvn::store
