// SPDX-License-Identifier: MIT
// What the toolstack knows of domains beyond the hypervisor: names, descriptions, keepers.  One JSON file each in /run/pvn.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "lib/domain_config.hpp"
#include "lib/hypervisor.hpp"
#include "lib/process.hpp"

namespace pvn::tools {

struct Record {
    std::uint16_t id = 0;
    std::string uuid;                 // of this incarnation: an id may be used again
    bool building = false;            // `pvn create` has not come to its end
    Process keeper{};
    std::uint64_t console_frame = 0;  // machine frame
    std::uint32_t console_port = 0;   // the domain's
    DomainConfig config;
};

class Registry {
public:
    // Makes the folders; waits for the lock and holds it while it lives.  Problem: not root, interrupted, or too late.
    Registry();
    ~Registry();
    Registry(Registry const&) = delete;
    Registry& operator=(Registry const&) = delete;
    std::vector<Record> read() const;
    void write(Record const&) const;
    void forget(std::string const& name) const;
    void unlock();
    static std::string text(Record const&);
    static Record parse(std::string_view);  // std::exception
    void drop();  // in a child: closes the descriptor that the parent's lock is held by

private:
    File lock_;
};

std::string run_folder();
void make_folders();  // that, and the one for logs; who may not finds out later
std::string console_socket(std::string const& name);
std::string console_log(std::string const& name);
std::string uuid_text(std::uint8_t const (&uuid)[16]);

// Set by a signal; long operations look at it by stop_if_interrupted().
void note_interruptions();
void forget_interruptions();
bool is_interrupted();
void stop_if_interrupted();  // Problem

}  // namespace pvn::tools
