// SPDX-License-Identifier: MIT
#include "boot/boot_info.hpp"

#include <algorithm>
#include <cstring>

namespace pvn::boot {
namespace {

// Reads a trivially copyable T at `offset`; zeroes beyond the end.
template <class T>
T at(std::span<std::byte const> bytes, std::size_t offset)
{
    T value{};
    if (offset + sizeof(T) <= bytes.size()) std::memcpy(&value, bytes.data() + offset, sizeof(T));
    return value;
}

template <std::size_t N>
void copy_text(std::array<char, N>& to, std::span<std::byte const> from)
{
    std::size_t i = 0;
    for (; i < N - 1 && i < from.size() && from[i] != std::byte{0}; ++i) to[i] = static_cast<char>(from[i]);
    to[i] = 0;
}

void add_range(BootInfo& to, std::uint64_t base, std::uint64_t length, std::uint32_t type)
{
    if (length == 0 || to.map_entries == to.map.size()) return;
    to.map[to.map_entries++] = {base, length, type >= 1 && type <= 5 ? MemoryType{type} : MemoryType::reserved};
}

// [mb1] 3.3
bool read_multiboot1(std::uint64_t information, PhysicalReader physical, BootInfo& to)
{
    auto const info = physical(information, 88);
    auto const flags = at<std::uint32_t>(info, 0);
    if (flags & 1 << 2) copy_text(to.command_line, physical(at<std::uint32_t>(info, 16), to.command_line.size()));
    if (flags & 1 << 3) {
        auto const count = std::min<std::uint32_t>(at<std::uint32_t>(info, 20), static_cast<std::uint32_t>(to.modules.size()));
        auto const list = physical(at<std::uint32_t>(info, 24), count * 16);
        for (std::size_t i = 0; i < count; ++i) {
            auto& module = to.modules[to.module_count++];
            module.base = at<std::uint32_t>(list, i * 16);
            module.size = at<std::uint32_t>(list, i * 16 + 4) - module.base;
            if (auto const text = at<std::uint32_t>(list, i * 16 + 8)) copy_text(module.command_line, physical(text, module.command_line.size()));
        }
    }
    if (!(flags & 1 << 6)) return false;
    auto const map = physical(at<std::uint32_t>(info, 48), at<std::uint32_t>(info, 44));
    for (std::size_t offset = 0; offset + 24 <= map.size(); offset += std::size_t{at<std::uint32_t>(map, offset)} + 4)
        add_range(to, at<std::uint64_t>(map, offset + 4), at<std::uint64_t>(map, offset + 12), at<std::uint32_t>(map, offset + 20));
    return to.map_entries != 0;
}

// [mb2] 3.6
bool read_multiboot2(std::uint64_t information, PhysicalReader physical, BootInfo& to)
{
    auto const total = at<std::uint32_t>(physical(information, 8), 0);
    auto const info = physical(information, total);
    for (std::size_t offset = 8; offset + 8 <= info.size();) {
        auto const type = at<std::uint32_t>(info, offset);
        auto const size = at<std::uint32_t>(info, offset + 4);
        if (type == 0 || size < 8 || size > info.size() - offset) break;
        auto const tag = info.subspan(offset, size);
        switch (type) {
        case 1: copy_text(to.command_line, tag.subspan(8)); break;
        case 3:
            if (to.module_count < to.modules.size() && size > 16) {
                auto& module = to.modules[to.module_count++];
                module.base = at<std::uint32_t>(tag, 8);
                module.size = at<std::uint32_t>(tag, 12) - module.base;
                copy_text(module.command_line, tag.subspan(16));
            }
            break;
        case 6:
            if (auto const entry = at<std::uint32_t>(tag, 8); entry >= 20)
                for (std::size_t e = 16; e + entry <= tag.size(); e += entry)
                    add_range(to, at<std::uint64_t>(tag, e), at<std::uint64_t>(tag, e + 8), at<std::uint32_t>(tag, e + 16));
            break;
        case 14:
        case 15: to.rsdp = information + offset + 8; break;  // a copy of the RSDP, in the tag
        default: break;
        }
        offset += (size + 7) & ~std::size_t{7};
    }
    return to.map_entries != 0;
}

}  // namespace

bool read(std::uint32_t magic, std::uint64_t information, PhysicalReader physical, BootInfo& to)
{
    to = {};
    if (magic == multiboot1_magic) return read_multiboot1(information, physical, to);
    if (magic == multiboot2_magic) return read_multiboot2(information, physical, to);
    return false;
}

std::uint64_t cut_memory(BootInfo& info, std::uint64_t end)
{
    std::uint64_t lost = 0;
    for (auto& range : std::span{info.map}.first(info.map_entries)) {
        if (range.type != MemoryType::ram || (range.base < end && range.length <= end - range.base)) continue;
        auto const kept = range.base < end ? end - range.base : 0;
        lost += range.length - kept;
        range.length = kept;
    }
    return lost;
}

std::string_view option(std::string_view line, std::string_view key)
{
    while (!line.empty()) {
        auto const end = std::min(line.find(' '), line.size());
        auto const word = line.substr(0, end);
        if (word.size() > key.size() && word.starts_with(key) && word[key.size()] == '=') return word.substr(key.size() + 1);
        line.remove_prefix(std::min(end + 1, line.size()));
    }
    return {};
}

std::uint64_t size_option(std::string_view line, std::string_view key, std::uint64_t otherwise)
{
    auto text = option(line, key);
    if (text.empty()) return otherwise;
    std::uint64_t value = 0;
    unsigned shift = 0;
    if (text.back() == 'K' || text.back() == 'k') shift = 10;
    if (text.back() == 'M' || text.back() == 'm') shift = 20;
    if (text.back() == 'G' || text.back() == 'g') shift = 30;
    if (shift != 0) text.remove_suffix(1);
    if (text.empty() || text.size() > 12) return otherwise;
    for (char const c : text) {
        if (c < '0' || c > '9') return otherwise;
        value = value * 10 + static_cast<std::uint64_t>(c - '0');
    }
    return value << shift;
}

bool flag(std::string_view line, std::string_view word)
{
    while (!line.empty()) {
        auto const end = std::min(line.find(' '), line.size());
        if (line.substr(0, end) == word) return true;
        line.remove_prefix(std::min(end + 1, line.size()));
    }
    return false;
}

}  // namespace pvn::boot
