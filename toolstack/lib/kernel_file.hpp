// SPDX-License-Identifier: MIT
// A guest kernel as it lies on a disk: an ELF file, the same packed, or a bzImage.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "boot/elf.hpp"
#include "lib/file.hpp"

namespace pvn::tools {

struct Unpacked {
    std::vector<std::byte> own;        // empty: the image is in the file as it is
    std::span<std::byte const> elf;    // in `own` or in the file
};
// Problem: what is wrong with it.  The bytes are hostile.
Unpacked unpack_kernel(std::span<std::byte const> file);

class KernelFile {
public:
    explicit KernelFile(std::string const& name);  // Problem: names the file
    std::span<std::byte const> elf() const { return unpacked_.elf; }
    boot::KernelImage const& image() const { return image_; }

private:
    Content file_;
    Unpacked unpacked_;
    boot::KernelImage image_;
};

}  // namespace pvn::tools
