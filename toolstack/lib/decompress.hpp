// SPDX-License-Identifier: MIT
// Unpacks what kernels are packed with.  The input is hostile: it may lie about its size, end early or never.
#pragma once

#include <cstddef>
#include <span>
#include <string_view>
#include <vector>

namespace pvn::tools {

// "gzip", "xz", "zstd", "lz4", or what it is though we cannot read it ("bzip2", "lzma", "lzo"); empty: none of these.
std::string_view packed_with(std::span<std::byte const>);

// What a packed stream holds.  What follows the stream is ignored: a bzImage appends its size there.
// Problem: truncated, damaged, a format that we cannot read, or more than `limit` bytes.
std::vector<std::byte> decompress(std::span<std::byte const> packed, std::size_t limit);

}  // namespace pvn::tools
