// SPDX-License-Identifier: MIT
#include "lib/kernel_file.hpp"

#include <gtest/gtest.h>
#include <lz4.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include <cstdio>
#include <cstring>
#include <random>

#include "lib/decompress.hpp"

namespace pvn::tools {
namespace {

using Bytes = std::vector<std::byte>;

Bytes text(std::string_view s)
{
    Bytes bytes(s.size());
    std::memcpy(bytes.data(), s.data(), s.size());
    return bytes;
}

// What looks like an ELF file and packs badly.
Bytes sample(std::size_t size = 200'000)
{
    Bytes bytes(size);
    std::minstd_rand random{1};
    for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(i % 3 == 0 ? random() : i / 512);
    std::memcpy(bytes.data(), "\x7f" "ELF", 4);
    return bytes;
}

Bytes gzip(Bytes const& from)
{
    Bytes to(from.size() + 1024);
    z_stream stream{};
    deflateInit2(&stream, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(from.data()));
    stream.avail_in = static_cast<uInt>(from.size());
    stream.next_out = reinterpret_cast<Bytef*>(to.data());
    stream.avail_out = static_cast<uInt>(to.size());
    deflate(&stream, Z_FINISH);
    to.resize(stream.total_out);
    deflateEnd(&stream);
    return to;
}
Bytes xz(Bytes const& from)
{
    Bytes to(from.size() + 1024);
    std::size_t used = 0;
    lzma_easy_buffer_encode(1, LZMA_CHECK_CRC32, nullptr, reinterpret_cast<std::uint8_t const*>(from.data()), from.size(), reinterpret_cast<std::uint8_t*>(to.data()), &used,
                            to.size());
    to.resize(used);
    return to;
}
Bytes zstd(Bytes const& from)
{
    Bytes to(ZSTD_compressBound(from.size()));
    to.resize(ZSTD_compress(to.data(), to.size(), from.data(), from.size(), 3));
    return to;
}
Bytes lz4_legacy(Bytes const& from)
{
    Bytes to(8 + static_cast<std::size_t>(LZ4_compressBound(static_cast<int>(from.size()))));
    std::memcpy(to.data(), "\x02\x21\x4c\x18", 4);
    auto const size = LZ4_compress_default(reinterpret_cast<char const*>(from.data()), reinterpret_cast<char*>(to.data() + 8), static_cast<int>(from.size()),
                                           static_cast<int>(to.size() - 8));
    std::memcpy(to.data() + 4, &size, 4);
    to.resize(8 + static_cast<std::size_t>(size));
    return to;
}

Bytes bzimage(Bytes const& payload, std::uint32_t offset = 64)
{
    constexpr std::size_t start = 5 * 512;
    Bytes file(start + offset + payload.size());
    auto const put = [&](std::size_t at, auto value) { std::memcpy(file.data() + at, &value, sizeof value); };
    put(0x1f1, std::uint8_t{4});
    put(0x1fe, std::uint16_t{0xaa55});
    std::memcpy(file.data() + 0x202, "HdrS", 4);
    put(0x206, std::uint16_t{0x20f});
    put(0x248, offset);
    put(0x24c, static_cast<std::uint32_t>(payload.size()));
    std::memcpy(file.data() + start + offset, payload.data(), payload.size());
    return file;
}

std::string problem_of(Bytes const& file)
{
    try {
        unpack_kernel(file);
    } catch (Problem const& problem) {
        return problem.what();
    }
    return "";
}

bool unpacks_to(Bytes const& file, Bytes const& expected)
{
    auto const unpacked = unpack_kernel(file);
    return std::ranges::equal(unpacked.elf, expected);
}

TEST(KernelFile, FindsTheImageHoweverItIsPacked)
{
    auto const elf = sample();
    EXPECT_TRUE(unpacks_to(elf, elf));
    for (auto* const pack : {gzip, xz, zstd, lz4_legacy}) {
        EXPECT_TRUE(unpacks_to(pack(elf), elf));
        EXPECT_TRUE(unpacks_to(bzimage(pack(elf)), elf));
        // As the kernel's build does for all but gzip: the size follows.
        auto with_size = pack(elf);
        with_size.resize(with_size.size() + 4, std::byte{7});
        EXPECT_TRUE(unpacks_to(bzimage(with_size), elf));
    }
    EXPECT_TRUE(unpacks_to(bzimage(elf), elf));
}

TEST(KernelFile, SaysWhatIsWrong)
{
    auto const elf = sample();
    EXPECT_EQ(problem_of(text("#!/bin/sh\n")), "not a kernel: neither ELF nor a bzImage, nor one packed with gzip, xz, zstd or lz4");
    EXPECT_EQ(problem_of({}), problem_of(text("x")));
    EXPECT_EQ(problem_of(text("BZh91AY")), "packed with bzip2, which pvn does not read; use gzip, xz, zstd or lz4");
    EXPECT_EQ(problem_of(gzip(text("hello"))), "not a kernel: what is packed in it is no ELF file");
    EXPECT_EQ(problem_of(gzip(gzip(elf))), "not a kernel: what is packed in it is no ELF file");
    auto short_image = bzimage(gzip(elf));
    short_image.resize(short_image.size() - 1);
    EXPECT_EQ(problem_of(short_image).substr(0, 10), "truncated:");
    auto old = bzimage(gzip(elf));
    old[0x206] = std::byte{0x07};
    EXPECT_EQ(problem_of(old), "its boot protocol 2.07 is too old: it does not say where the kernel is");
}

TEST(KernelFile, LyingHeaders)
{
    auto const packed = gzip(sample());
    for (std::uint32_t const lie : {0u, 1u, 0x7fffffffu, 0xffffffffu, 0xfffff000u})
        for (std::size_t const at : {std::size_t{0x248}, std::size_t{0x24c}}) {
            auto file = bzimage(packed);
            std::memcpy(file.data() + at, &lie, 4);
            if (at == 0x248 && lie == 64) continue;
            EXPECT_NE(problem_of(file), "") << at << " " << lie;
        }
    for (int sectors = 0; sectors < 256; ++sectors) {
        auto file = bzimage(packed);
        file[0x1f1] = static_cast<std::byte>(sectors);
        if (sectors != 0 && sectors != 4) EXPECT_NE(problem_of(file), "") << sectors;
    }
}

TEST(Decompress, EveryTruncationIsAProblemAndNothingElse)
{
    auto const elf = sample(3000);
    for (auto* const pack : {gzip, xz, zstd, lz4_legacy}) {
        auto const packed = pack(elf);
        for (std::size_t size = 0; size < packed.size(); ++size) {
            // In memory of exactly that size, so that a read beyond it is seen.
            Bytes const part(packed.begin(), packed.begin() + static_cast<std::ptrdiff_t>(size));
            try {
                // Legacy LZ4 has no end mark: cut between blocks it is just shorter.
                EXPECT_LT(decompress(part, 1 << 20).size(), elf.size());
                EXPECT_EQ(packed_with(part), "lz4");
            } catch (Problem const&) {
            }
        }
    }
}

TEST(Decompress, DamageIsAProblemOrOtherBytes)
{
    auto const elf = sample(2000);
    std::minstd_rand random{7};
    for (auto* const pack : {gzip, xz, zstd, lz4_legacy})
        for (int round = 0; round < 2000; ++round) {
            auto packed = pack(elf);
            for (int flips = 0; flips < 3; ++flips) packed[random() % packed.size()] ^= static_cast<std::byte>(1u << random() % 8);
            try {
                EXPECT_LE(decompress(packed, 1 << 20).size(), std::size_t{1} << 20);
            } catch (Problem const&) {
            }
        }
}

TEST(Decompress, WillNotUnpackMoreThanTheLimit)
{
    Bytes const zeros(20 << 20);
    for (auto* const pack : {gzip, xz, zstd}) {
        auto const packed = pack(zeros);
        EXPECT_LT(packed.size(), zeros.size() / 100);
        try {
            decompress(packed, 10 << 20);
            ADD_FAILURE() << "unpacked a bomb";
        } catch (Problem const& problem) {
            EXPECT_STREQ(problem.what(), "unpacks to more than 10 MiB: not a kernel");
        }
    }
}

TEST(KernelFile, ForeignKernels)
{
    auto const path = testing::TempDir() + "/foreign_kernel";
    auto const problem = [&](Bytes const& bytes) -> std::string {
        auto* const file = std::fopen(path.c_str(), "wb");
        std::fwrite(bytes.data(), 1, bytes.size(), file);
        std::fclose(file);
        try {
            KernelFile{path};
        } catch (Problem const& why) {
            return std::string{why.what()}.substr(path.size());
        }
        return "";
    };
    EXPECT_EQ(problem({}), " is empty");
    EXPECT_EQ(problem(gzip(sample())), ": not an ELF file for x86-64");
    std::remove(path.c_str());
    EXPECT_EQ(problem_of({}).empty(), false);
    EXPECT_THROW(KernelFile{path}, Problem);
    EXPECT_THROW(KernelFile{"/"}, Problem);
    EXPECT_THROW(KernelFile{"/dev/null"}, Problem);
    // This very program: an ELF file for x86-64, and no kernel.
    try {
        KernelFile{"/proc/self/exe"};
        ADD_FAILURE();
    } catch (Problem const& why) {
        EXPECT_NE(std::string{why.what()}.find("no Paravane notes: not a kernel ported to Paravane"), std::string::npos) << why.what();
    }
}

}  // namespace
}  // namespace pvn::tools
