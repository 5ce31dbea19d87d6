// SPDX-License-Identifier: MIT
#include "acpi/tables.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <random>
#include <string_view>
#include <vector>

namespace pvn::acpi {
namespace {

std::map<std::uint64_t, std::vector<std::byte>> memory;

std::span<std::byte const> read(std::uint64_t address, std::uint64_t size)
{
    for (auto const& [base, bytes] : memory)
        if (address >= base && address - base <= bytes.size() && size <= bytes.size() - (address - base))
            return std::span{bytes}.subspan(address - base, size);
    return {};
}

template <class T>
void put(std::vector<std::byte>& bytes, std::size_t at, T value) { std::memcpy(bytes.data() + at, &value, sizeof value); }

void fix_checksum(std::vector<std::byte>& bytes, std::size_t at, std::size_t length)
{
    bytes[at] = std::byte{0};
    unsigned sum = 0;
    for (std::size_t i = 0; i < length; ++i) sum += std::to_integer<unsigned>(bytes[i]);
    bytes[at] = static_cast<std::byte>(-sum);
}

std::vector<std::byte> table(std::string_view signature, std::vector<std::byte> const& body)
{
    std::vector<std::byte> bytes(36);
    std::memcpy(bytes.data(), signature.data(), 4);
    bytes.insert(bytes.end(), body.begin(), body.end());
    put(bytes, 4, static_cast<std::uint32_t>(bytes.size()));
    fix_checksum(bytes, 9, bytes.size());
    return bytes;
}

void add_processor(std::vector<std::byte>& body, unsigned id, unsigned flags)
{
    for (unsigned const byte : {0u, 8u, id, id, flags, 0u, 0u, 0u}) body.push_back(static_cast<std::byte>(byte));
}

// Tables at 0x1000 (RSDP), 0x2000 (root), 0x3000 (another), 0x4000 (MADT).
void build(std::vector<std::byte> const& entries, bool wide = false)
{
    memory.clear();
    std::vector<std::byte> rsdp(36);
    std::memcpy(rsdp.data(), "RSD PTR ", 8);
    rsdp[15] = static_cast<std::byte>(wide ? 2 : 0);
    put(rsdp, 16, std::uint32_t{wide ? 0u : 0x2000u});
    put(rsdp, 24, std::uint64_t{wide ? 0x2000u : 0u});
    fix_checksum(rsdp, 8, 20);
    memory[0x1000] = rsdp;
    std::vector<std::byte> pointers(wide ? 16 : 8);
    if (wide) {
        put(pointers, 0, std::uint64_t{0x3000}), put(pointers, 8, std::uint64_t{0x4000});
    } else {
        put(pointers, 0, std::uint32_t{0x3000}), put(pointers, 4, std::uint32_t{0x4000});
    }
    memory[0x2000] = table(wide ? "XSDT" : "RSDT", pointers);
    memory[0x3000] = table("FACP", {});
    std::vector<std::byte> body(8);
    body.insert(body.end(), entries.begin(), entries.end());
    memory[0x4000] = table("APIC", body);
}

std::vector<std::uint32_t> found()
{
    auto const processors = find_processors(0x1000, read);
    return {processors.apic_ids.begin(), processors.apic_ids.begin() + processors.count};
}

TEST(Processors, AreThoseThatAreEnabled)
{
    for (bool const wide : {false, true}) {
        std::vector<std::byte> entries;
        add_processor(entries, 0, 1);
        for (unsigned const byte : {1u, 12u, 0u, 0u, 0u, 0u, 0xc0u, 0xfeu, 0u, 0u, 0u, 0u}) entries.push_back(static_cast<std::byte>(byte));  // an I/O APIC
        add_processor(entries, 4, 1);
        add_processor(entries, 5, 0);    // not enabled
        add_processor(entries, 255, 1);  // nobody
        add_processor(entries, 2, 3);
        build(entries, wide);
        EXPECT_EQ(found(), (std::vector<std::uint32_t>{0, 4, 2})) << wide;
    }
}

TEST(Processors, NoneFromDamagedTables)
{
    std::vector<std::byte> entries;
    add_processor(entries, 0, 1);
    for (auto const base : {0x1000u, 0x2000u, 0x4000u}) {
        build(entries);
        memory[base][10] ^= std::byte{1};  // checksums
        EXPECT_TRUE(found().empty()) << std::hex << base;
        build(entries);
        memory.erase(base);
        EXPECT_TRUE(found().empty()) << std::hex << base;
    }
    EXPECT_EQ(find_processors(0, read).count, 0u);
}

TEST(Processors, EntriesEndWhereTheirLengthsMakeNoSense)
{
    for (unsigned const length : {0u, 1u, 9u, 255u}) {
        std::vector<std::byte> entries;
        add_processor(entries, 1, 1);
        add_processor(entries, 2, 1);
        entries[9] = static_cast<std::byte>(length);
        build(entries);
        EXPECT_EQ(found(), std::vector<std::uint32_t>{1}) << length;
    }
}

TEST(Processors, MoreThanThereIsRoomFor)
{
    std::vector<std::byte> entries;
    for (unsigned i = 0; i < 300; ++i) add_processor(entries, i % 255, 1);
    build(entries);
    EXPECT_EQ(found().size(), 256u);
}

// Whatever the bytes: nothing outside them is read (ASan), and it ends.
TEST(Processors, AnyBytes)
{
    std::mt19937 random{1};
    for (int round = 0; round < 3000; ++round) {
        std::vector<std::byte> entries;
        for (unsigned i = 0; i < 5; ++i) add_processor(entries, i, 1);
        build(entries, round % 2 != 0);
        for (int change = 0; change < 4; ++change) {
            auto& bytes = std::next(memory.begin(), static_cast<int>(random() % memory.size()))->second;
            bytes[random() % bytes.size()] = static_cast<std::byte>(random());
        }
        for (auto const base : {0x2000u, 0x4000u}) fix_checksum(memory[base], 9, memory[base].size());
        fix_checksum(memory[0x1000], 8, 20);
        EXPECT_LE(found().size(), 256u);
    }
}

}  // namespace
}  // namespace pvn::acpi
