// SPDX-License-Identifier: MIT
#include "lib/domain_config.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#define TOML_EXCEPTIONS 1
#include <toml++/toml.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <nlohmann/json.hpp>
#include <optional>

#include "lib/cpu_list.hpp"
#include "lib/file.hpp"
#include "paravane/hypercall.h"

namespace pvn::tools {
namespace {

constexpr std::int64_t most_vcpus = 64, most_pool = 15;

// One key of the file, with what is needed to say what is wrong with it.
struct Item {
    std::string_view file, key;
    toml::node const& node;

    [[noreturn]] void wrong(std::string_view what) const
    {
        throw Problem{fmt::format("{}:{}: `{}` {}", file, node.source().begin.line, key, what)};
    }
    std::string text() const
    {
        if (auto const value = node.value_exact<std::string>()) {
            if (value->find('\0') != std::string::npos) wrong("holds a NUL character");
            return *value;
        }
        wrong("must be a text in quotes");
    }
    std::string path() const
    {
        auto value = text();
        if (value.empty()) wrong("is empty: write the path of a file, or leave the key out");
        return value;
    }
    std::uint32_t number(std::int64_t most, std::int64_t least = 1) const
    {
        auto const value = node.value_exact<std::int64_t>();
        if (!value || *value < least || *value > most) wrong(fmt::format("must be a number from {} to {}", least, most));
        return static_cast<std::uint32_t>(*value);
    }
    OnEnd on_end() const
    {
        auto const value = text();
        for (auto const end : {OnEnd::destroy, OnEnd::restart, OnEnd::preserve})
            if (value == text_of(end)) return end;
        wrong("must be \"destroy\", \"restart\" or \"preserve\"");
    }
};

std::string name(Item const& item)
{
    auto value = item.text();
    bool const good = !value.empty() && value.size() <= 64 && value.front() != '.' && value.front() != '-' && value != "dom0" &&
                      std::ranges::all_of(value, [](unsigned char c) { return std::isalnum(c) || c == '-' || c == '_' || c == '.'; }) &&
                      !std::ranges::all_of(value, [](unsigned char c) { return std::isdigit(c); });
    if (!good) item.wrong("must be 1 to 64 letters, digits, `-`, `_` or `.`, begin with none of `-` and `.`, and be neither a number nor dom0");
    return value;
}

std::string command_line(Item const& item)
{
    auto value = item.text();
    if (value.size() >= PVN_COMMAND_LINE_SIZE) item.wrong(fmt::format("is longer than {} bytes", PVN_COMMAND_LINE_SIZE - 1));
    return value;
}

std::uint64_t memory(Item const& item)
{
    auto const written = item.text();
    std::uint64_t value = 0;
    try {
        value = parse_size(written);
    } catch (Problem const& problem) {
        item.wrong(problem.what());
    }
    if (value % PVN_PAGE_SIZE != 0) item.wrong("must be a multiple of 4K");
    return value;
}

std::uint64_t cpus(Item const& item)
{
    auto const written = item.text();
    try {
        return parse_cpus(written);
    } catch (Problem const& problem) {
        item.wrong(fmt::format("does not say which CPUs: {}", problem.what()));
    }
}

// A path alone, or a table with a path and more.
DiskConfig disk(Item const& item)
{
    DiskConfig disk;
    auto const* const table = item.node.as_table();
    if (table == nullptr) {
        disk.target = item.path();
        return disk;
    }
    for (auto&& [name, node] : *table) {
        Item const part{item.file, name.str(), node};
        if (name == "target") {
            disk.target = part.path();
        } else if (name == "read_only") {
            auto const value = node.value_exact<bool>();
            if (!value) part.wrong("must be true or false");
            disk.read_only = *value;
        } else if (name == "format") {
            disk.format = part.text();
            if (disk.format != "raw" && disk.format != "qcow2") part.wrong("must be \"raw\" or \"qcow2\"");
        } else if (name == "sector_size") {
            disk.sector_size = part.number(4096, 512);
            if (disk.sector_size != 512 && disk.sector_size != 4096) part.wrong("must be 512 or 4096");
        } else {
            part.wrong("is unknown here (known: target, read_only, sector_size, format)");
        }
    }
    if (disk.format != "raw" && disk.sector_size != 0) item.wrong("has a `sector_size`, which only a raw image can have");
    if (disk.target.empty()) item.wrong("needs a `target`: the path of an image or a block device");
    return disk;
}

std::map<unsigned, DiskConfig> disks(Item const& item)
{
    constexpr std::size_t most_disks = 64;
    auto const* const list = item.node.as_array();
    if (list == nullptr) item.wrong("must be a list, such as [\"/srv/web.img\"]");
    if (list->size() > most_disks) item.wrong(fmt::format("has more than {} disks", most_disks));
    std::map<unsigned, DiskConfig> result;
    for (auto&& node : *list) {
        auto const number = static_cast<unsigned>(result.size());
        result.emplace(number, disk({item.file, item.key, node}));
    }
    return result;
}

// What a text means, or what is wrong with it, said of the key.
template <typename Parse>
auto parsed(Item const& item, Parse parse)
{
    auto const written = item.text();
    try {
        return parse(written);
    } catch (Problem const& problem) {
        item.wrong(problem.what());
    }
}

VifConfig vif(Item const& item)
{
    VifConfig vif;
    auto const* const table = item.node.as_table();
    if (table == nullptr) item.wrong("must list tables, such as [{ bridge = \"br0\" }]");
    for (auto&& [name, node] : *table) {
        Item const part{item.file, name.str(), node};
        if (name == "mac") {
            vif.mac = parsed(part, parse_mac);
        } else if (name == "bridge") {
            vif.bridge = part.path();
        } else if (name == "address") {
            vif.address = parsed(part, parse_address);
        } else if (name == "mtu") {
            vif.mtu = part.number(65535, 68);
        } else if (name == "rate") {
            vif.rate = parsed(part, parse_rate);
        } else if (name == "offload") {
            auto const value = node.value_exact<bool>();
            if (!value) part.wrong("must be true or false");
            vif.offload = *value;
        } else {
            part.wrong("is unknown here (known: mac, bridge, address, mtu, rate, offload)");
        }
    }
    return vif;
}

std::map<unsigned, VifConfig> vifs(Item const& item)
{
    constexpr std::size_t most_vifs = 16;
    auto const* const list = item.node.as_array();
    if (list == nullptr) item.wrong("must be a list, such as [{ bridge = \"br0\" }]");
    if (list->size() > most_vifs) item.wrong(fmt::format("has more than {} cards", most_vifs));
    std::map<unsigned, VifConfig> result;
    for (auto&& node : *list) {
        auto const number = static_cast<unsigned>(result.size());
        result.emplace(number, vif({item.file, item.key, node}));
    }
    return result;
}

struct Key {
    std::string_view name;
    void (*read)(DomainConfig&, Item const&);
};
constexpr std::array keys{
    Key{"name", [](DomainConfig& c, Item const& i) { c.name = name(i); }},
    Key{"kernel", [](DomainConfig& c, Item const& i) { c.kernel = i.path(); }},
    Key{"ramdisk", [](DomainConfig& c, Item const& i) { c.ramdisk = i.path(); }},
    Key{"cmdline", [](DomainConfig& c, Item const& i) { c.cmdline = command_line(i); }},
    Key{"memory", [](DomainConfig& c, Item const& i) { c.memory = memory(i); }},
    Key{"vcpus", [](DomainConfig& c, Item const& i) { c.vcpus = i.number(most_vcpus); }},
    Key{"max_vcpus", [](DomainConfig& c, Item const& i) { c.max_vcpus = i.number(most_vcpus); }},
    Key{"cpus", [](DomainConfig& c, Item const& i) { c.cpus = cpus(i); }},
    Key{"pool", [](DomainConfig& c, Item const& i) { c.pool = i.number(most_pool, 0); }},
    Key{"weight", [](DomainConfig& c, Item const& i) { c.weight = i.number(65535); }},
    Key{"disk", [](DomainConfig& c, Item const& i) { c.disks = disks(i); }},
    Key{"vif", [](DomainConfig& c, Item const& i) { c.vifs = vifs(i); }},
    Key{"on_poweroff", [](DomainConfig& c, Item const& i) { c.on_poweroff = i.on_end(); }},
    Key{"on_reboot", [](DomainConfig& c, Item const& i) { c.on_reboot = i.on_end(); }},
    Key{"on_crash", [](DomainConfig& c, Item const& i) { c.on_crash = i.on_end(); }},
};

std::string known_keys()
{
    std::string list;
    for (auto const& key : keys) list += fmt::format("{}{}", list.empty() ? "" : ", ", key.name);
    return list;
}

// A number and one of the units; nothing: neither.
template <std::size_t n>
std::optional<std::uint64_t> with_unit(std::string_view text, std::array<std::pair<std::string_view, std::uint64_t>, n> const& units)
{
    std::uint64_t value = 0;
    auto const* const end = text.data() + text.size();
    auto const [at, error] = std::from_chars(text.data(), end, value);
    if (error != std::errc{}) return {};
    std::string_view const unit{at, static_cast<std::size_t>(end - at)};
    for (auto const& [name, factor] : units)
        if (unit == name && value <= (std::uint64_t{1} << 60) / factor) return value * factor;
    return {};
}

}  // namespace

std::string_view text_of(OnEnd end)
{
    switch (end) {
    case OnEnd::destroy: return "destroy";
    case OnEnd::restart: return "restart";
    default: return "preserve";
    }
}

std::uint64_t parse_size(std::string_view text)
{
    constexpr std::array<std::pair<std::string_view, std::uint64_t>, 3> units{{{"K", 1 << 10}, {"M", 1 << 20}, {"G", 1 << 30}}};
    auto const value = with_unit(text, units);
    if (!value || *value == 0 || *value > std::uint64_t{1} << 40)
        throw Problem{fmt::format("is no size: `{}`; write a number and K, M or G, such as 128M", text)};
    return *value;
}

std::uint64_t parse_duration(std::string_view text)
{
    constexpr std::array<std::pair<std::string_view, std::uint64_t>, 4> units{{{"ns", 1}, {"us", 1'000}, {"ms", 1'000'000}, {"s", 1'000'000'000}}};
    if (text == "0") return 0;
    auto const value = with_unit(text, units);
    if (!value) throw Problem{fmt::format("`{}` is no duration; write a number and us, ms or s, such as 5ms", text)};
    return *value;
}

std::string duration_text(std::uint64_t ns)
{
    for (auto const& [unit, factor] : {std::pair{"s", 1'000'000'000ull}, {"ms", 1'000'000ull}, {"us", 1'000ull}})
        if (ns != 0 && ns % factor == 0) return fmt::format("{}{}", ns / factor, unit);
    return ns == 0 ? "0" : fmt::format("{}ns", ns);
}

std::uint64_t parse_rate(std::string_view text)
{
    constexpr std::array<std::pair<std::string_view, std::uint64_t>, 8> bits{
        {{"b/s", 1}, {"Kb/s", 1'000}, {"Mb/s", 1'000'000}, {"Gb/s", 1'000'000'000}, {"B/s", 8}, {"KB/s", 8'000}, {"MB/s", 8'000'000}, {"GB/s", 8'000'000'000}}};
    auto const value = with_unit(text, bits);
    constexpr std::uint64_t most = 1'000'000'000'000;
    if (!value || *value < 8 || *value > most) throw Problem{fmt::format("is no rate: `{}`; write a number and Mb/s, or MB/s for bytes, such as 100Mb/s", text)};
    return *value / 8;
}

std::string parse_mac(std::string_view text)
{
    std::string mac{text};
    bool good = mac.size() == 17;
    for (std::size_t i = 0; good && i < mac.size(); ++i) {
        good = i % 3 == 2 ? mac[i] == ':' : std::isxdigit(static_cast<unsigned char>(mac[i])) != 0;
        mac[i] = static_cast<char>(std::tolower(static_cast<unsigned char>(mac[i])));
    }
    constexpr int group = 1;
    if (!good || (std::stoi(mac.substr(0, 2), nullptr, 16) & group) != 0 || mac == "00:00:00:00:00:00")
        throw Problem{fmt::format("is no address of one station: `{}`; write six bytes, the first of them even, such as 02:00:00:12:34:56", text)};
    return mac;
}

std::string parse_address(std::string_view text)
{
    auto const slash = text.find('/');
    in_addr address{};
    unsigned bits = 33;
    if (slash != std::string_view::npos) std::from_chars(text.data() + slash + 1, text.data() + text.size(), bits);
    if (bits > 32 || inet_pton(AF_INET, std::string{text.substr(0, slash)}.c_str(), &address) != 1)
        throw Problem{fmt::format("is no address: `{}`; write one with the bits of its network, such as 10.1.0.1/24", text)};
    return std::string{text};
}

DomainConfig parse_config(std::string_view source, std::string_view file)
{
    toml::table table;
    try {
        table = toml::parse(source, file);
    } catch (toml::parse_error const& error) {
        throw Problem{fmt::format("{}:{}: {}", file, error.source().begin.line, error.description())};
    }
    DomainConfig config;
    config.max_vcpus = 0;
    for (auto&& [name_of_key, node] : table) {
        // What it was called before it had Xen's name.
        std::string_view const key = name_of_key.str() == "initrd" ? "ramdisk" : name_of_key.str();
        auto const* const known = std::ranges::find(keys, key, &Key::name);
        if (known == keys.end()) throw Problem{fmt::format("{}:{}: unknown key `{}` (known: {})", file, node.source().begin.line, key, known_keys())};
        known->read(config, {file, key, node});
    }
    for (auto const& [key, missing] : {std::pair{"name", config.name.empty()}, {"kernel", config.kernel.empty()}, {"memory", config.memory == 0}})
        if (missing) throw Problem{fmt::format("{}: the key `{}` is missing", file, key)};
    if (config.max_vcpus == 0) config.max_vcpus = config.vcpus;
    if (config.max_vcpus < config.vcpus)
        throw Problem{fmt::format("{}:{}: `max_vcpus` is less than `vcpus`", file, table.get("max_vcpus")->source().begin.line)};
    return config;
}

DomainConfig read_config(std::string const& file_name)
{
    Content const file{file_name};
    auto const bytes = file.bytes();
    constexpr std::size_t most = 1 << 20;
    if (bytes.size() > most) throw Problem{fmt::format("{} is larger than 1 MiB: not a domain's description", file_name)};
    return parse_config({reinterpret_cast<char const*>(bytes.data()), bytes.size()}, file_name);
}

nlohmann::json to_json(DiskConfig const& disk)
{
    return {{"target", disk.target}, {"read_only", disk.read_only}, {"sector_size", disk.sector_size}, {"format", disk.format}};
}

nlohmann::json to_json(VifConfig const& vif)
{
    return {{"mac", vif.mac}, {"bridge", vif.bridge}, {"address", vif.address}, {"mtu", vif.mtu}, {"rate", vif.rate}, {"offload", vif.offload}};
}

VifConfig vif_from(nlohmann::json const& json)
{
    return {json.at("mac"), json.at("bridge"), json.at("address"), json.at("mtu"), json.at("rate"), json.at("offload")};
}

DiskConfig disk_from(nlohmann::json const& json) { return {json.at("target"), json.at("read_only"), json.at("sector_size"), json.value("format", "raw")}; }

nlohmann::json to_json(DomainConfig const& c)
{
    nlohmann::json disks = nlohmann::json::object();
    for (auto const& [number, disk] : c.disks) disks[std::to_string(number)] = to_json(disk);
    nlohmann::json vifs = nlohmann::json::object();
    for (auto const& [number, vif] : c.vifs) vifs[std::to_string(number)] = to_json(vif);
    return {{"name", c.name}, {"kernel", c.kernel}, {"ramdisk", c.ramdisk}, {"cmdline", c.cmdline}, {"memory_bytes", c.memory}, {"vcpus", c.vcpus},
            {"max_vcpus", c.max_vcpus}, {"cpus", cpus_text(c.cpus)}, {"pool", c.pool}, {"weight", c.weight}, {"disks", disks}, {"vifs", vifs}, {"on_poweroff", text_of(c.on_poweroff)}, {"on_reboot", text_of(c.on_reboot)},
            {"on_crash", text_of(c.on_crash)}};
}

DomainConfig config_from(nlohmann::json const& json)
{
    auto const on_end = [&](char const* key) {
        auto const text = json.at(key).get<std::string>();
        return text == "destroy" ? OnEnd::destroy : text == "restart" ? OnEnd::restart : OnEnd::preserve;
    };
    DomainConfig c;
    c.name = json.at("name");
    c.kernel = json.at("kernel");
    c.ramdisk = json.at("ramdisk");
    c.cmdline = json.at("cmdline");
    c.memory = json.at("memory_bytes");
    c.vcpus = json.at("vcpus");
    c.max_vcpus = json.at("max_vcpus");
    c.cpus = parse_cpus(json.value("cpus", "all"));  // a record of before there was this key has none
    c.pool = json.value("pool", 0u);  // likewise
    c.weight = json.at("weight");
    for (auto const& [number, disk] : json.value("disks", nlohmann::json::object()).items())
        c.disks.emplace(static_cast<unsigned>(std::stoul(number)), disk_from(disk));
    for (auto const& [number, vif] : json.value("vifs", nlohmann::json::object()).items())
        c.vifs.emplace(static_cast<unsigned>(std::stoul(number)), vif_from(vif));
    c.on_poweroff = on_end("on_poweroff");
    c.on_reboot = on_end("on_reboot");
    c.on_crash = on_end("on_crash");
    return c;
}

}  // namespace pvn::tools
