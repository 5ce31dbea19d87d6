// SPDX-License-Identifier: MIT
// pvn store: looks into the store and changes it, as dom0.
#include <fmt/format.h>

#include <charconv>

#include <nlohmann/json.hpp>

#include "lib/registry.hpp"
#include "lib/store_client.hpp"
#include "pvn/commands.hpp"

namespace pvn::tools {
namespace {

std::string joined(std::string const& path, std::string const& name) { return path.ends_with('/') ? path + name : path + "/" + name; }

// What does not belong on a terminal, as \xNN.
std::string shown(std::string_view value)
{
    std::string text;
    for (char const c : value) {
        if (c >= ' ' && c < 0x7f && c != '\\')
            text += c;
        else
            text += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
    }
    return text;
}

std::string text_of(store::Permissions const& p)
{
    auto const rights = [](bool read, bool write) { return read && write ? "rw" : read ? "r" : write ? "w" : "none"; };
    auto text = fmt::format("owner={} others={}", p.owner, rights(p.others_read, p.others_write));
    for (auto const& entry : p.entries) text += fmt::format(" {}={}", entry.domain, rights(entry.read, entry.write));
    return text;
}

nlohmann::json tree_of(StoreClient& client, std::string const& path, bool deep)
{
    nlohmann::json node{{"value", shown(client.find(path).value_or(""))}};
    if (!deep) return node;
    for (auto const& name : client.list(path)) node["children"][name] = tree_of(client, joined(path, name), true);
    return node;
}

void print_tree(StoreClient& client, std::string const& path, bool deep, bool permissions, int indent)
{
    for (auto const& name : client.list(path)) {
        auto const child = joined(path, name);
        auto const value = client.find(child);
        if (!value) continue;  // has gone meanwhile
        fmt::print("{:{}}{}{}{}\n", "", indent, name, value->empty() ? "" : " = " + shown(*value), permissions ? "   (" + text_of(client.permissions(child)) + ")" : "");
        if (deep) print_tree(client, child, true, permissions, indent + 2);
    }
}

bool parse_rights(std::string_view text, bool& read, bool& write)
{
    read = text == "r" || text == "rw";
    write = text == "w" || text == "rw";
    return read || write || text == "none";
}

}  // namespace

int store_list(std::string const& path, bool deep, bool permissions, bool json)
{
    StoreClient client;
    if (json) {
        nlohmann::json all = nlohmann::json::object();
        for (auto const& name : client.list(path)) all[name] = tree_of(client, joined(path, name), deep);
        fmt::print("{}\n", all.dump(2));
    } else {
        print_tree(client, path, deep, permissions, 0);
    }
    return done;
}

int store_read(std::string const& path, bool json)
{
    auto const value = StoreClient{}.read(path);
    if (json)
        fmt::print("{}\n", nlohmann::json(shown(value)).dump());
    else
        fmt::print("{}\n", shown(value));
    return done;
}

int store_write(std::string const& path, std::string const& value)
{
    StoreClient{}.write(path, value);
    return done;
}

int store_remove(std::string const& path)
{
    StoreClient{}.remove(path);
    return done;
}

int store_watch(std::string const& path, std::uint32_t depth, std::optional<std::uint32_t> count, bool json)
{
    note_interruptions();
    StoreClient client;
    client.watch(path, depth, 1);
    for (std::uint32_t seen = 0; !count || seen < *count; ++seen) {
        auto const event = client.wait_for_event();
        auto const value = event.path.empty() ? std::nullopt : client.find(event.path);
        if (json)
            fmt::print("{}\n", nlohmann::json{{"path", event.path}, {"value", value ? nlohmann::json(shown(*value)) : nlohmann::json{}}}.dump());
        else if (event.path.empty())
            fmt::print("(more than was kept has happened below {})\n", path);
        else
            fmt::print("{}{}\n", event.path, value ? value->empty() ? "" : " = " + shown(*value) : " (none)");
        std::fflush(stdout);
    }
    return done;
}

int store_chmod(std::string const& path, std::vector<std::string> const& rights)
{
    StoreClient client;
    auto permissions = client.permissions(path);
    if (rights.empty()) {
        fmt::print("{}\n", text_of(permissions));
        return done;
    }
    permissions.entries.clear();
    for (auto const& right : rights) {
        auto const middle = right.find('=');
        auto const who = right.substr(0, middle), what = middle == std::string::npos ? "" : right.substr(middle + 1);
        auto const number = [&](std::string const& text) {
            unsigned value = 0x8000;
            if (auto const [end, error] = std::from_chars(text.data(), text.data() + text.size(), value); error != std::errc{} || end != text.data() + text.size() || value > 0x7fef)
                throw Problem{fmt::format("{} is no domain's number", text)};
            return static_cast<store::Domain>(value);
        };
        if (who == "owner") {
            permissions.owner = number(what);
            continue;
        }
        bool read = false, write = false;
        if (!parse_rights(what, read, write)) throw Problem{fmt::format("what is {}? Permissions are owner=DOMAIN, others=RIGHTS or DOMAIN=RIGHTS, with r, w, rw or none for RIGHTS", right)};
        if (who == "others")
            permissions.others_read = read, permissions.others_write = write;
        else
            permissions.entries.push_back({number(who), read, write});
    }
    client.set_permissions(path, permissions);
    return done;
}

}  // namespace pvn::tools
