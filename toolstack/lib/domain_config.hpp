// SPDX-License-Identifier: MIT
// A domain's description: a TOML file.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace pvn::tools {

enum class OnCrash { destroy, preserve };

struct DomainConfig {
    std::string name, kernel, initrd, cmdline;
    std::uint64_t memory = 0;  // bytes, a multiple of a page
    std::uint32_t weight = 256;
    OnCrash on_crash = OnCrash::preserve;
};

// Problem: says the file, the line and the key.
DomainConfig parse_config(std::string_view text, std::string_view file_name);
DomainConfig read_config(std::string const& file_name);
// "128M", "1G", "65536K" in bytes.  Problem if it is none of these.
std::uint64_t parse_size(std::string_view text);

}  // namespace pvn::tools
