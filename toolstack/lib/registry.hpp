// SPDX-License-Identifier: MIT
// What the toolstack knows of running domains beyond the hypervisor: names, consoles.  One JSON file each in /run/pvn.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <sys/types.h>
#include <vector>

#include "lib/hypervisor.hpp"

namespace pvn::tools {

struct Record {
    std::string name;
    std::uint16_t id = 0;
    std::string uuid;        // of this incarnation: an id may be used again
    pid_t console_server = 0;
    std::string on_crash;
    std::string config_file;
};

class Registry {
public:
    Registry();  // makes the folder; holds its lock while it lives
    ~Registry();
    Registry(Registry const&) = delete;
    Registry& operator=(Registry const&) = delete;
    std::vector<Record> read(std::vector<pvn_domain_info> const& running) const;  // forgets those that run no more
    void write(Record const&) const;
    void forget(std::string const& name) const;
    void unlock();

private:
    File lock_;
};

std::string run_folder();
std::string console_socket(std::string const& name);
std::string console_log(std::string const& name);
std::string uuid_text(std::uint8_t const (&uuid)[16]);

}  // namespace pvn::tools
