// SPDX-License-Identifier: MIT
#include "store/journal.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <cerrno>
#include <cstring>
#include <vector>

namespace pvn::store {
namespace {

struct Header {
    std::uint32_t bytes, checksum;
};

std::uint32_t checksum_of(std::span<std::uint8_t const> bytes) { return static_cast<std::uint32_t>(crc32(0, bytes.data(), static_cast<uInt>(bytes.size()))); }

tools::File open_at(std::string const& path, int flags)
{
    tools::File file{open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_APPEND | flags, 0600)};
    if (file.get() < 0) throw tools::Problem{fmt::format("cannot open {}: {}", path, std::strerror(errno))};
    return file;
}

std::uint64_t write_group(tools::File const& file, std::span<pvn_store_Record const> group)
{
    std::vector<std::uint8_t> bytes(sizeof(Header));
    for (auto const& record : group) {
        auto const encoded = encode(record);
        bytes.insert(bytes.end(), encoded.begin(), encoded.end());
    }
    auto const content = std::span{bytes}.subspan(sizeof(Header));
    Header const header{static_cast<std::uint32_t>(content.size()), checksum_of(content)};
    std::memcpy(bytes.data(), &header, sizeof header);
    for (std::size_t done = 0; done < bytes.size();) {
        auto const written = ::write(file.get(), bytes.data() + done, bytes.size() - done);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0) throw tools::Problem{fmt::format("cannot write the store's journal: {}", std::strerror(errno))};
        done += static_cast<std::size_t>(written);
    }
    return bytes.size();
}

}  // namespace

Journal::Journal(std::string path) : path_{std::move(path)}, file_{open_at(path_, 0)} {}

void Journal::load(std::function<void(pvn_store_Record const&)> const& take)
{
    struct stat status{};
    fstat(file_.get(), &status);
    std::vector<std::uint8_t> all(static_cast<std::size_t>(status.st_size));
    std::size_t there = 0;
    for (ssize_t got; there < all.size() && (got = pread(file_.get(), all.data() + there, all.size() - there, static_cast<off_t>(there))) > 0;) there += static_cast<std::size_t>(got);
    std::span<std::uint8_t const> rest{all.data(), there};
    while (rest.size() >= sizeof(Header)) {
        Header header;
        std::memcpy(&header, rest.data(), sizeof header);
        if (rest.size() - sizeof header < header.bytes) break;
        auto group = rest.subspan(sizeof header, header.bytes);
        if (checksum_of(group) != header.checksum) break;
        while (!group.empty()) {
            pvn_store_Record record;
            std::size_t used = 0;
            if (parse(group, record, used) != Parsed::message) break;
            take(record);
            group = group.subspan(used);
        }
        rest = rest.subspan(sizeof header + header.bytes);
    }
    size_ = there - rest.size();
    if (ftruncate(file_.get(), static_cast<off_t>(size_)) != 0) throw tools::Problem{fmt::format("cannot shorten {}: {}", path_, std::strerror(errno))};
}

void Journal::append(std::span<pvn_store_Record const> group) { size_ += write_group(file_, group); }

void Journal::replace(std::span<pvn_store_Record const> records)
{
    auto const next = path_ + ".new";
    auto file = open_at(next, O_TRUNC);
    std::uint64_t size = 0;
    constexpr std::size_t at_once = 256;
    for (std::size_t done = 0; done < records.size(); done += at_once) size += write_group(file, records.subspan(done, std::min(at_once, records.size() - done)));
    if (std::rename(next.c_str(), path_.c_str()) != 0) throw tools::Problem{fmt::format("cannot put {} in its place: {}", next, std::strerror(errno))};
    file_ = std::move(file);
    size_ = size_when_replaced_ = size;
}

}  // namespace pvn::store
