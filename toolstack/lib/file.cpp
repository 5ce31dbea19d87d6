// SPDX-License-Identifier: MIT
#include "lib/file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace pvn::tools {

namespace {

std::string printable(std::string text)
{
    std::ranges::replace_if(text, [](unsigned char c) { return c < 0x20 || c == 0x7f; }, '?');
    return text;
}

}  // namespace

Problem::Problem(std::string what) : std::runtime_error{printable(std::move(what))} {}

File& File::operator=(File&& other) noexcept
{
    std::swap(descriptor_, other.descriptor_);
    return *this;
}
File::~File()
{
    if (descriptor_ >= 0) close(descriptor_);
}
int File::release() { return std::exchange(descriptor_, -1); }

Content::Content(std::string const& name)
{
    // Without O_NONBLOCK a named pipe would make us wait for its writer.
    File const file{open(name.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
    struct stat status{};
    if (file.get() < 0 || fstat(file.get(), &status) != 0) throw Problem{fmt::format("cannot read {}: {}", name, std::strerror(errno))};
    if (S_ISDIR(status.st_mode)) throw Problem{fmt::format("cannot read {}: it is a folder", name)};
    if (!S_ISREG(status.st_mode)) throw Problem{fmt::format("cannot read {}: it is not a regular file", name)};
    if (status.st_size == 0) throw Problem{fmt::format("{} is empty", name)};
    size_ = static_cast<std::size_t>(status.st_size);
    memory_ = mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file.get(), 0);
    if (memory_ == MAP_FAILED) throw Problem{fmt::format("cannot read {}: {}", name, std::strerror(errno))};
}
Content::~Content() { munmap(memory_, size_); }

}  // namespace pvn::tools
