// SPDX-License-Identifier: MIT
#include <elf.h>
#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <vector>

#include "boot/boot_info.hpp"
#include "boot/elf.hpp"
#include "paravane/hypercall.h"

namespace pvn::boot {
namespace {

TEST(BootInfo, MemoryBeyondALimitIsCut)
{
    BootInfo info{};
    info.map_entries = 4;
    info.map[0] = {0, 100, MemoryType::ram};
    info.map[1] = {950, 100, MemoryType::ram};
    info.map[2] = {1000, 50, MemoryType::reserved};
    info.map[3] = {2000, ~std::uint64_t{0} - 2000, MemoryType::ram};
    EXPECT_EQ(cut_memory(info, 1000), 50 + ~std::uint64_t{0} - 2000);
    EXPECT_EQ(info.map[0].length, 100u);
    EXPECT_EQ(info.map[1].length, 50u);
    EXPECT_EQ(info.map[2].length, 50u);
    EXPECT_EQ(info.map[3].length, 0u);
}

TEST(Options, ValueOfAKey)
{
    EXPECT_EQ(option("paravane dom0_mem=512M console=com1", "dom0_mem"), "512M");
    EXPECT_EQ(size_option("a dom0_mem=512M", "dom0_mem", 1), 512u << 20);
    EXPECT_EQ(size_option("a dom0_mem=512M b", "dom0_mem", 1), 512u << 20);
    EXPECT_EQ(size_option("a xdom0_mem=512M", "dom0_mem", 1), 1u);
    EXPECT_EQ(size_option("dom0_mem=", "dom0_mem", 7), 7u);
    EXPECT_EQ(size_option("dom0_mem=12x", "dom0_mem", 7), 7u);
    EXPECT_EQ(size_option("dom0_mem=99999999999999999999999999", "dom0_mem", 7), 7u);
    EXPECT_TRUE(flag("x.elf domain memory=3M", "domain"));
    EXPECT_FALSE(flag("x.elf subdomain domains", "domain"));
}

std::vector<std::byte> loader_memory(8192);
std::span<std::byte const> physical(std::uint64_t address, std::uint64_t size)
{
    if (address > loader_memory.size() || size > loader_memory.size() - address) return {};
    return std::span{loader_memory}.subspan(address, size);
}

TEST(BootInfo, RefusesAnUnknownLoader)
{
    BootInfo info;
    EXPECT_FALSE(read(0x1234, 0, physical, info));
}

TEST(BootInfo, AnEntryOfTheMapThatSaysItIsHugeIsTheLast)
{
    std::ranges::fill(loader_memory, std::byte{0});
    auto const put = [](std::size_t at, std::uint32_t value) { std::memcpy(loader_memory.data() + at, &value, sizeof value); };
    constexpr std::uint32_t map = 1024;
    put(0, 1 << 6);
    put(44, 48);
    put(48, map);
    put(map, 0xfffffffc);  // and 4: nothing, in 32 bits
    put(map + 12, 4096);
    put(map + 20, 1);
    BootInfo info;
    EXPECT_TRUE(read(multiboot1_magic, 0, physical, info));
    EXPECT_EQ(info.map_entries, 1u);
}

TEST(BootInfo, AnyBytesFromTheLoaderAreSurvived)
{
    std::mt19937 random{1};
    BootInfo info;
    for (int round = 0; round < 2000; ++round) {
        for (auto& byte : loader_memory) byte = static_cast<std::byte>(random() % 7 == 0 ? random() : 0);
        (void)read(multiboot1_magic, random() % 8192, physical, info);
        (void)read(multiboot2_magic, (random() % 1024) * 8, physical, info);
        EXPECT_LE(info.map_entries, info.map.size());
    }
}

struct File {
    Elf64_Ehdr header{};
    Elf64_Phdr load{}, note{};
    struct { Elf64_Nhdr h; char name[12]; std::uint64_t value; } notes[3]{};
    char text[64]{};

