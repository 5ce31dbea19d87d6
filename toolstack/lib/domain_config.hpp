// SPDX-License-Identifier: MIT
// A domain's description: a TOML file.  man/pvn.toml.5
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <string_view>

namespace pvn::tools {

// What becomes of a domain that has ended.
enum class OnEnd { destroy, restart, preserve };
std::string_view text_of(OnEnd);

struct DiskConfig {
    std::string target;             // a file with an image, or a block device
    bool read_only = false;
    std::uint32_t sector_size = 0;  // of a raw image: 512 or 4096; 0: 512, or what the device has
    std::string format = "raw";     // or "qcow2"

    friend bool operator==(DiskConfig const&, DiskConfig const&) = default;
};

struct VifConfig {
    std::string mac;             // empty: the usual one for the domain's name
    std::string bridge;          // of dom0's, in which its interface is; empty: none
    std::string address;         // of that interface, such as 10.1.0.1/24; empty: none
    std::uint32_t mtu = 1500;
    std::uint64_t rate = 0;      // bytes per second that the domain may send; 0: any
    bool offload = true;         // dividing packets and making sums may be left to the other side

    friend bool operator==(VifConfig const&, VifConfig const&) = default;
};

struct DomainConfig {
    std::string name, kernel, ramdisk, cmdline;
    std::uint64_t memory = 0;  // bytes, a multiple of a page
    std::uint32_t vcpus = 1, max_vcpus = 1;
    std::uint64_t cpus = ~std::uint64_t{0};  // where its vCPUs may run, bit n: CPU n
    std::uint32_t pool = 0;                  // of CPUs
    std::uint32_t weight = 256;
    std::map<unsigned, DiskConfig> disks;    // by number: 0 is pvda
    std::map<unsigned, VifConfig> vifs;      // by number
    OnEnd on_poweroff = OnEnd::destroy, on_reboot = OnEnd::restart, on_crash = OnEnd::preserve;

    friend bool operator==(DomainConfig const&, DomainConfig const&) = default;
};

// Problem: says the file, the line and the key.
DomainConfig parse_config(std::string_view text, std::string_view file_name);
DomainConfig read_config(std::string const& file_name);
// "128M", "1G", "65536K" in bytes.  Problem if it is none of these.
std::uint64_t parse_size(std::string_view text);
// "500us", "5ms", "1s", "0" in ns.  Problem if it is none of these.
std::uint64_t parse_duration(std::string_view text);
// "10Mb/s" (bits), "2MB/s" (bytes), in bytes per second.  Problem if it is neither.
std::uint64_t parse_rate(std::string_view text);
// In small letters.  Problem if it is no MAC address of one station.
std::string parse_mac(std::string_view text);
// Of IPv4, with the bits of its network.  Problem.
std::string parse_address(std::string_view text);
std::string duration_text(std::uint64_t nanoseconds);

// For a file of ours: what one writes the other reads.
nlohmann::json to_json(DiskConfig const&);
nlohmann::json to_json(VifConfig const&);
nlohmann::json to_json(DomainConfig const&);
DomainConfig config_from(nlohmann::json const&);  // nlohmann::json::exception

}  // namespace pvn::tools
