// SPDX-License-Identifier: MIT
// Files: a descriptor that closes itself, and the bytes of a whole file.
#pragma once

#include <cstddef>
#include <span>
#include <stdexcept>
#include <string>

namespace pvn::tools {

// What a command says before it ends with a non-zero exit code: one line, what is wrong and what to do.
struct Problem : std::runtime_error {
    // Control characters of what it quotes become `?`: they would end the line, or reach the terminal.
    explicit Problem(std::string what);
};

class File {  // owns a descriptor
public:
    explicit File(int descriptor = -1) : descriptor_{descriptor} {}
    File(File&& other) noexcept : descriptor_{other.release()} {}
    File& operator=(File&& other) noexcept;
    ~File();
    int get() const { return descriptor_; }
    int release();

private:
    int descriptor_;
};

// A file's bytes, mapped.
class Content {
public:
    explicit Content(std::string const& name);  // Problem: names the file
    Content(Content const&) = delete;
    Content& operator=(Content const&) = delete;
    ~Content();
    std::span<std::byte const> bytes() const { return {static_cast<std::byte const*>(memory_), size_}; }

private:
    void* memory_;
    std::size_t size_;
};

}  // namespace pvn::tools
