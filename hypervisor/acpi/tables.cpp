// SPDX-License-Identifier: MIT
#include "acpi/tables.hpp"

#include <cstring>
#include <string_view>

namespace pvn::acpi {
namespace {

using Bytes = std::span<std::byte const>;

template <class T>
T at(Bytes bytes, std::size_t offset)  // the caller has checked the size
{
    T value;
    std::memcpy(&value, bytes.data() + offset, sizeof value);
    return value;
}

bool sums_to_zero(Bytes bytes)
{
    unsigned sum = 0;
    for (auto const byte : bytes) sum += std::to_integer<unsigned>(byte);
    return (sum & 0xff) == 0;
}

bool begins_with(Bytes bytes, std::string_view text)
{
    return bytes.size() >= text.size() && std::memcmp(bytes.data(), text.data(), text.size()) == 0;
}

constexpr std::size_t header = 36;

// A system description table with a good checksum, or nothing.
Bytes table(std::uint64_t address, Reader read)
{
    auto const head = read(address, header);
    if (head.size() != header) return {};
    auto const length = at<std::uint32_t>(head, 4);
    constexpr std::uint32_t most = 1 << 20;
    if (length < header || length > most) return {};
    auto const whole = read(address, length);
    return whole.size() == length && sums_to_zero(whole) ? whole : Bytes{};
}

// The table with that signature, by the root table.
Bytes find(std::uint64_t rsdp, std::string_view signature, Reader read)
{
    auto const pointer = read(rsdp, 20);
    if (pointer.size() != 20 || !begins_with(pointer, "RSD PTR ") || !sums_to_zero(pointer)) return {};
    // Revision 2 and later have a 64-bit root table.
    auto const extended = std::to_integer<unsigned>(pointer[15]) >= 2 ? read(rsdp, 36) : Bytes{};
    bool const wide = extended.size() == 36 && at<std::uint64_t>(extended, 24) != 0;
    auto const root = table(wide ? at<std::uint64_t>(extended, 24) : at<std::uint32_t>(pointer, 16), read);
    auto const step = wide ? 8u : 4u;
    for (auto offset = header; offset + step <= root.size(); offset += step) {
        auto const found = table(wide ? at<std::uint64_t>(root, offset) : at<std::uint32_t>(root, offset), read);
        if (begins_with(found, signature)) return found;
    }
    return {};
}

}  // namespace

Processors find_processors(std::uint64_t rsdp, Reader read)
{
    Processors found;
    auto const madt = find(rsdp, "APIC", read);
    // After the header: local APIC address and flags; then entries that begin with their type and length.
    for (std::size_t offset = header + 8; offset + 2 <= madt.size();) {
        auto const type = std::to_integer<unsigned>(madt[offset]), length = std::to_integer<unsigned>(madt[offset + 1]);
        if (length < 2 || offset + length > madt.size()) break;
        constexpr unsigned local_apic = 0, enabled = 1, nobody = 255;
        if (type == local_apic && length >= 8 && (at<std::uint32_t>(madt, offset + 4) & enabled) != 0) {
            auto const id = std::to_integer<unsigned>(madt[offset + 3]);
            if (id != nobody && found.count < found.apic_ids.size()) found.apic_ids[found.count++] = id;
        }
        offset += length;
    }
    return found;
}

}  // namespace pvn::acpi
