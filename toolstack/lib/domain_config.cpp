// SPDX-License-Identifier: MIT
#include "lib/domain_config.hpp"

#include <fmt/format.h>
#define TOML_EXCEPTIONS 1
#include <toml++/toml.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <fstream>
#include <sstream>

#include "lib/hypervisor.hpp"

namespace pvn::tools {
namespace {

[[noreturn]] void wrong(std::string_view file, toml::source_region const& where, std::string_view what)
{
    throw Problem{fmt::format("{}:{}: {}", file, where.begin.line, what)};
}

std::string text(std::string_view file, std::string_view key, toml::node const& node)
{
    if (auto const value = node.value_exact<std::string>()) return *value;
    wrong(file, node.source(), fmt::format("`{}` must be a text in quotes", key));
}

bool good_name(std::string_view name)
{
    return !name.empty() && name.size() <= 64 && std::ranges::all_of(name, [](unsigned char c) { return std::isalnum(c) || c == '-' || c == '_' || c == '.'; }) &&
           name.front() != '.' && name.front() != '-';
}

}  // namespace

std::uint64_t parse_size(std::string_view text)
{
    std::uint64_t value = 0;
    auto const* const end = text.data() + text.size();
    auto const [at, error] = std::from_chars(text.data(), end, value);
    unsigned shift = 64;
    if (error == std::errc{} && end - at == 1) shift = *at == 'K' ? 10 : *at == 'M' ? 20 : *at == 'G' ? 30 : 64;
    if (shift == 64 || value == 0 || value > (std::uint64_t{1} << 40 >> shift))
        throw Problem{fmt::format("`{}` is not a size: write a number and K, M or G, such as 128M", text)};
    return value << shift;
}

DomainConfig parse_config(std::string_view source, std::string_view file)
{
    toml::table table;
    try {
        table = toml::parse(source, file);
    } catch (toml::parse_error const& error) {
        wrong(file, error.source(), error.description());
    }
    DomainConfig config;
    for (auto&& [key_object, node] : table) {
        std::string_view const key = key_object.str();
        if (key == "name") {
            config.name = text(file, key, node);
            if (!good_name(config.name))
                wrong(file, node.source(), "`name` must be 1 to 64 letters, digits, `-`, `_` or `.`, and begin with none of `-` and `.`");
        } else if (key == "kernel") {
            config.kernel = text(file, key, node);
        } else if (key == "initrd") {
            config.initrd = text(file, key, node);
        } else if (key == "cmdline") {
            config.cmdline = text(file, key, node);
            if (config.cmdline.size() >= PVN_COMMAND_LINE_SIZE)
                wrong(file, node.source(), fmt::format("`cmdline` is longer than {} bytes", PVN_COMMAND_LINE_SIZE - 1));
        } else if (key == "memory") {
            try {
                config.memory = parse_size(text(file, key, node));
            } catch (Problem const& problem) {
                wrong(file, node.source(), fmt::format("`memory`: {}", problem.what()));
            }
            if (config.memory % PVN_PAGE_SIZE != 0) wrong(file, node.source(), "`memory` must be a multiple of 4K");
        } else if (key == "weight") {
            auto const weight = node.value_exact<std::int64_t>();
            if (!weight || *weight < 1 || *weight > 65535) wrong(file, node.source(), "`weight` must be a number from 1 to 65535");
            config.weight = static_cast<std::uint32_t>(*weight);
        } else if (key == "on_crash") {
            auto const what = text(file, key, node);
            if (what != "destroy" && what != "preserve") wrong(file, node.source(), "`on_crash` must be \"destroy\" or \"preserve\"");
            config.on_crash = what == "destroy" ? OnCrash::destroy : OnCrash::preserve;
        } else {
            wrong(file, node.source(), fmt::format("unknown key `{}` (known: name, kernel, initrd, cmdline, memory, weight, on_crash)", key));
        }
    }
    for (auto const& [key, missing] : {std::pair{"name", config.name.empty()}, {"kernel", config.kernel.empty()}, {"memory", config.memory == 0}})
        if (missing) throw Problem{fmt::format("{}: the key `{}` is missing", file, key)};
    return config;
}

DomainConfig read_config(std::string const& file_name)
{
    std::ifstream file{file_name, std::ios::binary};
    std::ostringstream content;
    content << file.rdbuf();
    if (!file) throw Problem{fmt::format("cannot read {}", file_name)};
    return parse_config(content.str(), file_name);
}

}  // namespace pvn::tools
