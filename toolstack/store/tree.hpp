// SPDX-License-Identifier: MIT
// The store's tree.  Nodes do not change: a change makes new ones along its path, and who holds the old root has a snapshot.
#pragma once

#include <cstdint>
#include <expected>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "lib/result.hpp"

namespace pvn::store {

using Domain = std::uint16_t;
inline constexpr Domain dom0 = 0;

// An absolute path, as names.  The root has none.
using Names = std::vector<std::string>;
// Invalid: not of the form that docs/abi/store.md gives.  Relative ones begin below the domain's own node.
Result<Names> parse_path(std::string_view text, Domain of);
std::string text_of(Names const&);

enum class Access { read, write };

struct Permissions {
    Domain owner = dom0;
    bool others_read = false, others_write = false;
    struct Entry {
        Domain domain;
        bool read, write;
        friend bool operator==(Entry const&, Entry const&) = default;
    };
    std::vector<Entry> entries;
    bool allow(Domain, Access) const;
    friend bool operator==(Permissions const&, Permissions const&) = default;
};

struct Node;
using NodePtr = std::shared_ptr<Node const>;

struct Node {
    std::string value;
    Permissions permissions;
    std::uint64_t changed = 0;           // value and permissions: unlike any other version
    std::uint64_t children_changed = 0;  // which children there are
    std::map<std::string, NodePtr, std::less<>> children;
};

// What a domain owns.
struct Usage {
    std::int64_t nodes = 0, bytes = 0;
};

// A node that a change touched.  `before` is null if it was made, `after` if it was removed, with all below it.
struct Change {
    Names path;
    NodePtr before, after;
};

// A version of everything.  Copying it is cheap.
class Tree {
public:
    Tree();
    NodePtr find(Names const&) const;
    // The deepest node on the path that exists, and how many names lead there.
    std::pair<NodePtr, std::size_t> find_nearest(Names const&) const;
    Usage usage(Domain) const;

    // Denied, invalid (the root's removal), not_found, no_space (quota).  Nothing has changed if it fails.  What changed is added to `changes`.
    Result<void> write(Domain, Names const&, std::string_view value, std::vector<Change>& changes);
    Result<void> remove(Domain, Names const&, std::vector<Change>& changes);
    Result<void> set_permissions(Domain, Names const&, Permissions const&, std::vector<Change>& changes);
    // A domain is gone: whatever it owned, and what others granted it.
    void forget(Domain, std::vector<Change>& changes);

private:
    // Puts `node` (null: nothing) at the path, whose parent exists.
    void put(Names const&, NodePtr node);
    void count(Node const&, std::string_view name, int sign);
    void count_all(Node const&, std::string_view name, int sign);
    Result<void> check_quota(Domain owner, std::int64_t more_nodes, std::int64_t more_bytes) const;
    NodePtr without(NodePtr const&, Names& path, Domain, std::vector<Change>& changes);

    NodePtr root_;
    std::map<Domain, Usage> usage_;
};

}  // namespace pvn::store
