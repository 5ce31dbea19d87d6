// SPDX-License-Identifier: MIT
#include "lib/lint.hpp"

#include <elf.h>
#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <initializer_list>
#include <random>

#include "lib/file.hpp"

namespace pvn::tools {
namespace {

constexpr std::uint64_t base = 0xffffffff81000000;

// An image with one section of code, and a symbol at its start and one 16 bytes on if it is long enough.
std::vector<std::byte> image(std::initializer_list<std::uint8_t> code, bool with_sections = true)
{
    struct Layout {
        Elf64_Ehdr header{};
        Elf64_Phdr segment{};
        Elf64_Shdr section[4]{};
        Elf64_Sym symbol[3]{};
        char names[16] = "\0first\0second";
        std::uint8_t code[64];
    } all;
    std::memcpy(all.header.e_ident, ELFMAG, SELFMAG);
    all.header.e_ident[EI_CLASS] = ELFCLASS64;
    all.header.e_machine = EM_X86_64;
    all.header.e_phoff = offsetof(Layout, segment);
    all.header.e_phnum = 1;
    all.header.e_shoff = offsetof(Layout, section);
    all.header.e_shnum = with_sections ? 4 : 0;
    all.segment = {PT_LOAD, PF_R | PF_X, offsetof(Layout, code), base, base, code.size(), code.size(), 4096};
    all.section[1] = {0, SHT_PROGBITS, SHF_ALLOC | SHF_EXECINSTR, base, offsetof(Layout, code), code.size(), 0, 0, 16, 0};
    all.section[2] = {0, SHT_SYMTAB, 0, 0, offsetof(Layout, symbol), sizeof all.symbol, 3, 0, 8, sizeof(Elf64_Sym)};
    all.section[3] = {0, SHT_STRTAB, 0, 0, offsetof(Layout, names), sizeof all.names, 0, 0, 1, 0};
    all.symbol[1] = {1, ELF64_ST_INFO(STB_GLOBAL, STT_FUNC), 0, 1, base, 16};
    all.symbol[2] = {7, ELF64_ST_INFO(STB_GLOBAL, STT_FUNC), 0, 1, base + 16, 8};
    std::memset(all.code, 0x90, sizeof all.code);
    std::copy(code.begin(), code.end(), all.code);
    std::vector<std::byte> bytes(sizeof all);
    std::memcpy(bytes.data(), &all, sizeof all);
    return bytes;
}

std::vector<std::string> lines(std::span<std::byte const> file)
{
    std::vector<std::string> all;
    for (auto const& finding : lint(file)) all.push_back(std::string{text_of(finding.verdict)} + " " + finding.place + " " + finding.instruction);
    return all;
}
using Lines = std::vector<std::string>;

TEST(Lint, NamesInstructionPlaceAndVerdict)
{
    auto const file = image({0x55, 0x9d, 0x0f, 0x01, 0xf8, 0xfa, 0x0f, 0x07, 0xc3, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90, 0x8c, 0xc8, 0xc3});
    EXPECT_EQ(lines(file), (Lines{"silent first+0x1 popfq", "emulated first+0x2 swapgs", "emulated first+0x5 cli", "refused first+0x6 sysret", "silent second+0x0 mov eax, cs"}));
    EXPECT_EQ(lint(file).front().address, base + 1);
}

TEST(Lint, JudgesMovesByWhatTheyMove)
{
    EXPECT_EQ(lines(image({0x0f, 0x22, 0xd8})), (Lines{"emulated first+0x0 mov cr3, rax"}));
    EXPECT_EQ(lines(image({0x44, 0x0f, 0x20, 0xc0})), (Lines{"emulated first+0x0 mov rax, cr8"}));
    EXPECT_EQ(lines(image({0x0f, 0x21, 0xf8})), (Lines{"emulated first+0x0 mov rax, dr7"}));
    EXPECT_EQ(lines(image({0x66, 0x8c, 0xd1})), (Lines{"silent first+0x0 mov cx, ss"}));
    EXPECT_TRUE(lines(image({0x8c, 0xd8, 0x8e, 0xd8, 0x48, 0x89, 0xc3, 0xb8, 0x8c, 0xc8, 0, 0})).empty());  // mov eax, ds; mov ds, eax; data in an operand
}

TEST(Lint, WorksWithoutSections)
{
    EXPECT_EQ(lines(image({0x0f, 0x01, 0x00}, false)), (Lines{"silent  sgdt [rax]"}));
}

TEST(Lint, GoesOnBehindWhatIsNoInstruction)
{
    EXPECT_EQ(lines(image({0x06, 0x07, 0x9c})), (Lines{"silent first+0x2 pushfq"}));
}

TEST(Lint, ReadsOneInstruction)
{
    std::array<std::uint8_t, 8> const bytes{0x0f, 0x22, 0xd8, 0x90, 0x90, 0x90, 0x90, 0x90};
    EXPECT_EQ(instruction_text(std::as_bytes(std::span{bytes}), base), "mov cr3, rax");
    EXPECT_EQ(instruction_text({}, base), "");
}

TEST(Lint, RefusesWhatIsNoKernel)
{
    auto file = image({0x90});
    EXPECT_THROW(lint(std::span{file}.first(20)), Problem);
    file[EI_CLASS] = std::byte{ELFCLASS32};
    EXPECT_THROW(lint(file), Problem);
    EXPECT_THROW(lint({}), Problem);
    auto empty = image({});
    EXPECT_THROW(lint(empty), Problem);
}

TEST(Lint, ReadsHostileFilesWithinTheirBytes)
{
    auto const good = image({0x9d, 0xfa, 0x0f, 0x07});
    std::mt19937 random{7};
    for (int round = 0; round < 20000; ++round) {
        auto file = good;
        file.resize(random() % 4 == 0 ? random() % file.size() : file.size());
        for (unsigned i = 0, changes = 1 + random() % 6; i < changes && !file.empty(); ++i)
            file[random() % 2 == 0 ? random() % std::min<std::size_t>(file.size(), 400) : random() % file.size()] = static_cast<std::byte>(random() % 3 == 0 ? 0xff : random());
        try {
            for (auto const& finding : lint(file)) EXPECT_FALSE(finding.instruction.empty());
        } catch (Problem const&) {
        }
    }
}

}  // namespace
}  // namespace pvn::tools
