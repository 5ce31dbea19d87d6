// SPDX-License-Identifier: MIT
#include "store/tree.hpp"

#include <algorithm>

#include "store/limits.hpp"

namespace pvn::store {
namespace {

std::uint64_t next_version()
{
    static std::uint64_t last = 0;
    return ++last;
}

bool valid_name(std::string_view name)
{
    constexpr auto allowed = [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || std::string_view{"-_.:@+,="}.contains(c);
    };
    return !name.empty() && name.size() <= limits::name && name != "." && name != ".." && std::ranges::all_of(name, allowed);
}

std::int64_t size_of(Node const& node, std::string_view name) { return static_cast<std::int64_t>(node.value.size() + name.size()); }

}  // namespace

Result<Names> parse_path(std::string_view text, Domain of)
{
    if (text.size() > limits::path) return Fail{Error::invalid};
    Names names;
    if (text.starts_with('/'))
        text.remove_prefix(1);
    else
        names = {"local", "domain", std::to_string(of)};
    while (!text.empty()) {
        auto const end = std::min(text.find('/'), text.size());
        if (!valid_name(text.substr(0, end)) || end + 1 == text.size()) return Fail{Error::invalid};
        names.emplace_back(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    if (names.size() > limits::depth || text_of(names).size() > limits::path) return Fail{Error::invalid};
    return names;
}

std::string text_of(Names const& names)
{
    std::string text;
    for (auto const& name : names) text += '/' + name;
    return text.empty() ? "/" : text;
}

bool Permissions::allow(Domain domain, Access access) const
{
    if (domain == dom0 || domain == owner) return true;
    for (auto const& entry : entries)
        if (entry.domain == domain) return access == Access::read ? entry.read : entry.write;
    return access == Access::read ? others_read : others_write;
}

Tree::Tree()
{
    auto root = std::make_shared<Node>();
    root->permissions.others_read = true;
    root_ = std::move(root);
}

NodePtr Tree::find(Names const& path) const
{
    auto const [node, depth] = find_nearest(path);
    return depth == path.size() ? node : nullptr;
}

std::pair<NodePtr, std::size_t> Tree::find_nearest(Names const& path) const
{
    auto node = root_;
    std::size_t depth = 0;
    for (; depth < path.size(); ++depth) {
        auto const child = node->children.find(path[depth]);
        if (child == node->children.end()) break;
        node = NodePtr{child->second};
    }
    return {node, depth};
}

Usage Tree::usage(Domain domain) const
{
    auto const found = usage_.find(domain);
    return found == usage_.end() ? Usage{} : found->second;
}

void Tree::count(Node const& node, std::string_view name, int sign)
{
    auto& usage = usage_[node.permissions.owner];
    usage.nodes += sign;
    usage.bytes += sign * size_of(node, name);
    if (usage.nodes == 0) usage_.erase(node.permissions.owner);
}

void Tree::count_all(Node const& node, std::string_view name, int sign)
{
    count(node, name, sign);
    for (auto const& [child_name, child] : node.children) count_all(*child, child_name, sign);
}

Result<void> Tree::check_quota(Domain owner, std::int64_t more_nodes, std::int64_t more_bytes) const
{
    if (owner == dom0) return {};
    auto const now = usage(owner);
    // What shrinks is always welcome.
    if (more_nodes > 0 && now.nodes + more_nodes > static_cast<std::int64_t>(limits::nodes)) return Fail{Error::no_space};
    if (more_bytes > 0 && now.bytes + more_bytes > static_cast<std::int64_t>(limits::bytes)) return Fail{Error::no_space};
    return {};
}

void Tree::put(Names const& path, NodePtr node)
{
    std::vector<NodePtr> along{root_};
    for (std::size_t i = 0; i + 1 < path.size(); ++i) along.push_back(along.back()->children.find(path[i])->second);
    for (auto depth = path.size(); depth-- > 0;) {
        auto parent = std::make_shared<Node>(*along[depth]);
        auto const there = parent->children.find(path[depth]);
        if ((there == parent->children.end()) != (node == nullptr)) parent->children_changed = next_version();
        if (node == nullptr)
            parent->children.erase(there);
        else
            parent->children[path[depth]] = std::move(node);
        node = std::move(parent);
    }
    root_ = std::move(node);
}

Result<void> Tree::write(Domain domain, Names const& path, std::string_view value, std::vector<Change>& changes)
{
    if (value.size() > limits::value) return Fail{Error::invalid};
    auto const [nearest, depth] = find_nearest(path);
    if (!nearest->permissions.allow(domain, Access::write)) return Fail{Error::denied};
    if (depth == path.size()) {
        auto node = std::make_shared<Node>(*nearest);
        PVN_CHECK(check_quota(node->permissions.owner, 0, static_cast<std::int64_t>(value.size()) - static_cast<std::int64_t>(node->value.size())));
        auto const name = path.empty() ? std::string_view{} : std::string_view{path.back()};
        if (!path.empty()) count(*node, name, -1);
        node->value = value;
        node->changed = next_version();
        if (!path.empty()) count(*node, name, 1);
        changes.push_back({path, nearest, node});
        put(path, std::move(node));
        return {};
    }
    // Those on the way are made too: with the permissions of the one above, and the owner's unless dom0 makes them.
    auto permissions = nearest->permissions;
    if (domain != dom0) permissions.owner = domain;
    std::int64_t bytes = static_cast<std::int64_t>(value.size());
    for (auto i = depth; i < path.size(); ++i) bytes += static_cast<std::int64_t>(path[i].size());
    PVN_CHECK(check_quota(permissions.owner, static_cast<std::int64_t>(path.size() - depth), bytes));
    Names at{path.begin(), path.begin() + static_cast<std::ptrdiff_t>(depth)};
    for (auto i = depth; i < path.size(); ++i) {
        at.push_back(path[i]);
        auto node = std::make_shared<Node>();
        node->permissions = permissions;
        node->changed = node->children_changed = next_version();
        if (i + 1 == path.size()) node->value = value;
        count(*node, path[i], 1);
        changes.push_back({at, nullptr, node});
        put(at, std::move(node));
    }
    return {};
}

Result<void> Tree::remove(Domain domain, Names const& path, std::vector<Change>& changes)
{
    auto node = find(path);
    if (node == nullptr) return Fail{Error::not_found};
    if (path.empty()) return Fail{Error::invalid};
    if (!node->permissions.allow(domain, Access::write)) return Fail{Error::denied};
    count_all(*node, path.back(), -1);
    put(path, nullptr);
    changes.push_back({path, std::move(node), nullptr});
    return {};
}

Result<void> Tree::set_permissions(Domain domain, Names const& path, Permissions const& permissions, std::vector<Change>& changes)
{
    if (permissions.entries.size() > limits::access) return Fail{Error::invalid};
    auto const before = find(path);
    if (before == nullptr) return Fail{Error::not_found};
    if (domain != dom0 && (domain != before->permissions.owner || permissions.owner != domain)) return Fail{Error::denied};
    auto const name = path.empty() ? std::string_view{} : std::string_view{path.back()};
    if (permissions.owner != before->permissions.owner && !path.empty()) PVN_CHECK(check_quota(permissions.owner, 1, size_of(*before, name)));
    auto node = std::make_shared<Node>(*before);
    if (!path.empty()) count(*node, name, -1);
    node->permissions = permissions;
    node->changed = next_version();
    if (!path.empty()) count(*node, name, 1);
    changes.push_back({path, before, node});
    put(path, std::move(node));
    return {};
}

// The node, or what is left of it.
NodePtr Tree::without(NodePtr const& node, Names& path, Domain domain, std::vector<Change>& changes)
{
    std::shared_ptr<Node> copy;
    auto const changed = [&]() -> Node& {
        if (copy == nullptr) copy = std::make_shared<Node>(*node);
        return *copy;
    };
    for (auto const& [name, child] : node->children) {
        path.push_back(name);
        if (child->permissions.owner == domain) {
            count_all(*child, name, -1);
            changed().children.erase(name);
            changed().children_changed = next_version();
            changes.push_back({path, child, nullptr});
        } else if (auto rest = without(child, path, domain, changes); rest != child) {
            changed().children[name] = std::move(rest);
        }
        path.pop_back();
    }
    auto const granted = [=](Permissions::Entry const& entry) { return entry.domain == domain; };
    if (std::ranges::any_of(node->permissions.entries, granted)) {
        std::erase_if(changed().permissions.entries, granted);
        changed().changed = next_version();
        changes.push_back({path, node, copy});
    }
    return copy == nullptr ? node : copy;
}

void Tree::forget(Domain domain, std::vector<Change>& changes)
{
    Names path;
    root_ = without(root_, path, domain, changes);
}

}  // namespace pvn::store
