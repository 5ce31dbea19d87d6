// SPDX-License-Identifier: MIT
#include "lib/decompress.hpp"

#include <fmt/format.h>
#include <lz4.h>
#include <lz4frame.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <memory>

#include "lib/file.hpp"

namespace pvn::tools {
namespace {

using Bytes = std::span<std::byte const>;

[[noreturn]] void truncated() { throw Problem{"truncated: its compressed contents end early"}; }
[[noreturn]] void damaged(char const* format) { throw Problem{fmt::format("damaged: its {} contents cannot be unpacked", format)}; }

std::uint32_t little_endian(Bytes bytes)
{
    std::uint32_t value;
    std::memcpy(&value, bytes.data(), sizeof value);
    return value;
}

// Where the output grows.  What a stream says of its own size is no reason to take memory.
class Output {
public:
    Output(std::size_t expected, std::size_t limit) : limit_{limit} { bytes_.resize(std::min(std::max<std::size_t>(expected, 1 << 16), limit)); }
    std::byte* free_space() { return bytes_.data() + used_; }
    std::size_t free_size() const { return bytes_.size() - used_; }
    void add(std::size_t count) { used_ += count; }
    // Afterwards there is at least that much space.
    void grow(std::size_t wanted = 1)
    {
        if (free_size() >= wanted) return;
        if (limit_ - used_ < wanted) throw Problem{fmt::format("unpacks to more than {} MiB: not a kernel", limit_ >> 20)};
        bytes_.resize(std::min(limit_, std::max(bytes_.size() * 2, used_ + wanted)));
    }
    std::vector<std::byte> take()
    {
        bytes_.resize(used_);
        return std::move(bytes_);
    }

private:
    std::vector<std::byte> bytes_;
    std::size_t used_ = 0, limit_;
};

std::vector<std::byte> gunzip(Bytes packed, Output output)
{
    z_stream stream{};
    if (inflateInit2(&stream, 16 + MAX_WBITS) != Z_OK) throw Problem{"no memory to unpack it"};
    auto const end = [](z_stream* s) { inflateEnd(s); };
    std::unique_ptr<z_stream, decltype(end)> const owner{&stream, end};
    for (std::size_t taken = 0;;) {
        output.grow();
        auto const in = std::min<std::size_t>(packed.size() - taken, 1 << 30), out = std::min<std::size_t>(output.free_size(), 1 << 30);
        stream.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(packed.data() + taken));
        stream.avail_in = static_cast<uInt>(in);
        stream.next_out = reinterpret_cast<Bytef*>(output.free_space());
        stream.avail_out = static_cast<uInt>(out);
        auto const result = inflate(&stream, Z_NO_FLUSH);
        taken += in - stream.avail_in;
        output.add(out - stream.avail_out);
        if (result == Z_STREAM_END) return output.take();
        if (result == Z_BUF_ERROR || (result == Z_OK && stream.avail_out != 0 && taken == packed.size())) truncated();
        if (result != Z_OK) damaged("gzip");
    }
}

std::vector<std::byte> unxz(Bytes packed, Output output)
{
    constexpr std::uint64_t most_memory = 256 << 20;  // the dictionary is the stream's wish
    lzma_stream stream = LZMA_STREAM_INIT;
    if (lzma_stream_decoder(&stream, most_memory, 0) != LZMA_OK) throw Problem{"no memory to unpack it"};
    auto const end = [](lzma_stream* s) { lzma_end(s); };
    std::unique_ptr<lzma_stream, decltype(end)> const owner{&stream, end};
    stream.next_in = reinterpret_cast<std::uint8_t const*>(packed.data());
    stream.avail_in = packed.size();
    for (;;) {
        output.grow();
        auto const out = output.free_size();
        stream.next_out = reinterpret_cast<std::uint8_t*>(output.free_space());
        stream.avail_out = out;
        auto const result = lzma_code(&stream, LZMA_RUN);
        output.add(out - stream.avail_out);
        if (result == LZMA_STREAM_END) return output.take();
        if (result == LZMA_BUF_ERROR || (result == LZMA_OK && stream.avail_in == 0 && stream.avail_out != 0)) truncated();
        if (result != LZMA_OK) damaged("xz");
    }
}

std::vector<std::byte> unzstd(Bytes packed, Output output)
{
    std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)> const context{ZSTD_createDCtx(), &ZSTD_freeDCtx};
    if (!context || ZSTD_isError(ZSTD_DCtx_setParameter(context.get(), ZSTD_d_windowLogMax, 27))) throw Problem{"no memory to unpack it"};
    ZSTD_inBuffer in{packed.data(), packed.size(), 0};
    for (;;) {
        output.grow();
        ZSTD_outBuffer out{output.free_space(), output.free_size(), 0};
        auto const taken = in.pos;
        auto const left = ZSTD_decompressStream(context.get(), &out, &in);
        if (ZSTD_isError(left)) damaged("zstd");
        output.add(out.pos);
        if (left == 0) return output.take();
        if (in.pos == in.size && taken == in.pos && out.pos == 0) truncated();
    }
}

