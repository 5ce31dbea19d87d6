// SPDX-License-Identifier: MIT
#include "lib/disks.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <optional>

#include "lib/network_block.hpp"

namespace pvn::tools {
namespace {

constexpr char block[] = "block";

std::string what(std::uint16_t domain, unsigned number) { return fmt::format("{} of domain {}", disk_name(number), domain); }

File open_file(std::string const& path, int flags)
{
    File file{open(path.c_str(), flags | O_CLOEXEC)};
    if (file.get() < 0) throw Problem{fmt::format("cannot open {}: {}", path, std::strerror(errno))};
    return file;
}

struct Target {
    bool is_file;
    std::string id;  // two paths of one thing have the same
};

Target look_at(DiskConfig const& disk)
{
    struct stat status{};
    if (stat(disk.target.c_str(), &status) != 0) throw Problem{fmt::format("cannot use {} as a disk: {}", disk.target, std::strerror(errno))};
    if (disk.format != "raw" && S_ISREG(status.st_mode)) return {true, fmt::format("file {}:{}:{}", major(status.st_dev), minor(status.st_dev), status.st_ino)};
    if (S_ISBLK(status.st_mode)) return {false, fmt::format("device {}:{}", major(status.st_rdev), minor(status.st_rdev))};
    if (!S_ISREG(status.st_mode)) throw Problem{fmt::format("cannot use {} as a disk: it is neither a file nor a block device", disk.target)};
    auto const sector = disk.sector_size != 0 ? disk.sector_size : 512u;
    if (status.st_size == 0 || status.st_size % sector != 0)
        throw Problem{fmt::format("cannot use {} as a disk: its size, {} bytes, is no multiple of its sectors of {}", disk.target, status.st_size, sector)};
    return {true, fmt::format("file {}:{}:{}", major(status.st_dev), minor(status.st_dev), status.st_ino)};
}

// Any number may read; who writes is alone.
void check_unused(StoreClient& store, Target const& target, DiskConfig const& disk)
{
    std::string const all = "/local/domain/0/backend/block";
    if (!store.find(all)) return;
    for (auto const& domain : store.list(all))
        for (auto const& number : store.list(fmt::format("{}/{}", all, domain))) {
            auto const place = fmt::format("{}/{}/{}", all, domain, number);
            if (store.find(place + "/target-id").value_or("") != target.id) continue;
            if (disk.read_only && store.find(place + "/read-only").value_or("0") == "1") continue;
            throw Problem{fmt::format("{} is in use: it is {} of domain {}{}", disk.target, disk_name(disk_number(number).value_or(0)), domain,
                                      disk.read_only ? ", which writes to it" : "; only disks that nobody writes to can be shared (read_only = true)")};
        }
}

// A loop device for an image.  Until it is kept it ends with whoever has it open: nothing is left of a pvn that is killed.
class Loop {
public:
    explicit Loop(DiskConfig const& disk) : file_{open_file(disk.target, disk.read_only ? O_RDONLY : O_RDWR)}
    {
        auto const control = open_file("/dev/loop-control", O_RDWR);
        loop_config config{};
        config.fd = static_cast<std::uint32_t>(file_.get());
        config.block_size = disk.sector_size;
        config.info.lo_flags = LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO | (disk.read_only ? LO_FLAGS_READ_ONLY : 0u);
        disk.target.copy(reinterpret_cast<char*>(config.info.lo_file_name), LO_NAME_SIZE - 1);
        for (int tries = 0; tries < 64; ++tries) {  // others take loop devices, too
            auto const number = ioctl(control.get(), LOOP_CTL_GET_FREE);
            if (number < 0) throw Problem{fmt::format("no loop device is free for {}: {}", disk.target, std::strerror(errno))};
            name_ = fmt::format("/dev/loop{}", number);
            device_ = open_file(name_, disk.read_only ? O_RDONLY : O_RDWR);
            if (ioctl(device_.get(), LOOP_CONFIGURE, &config) == 0) return;
            if (errno != EBUSY) throw Problem{fmt::format("cannot make a disk of {}: {}", disk.target, std::strerror(errno))};
        }
        throw Problem{fmt::format("no loop device stays free for {}", disk.target)};
    }
    std::string const& name() const { return name_; }
    void keep()
    {
        loop_info64 info{};
        if (ioctl(device_.get(), LOOP_GET_STATUS64, &info) != 0) throw Problem{fmt::format("{} is gone: {}", name_, std::strerror(errno))};
        info.lo_flags &= ~static_cast<std::uint32_t>(LO_FLAGS_AUTOCLEAR);
        if (ioctl(device_.get(), LOOP_SET_STATUS64, &info) != 0) throw Problem{fmt::format("cannot keep {}: {}", name_, std::strerror(errno))};
    }

private:
    File file_, device_;
    std::string name_;
};

// What a place in the store says that was made for it.
struct Made {
    std::string kind, device;  // "loop", "nbd" or "": the target itself
};

void end_device_of(Made const& made)
{
    if (made.kind == "nbd") return end_network_block(made.device);
    if (made.kind != "loop") return;
    File const file{open(made.device.c_str(), O_RDONLY | O_CLOEXEC)};
    if (file.get() >= 0) (void)ioctl(file.get(), LOOP_CLR_FD, 0);  // one that is open somewhere ends when it is closed
}

DevicePlace place_of(std::uint16_t domain, unsigned number) { return {block, domain, number}; }

Made made_for(StoreClient& store, DevicePlace const& place)
{
    return {store.find(place.back() + "/made").value_or(""), store.find(place.back() + "/device").value_or("")};
}

}  // namespace

std::string disk_name(unsigned number)
{
    std::string letters;
    do letters.insert(letters.begin(), static_cast<char>('a' + number % 26));
    while ((number /= 26) != 0 && (--number, true));
    return "pvd" + letters;
}

std::optional<unsigned> disk_number(std::string const& text)
{
    unsigned number = 0;
    auto const* const end = text.data() + text.size();
    if (auto const [at, error] = std::from_chars(text.data(), end, number); error == std::errc{} && at == end) return number;
    constexpr unsigned most = 26 * 27;
    for (number = 0; number < most; ++number)
        if (disk_name(number) == text) return number;
    return std::nullopt;
}

std::vector<Disk> disks_of(StoreClient& store, std::uint16_t domain)
{
    std::vector<Disk> disks;
    for (auto const number : numbers_of_devices(store, block, domain)) {
        auto const place = place_of(domain, number);
        auto const value = [&](char const* key) { return store.find(fmt::format("{}/{}", place.back(), key)).value_or(""); };
        Disk disk;
        disk.number = number;
        disk.config.target = value("target");
        disk.config.read_only = value("read-only") == "1";
        disk.config.sector_size = static_cast<std::uint32_t>(std::strtoul(value("wanted-sector-size").c_str(), nullptr, 10));
        disk.config.format = value("format");
        disk.device = value("device");
        disk.bytes = std::strtoull(value("sectors").c_str(), nullptr, 10) * 512;
        disk.front = state_of(store, place, Side::front);
        disk.back = state_of(store, place, Side::back);
        disk.error = error_of(store, place);
        disks.push_back(std::move(disk));
    }
    return disks;
}

void attach_disk(StoreClient& store, std::uint16_t domain, unsigned number, DiskConfig const& disk)
{
    auto const place = place_of(domain, number);
    auto const target = look_at(disk);
    check_unused(store, target, disk);
    if (store.find(place.back())) throw Problem{fmt::format("domain {} has a disk {} already", domain, disk_name(number))};
    std::optional<Loop> loop;
    std::optional<NetworkBlock> served;
    Made made{"", disk.target};
    if (disk.format != "raw") {
        served.emplace(disk);
        made = {"nbd", served->name()};
    } else if (target.is_file) {
        loop.emplace(disk);
        made = {"loop", loop->name()};
    }
    try {
        make_places(store, place,
                    {{"target", disk.target}, {"target-id", target.id}, {"format", disk.format}, {"read-only", disk.read_only ? "1" : "0"},
                     {"wanted-sector-size", std::to_string(disk.sector_size)}, {"made", made.kind}, {"device", made.device}});
        wait_for_offer(store, place, fmt::format("{} ({})", what(domain, number), disk.target));
        if (loop) loop->keep();
        if (served) served->keep();
    } catch (...) {
        remove_places(store, place);
        throw;
    }
}

void detach_disk(StoreClient& store, std::uint16_t domain, unsigned number, bool force)
{
    auto const place = place_of(domain, number);
    if (!store.find(place.back())) throw Problem{fmt::format("there is no {}", what(domain, number))};
    auto const made = made_for(store, place);
    end_device(store, place, force, what(domain, number));
    end_device_of(made);
}

std::uint64_t resize_disk(StoreClient& store, std::uint16_t domain, unsigned number)
{
    auto const place = place_of(domain, number);
    auto const device = store.find(place.back() + "/device");
    if (!device) throw Problem{fmt::format("there is no {}", what(domain, number))};
    auto const file = open_file(*device, O_RDONLY);
    auto const made = made_for(store, place);
    if (made.kind == "nbd") throw Problem{fmt::format("{}: only raw images and devices can be resized while they are used", what(domain, number))};
    if (made.kind == "loop" && ioctl(file.get(), LOOP_SET_CAPACITY, 0) != 0)
        throw Problem{fmt::format("{}: cannot take over the new size: {}", what(domain, number), std::strerror(errno))};
    std::uint64_t bytes = 0;
    if (ioctl(file.get(), BLKGETSIZE64, &bytes) != 0) throw Problem{fmt::format("cannot find out the size of {}: {}", *device, std::strerror(errno))};
    store.write(place.back() + "/online", "1");  // the back end looks
    return bytes;
}

void release_disks(StoreClient& store, std::uint16_t domain)
{
    for (auto const number : numbers_of_devices(store, block, domain)) detach_disk(store, domain, number, true);
}

}  // namespace pvn::tools