    File()
    {
        std::memcpy(header.e_ident, ELFMAG, SELFMAG);
        header.e_ident[EI_CLASS] = ELFCLASS64;
        header.e_ident[EI_DATA] = ELFDATA2LSB;
        header.e_machine = EM_X86_64;
        header.e_phoff = offsetof(File, load);
        header.e_phentsize = sizeof(Elf64_Phdr);
        header.e_phnum = 2;
        load.p_type = PT_LOAD;
        load.p_offset = offsetof(File, text);
        load.p_filesz = 64;
        load.p_memsz = 8192;
        load.p_paddr = 0x200000;
        note.p_type = PT_NOTE;
        note.p_offset = offsetof(File, notes);
        note.p_filesz = sizeof notes;
        std::uint64_t const values[] = {PVN_ABI_VERSION, 0xffffffff80200010, 0xffffffff80000000};
        for (unsigned i = 0; i < 3; ++i) {
            notes[i].h = {9, 8, i + 1};
            std::memcpy(notes[i].name, "Paravane", 9);
            notes[i].value = values[i];
        }
    }
    Reading read() const { return read_kernel(std::as_bytes(std::span{this, 1})); }
};
static_assert(sizeof(File::notes[0]) == 32);

TEST(Elf, ReadsAKernel)
{
    File file;
    auto const r = file.read();
    EXPECT_EQ(r.error, "");
    EXPECT_EQ(r.image.segment_count, 1u);
    EXPECT_EQ(r.image.lowest, 0x200000u);
    EXPECT_EQ(r.image.highest, 0x202000u);
    EXPECT_EQ(r.image.entry, 0xffffffff80200010u);
    EXPECT_FALSE(r.image.direct_map_base);
}

TEST(Elf, SaysWhatIsWrong)
{
    auto const error_of = [](auto change) {
        File file;
        change(file);
        return file.read().error;
    };
    EXPECT_EQ(error_of([](File& f) { f.header.e_ident[0] = 0; }), "not an ELF file");
    EXPECT_EQ(error_of([](File& f) { f.header.e_machine = EM_386; }), "not an ELF file for x86-64");
    EXPECT_EQ(error_of([](File& f) { f.header.e_phoff = ~0ull; }), "truncated: program headers");
    EXPECT_EQ(error_of([](File& f) { f.load.p_filesz = 1 << 20; }), "truncated: a segment");
    EXPECT_EQ(error_of([](File& f) { f.load.p_memsz = 3; }), "a segment with impossible addresses");
    EXPECT_EQ(error_of([](File& f) { f.notes[0].name[0] = 'X'; }), "no Paravane notes: not a kernel ported to Paravane");
    EXPECT_EQ(error_of([](File& f) { f.notes[0].value = 99; }), "built for another version of the ABI");
    EXPECT_EQ(error_of([](File& f) { f.notes[2].value = PVN_SLOT_BASE; }), "its VIRTUAL_BASE note does not fit");
    EXPECT_EQ(error_of([](File& f) { f.notes[2].value = 0x0000800000000000; }), "its VIRTUAL_BASE note does not fit");
    EXPECT_EQ(error_of([](File& f) { f.notes[2].value = 0xffff7fffc0000000; }), "its VIRTUAL_BASE note does not fit");
    EXPECT_EQ(error_of([](File& f) {
        f.load.p_memsz = 2u << 30, f.load.p_paddr = 0, f.notes[2].value = 0x00007fffc0000000, f.notes[1].value = 0x00007fffc0000000;
    }), "its VIRTUAL_BASE note does not fit");
    EXPECT_EQ(error_of([](File& f) { f.notes[1].value = 7; }), "its entry is outside the image");
}

TEST(Elf, AnyFlippedBytesAreSurvived)
{
    std::mt19937 random{2};
    for (int round = 0; round < 20000; ++round) {
        std::vector<std::byte> bytes(sizeof(File));
        File const file;
        std::memcpy(bytes.data(), &file, sizeof file);
        for (int i = 0; i < 4; ++i) bytes[random() % bytes.size()] = static_cast<std::byte>(random());
        bytes.resize(random() % 3 == 0 ? random() % bytes.size() : bytes.size());
        auto const r = read_kernel(bytes);
        for (std::size_t i = 0; r.error.empty() && i < r.image.segment_count; ++i)
            EXPECT_LE(r.image.segments[i].offset + r.image.segments[i].file_size, bytes.size());
    }
}

}  // namespace
}  // namespace pvn::boot