// The format that the kernel is packed with: a magic number, then blocks of at most 8 MiB, each with its packed size.
std::vector<std::byte> unlz4_legacy(Bytes packed, Output output)
{
    constexpr std::size_t block = 8 << 20;
    for (auto rest = packed.subspan(4);;) {
        if (rest.size() < 4) return output.take();
        std::size_t const size = little_endian(rest);
        // The end: nothing follows but, in a bzImage, the unpacked size.
        if (size == 0 || size > static_cast<std::size_t>(LZ4_COMPRESSBOUND(block)) || rest.size() == 4) return output.take();
        if (size > rest.size() - 4) truncated();
        output.grow(block);
        auto const done = LZ4_decompress_safe(reinterpret_cast<char const*>(rest.data() + 4), reinterpret_cast<char*>(output.free_space()),
                                              static_cast<int>(size), static_cast<int>(block));
        if (done < 0) damaged("lz4");
        output.add(static_cast<std::size_t>(done));
        rest = rest.subspan(4 + size);
    }
}

std::vector<std::byte> unlz4(Bytes packed, Output output)
{
    LZ4F_dctx* raw = nullptr;
    if (LZ4F_isError(LZ4F_createDecompressionContext(&raw, LZ4F_VERSION))) throw Problem{"no memory to unpack it"};
    std::unique_ptr<LZ4F_dctx, decltype(&LZ4F_freeDecompressionContext)> const context{raw, &LZ4F_freeDecompressionContext};
    for (std::size_t taken = 0;;) {
        output.grow();
        auto in = packed.size() - taken, out = output.free_size();
        auto const left = LZ4F_decompress(context.get(), output.free_space(), &out, packed.data() + taken, &in, nullptr);
        if (LZ4F_isError(left)) damaged("lz4");
        taken += in;
        output.add(out);
        if (left == 0) return output.take();
        if (in == 0 && out == 0) truncated();
    }
}

struct Format {
    std::string_view name;
    std::string_view magic;
    std::vector<std::byte> (*unpack)(Bytes, Output);
};
using namespace std::string_view_literals;
constexpr std::array formats{Format{"gzip", "\x1f\x8b"sv, gunzip},
                             Format{"xz", "\xfd\x37zXZ\0"sv, unxz},
                             Format{"zstd", "\x28\xb5\x2f\xfd"sv, unzstd},
                             Format{"lz4", "\x02\x21\x4c\x18"sv, unlz4_legacy},
                             Format{"lz4", "\x04\x22\x4d\x18"sv, unlz4},
                             Format{"bzip2", "BZh"sv, nullptr},
                             Format{"lzma", "\x5d\0\0"sv, nullptr},
                             Format{"lzo", "\x89LZO"sv, nullptr}};

Format const* format_of(Bytes bytes)
{
    for (auto const& format : formats)
        if (bytes.size() >= format.magic.size() && std::memcmp(bytes.data(), format.magic.data(), format.magic.size()) == 0) return &format;
    return nullptr;
}

}  // namespace

std::string_view packed_with(Bytes bytes)
{
    auto const* const format = format_of(bytes);
    return format != nullptr ? format->name : std::string_view{};
}

std::vector<std::byte> decompress(Bytes packed, std::size_t limit)
{
    auto const* const format = format_of(packed);
    if (format == nullptr) throw Problem{"its contents are packed in an unknown way"};
    if (format->unpack == nullptr) throw Problem{fmt::format("packed with {}, which pvn does not read; use gzip, xz, zstd or lz4", format->name)};
    return format->unpack(packed, Output{packed.size() * 4, limit});
}

}  // namespace pvn::tools
