// SPDX-License-Identifier: MIT
// A domain's console: the ring that the guest writes to, and the person who looks at it.
#pragma once

#include <cstdint>
#include <deque>
#include <string>

#include "lib/hypervisor.hpp"
#include "paravane/console_ring.h"

namespace pvn::tools {

// Dom0's end of the ring.  The page is hostile: indices are read once, and a distance that cannot be is nothing.
class ConsoleRing {
public:
    ConsoleRing(std::uint16_t domain, std::uint64_t frame, std::uint32_t port);  // Problem
    std::string take_output();
    void give_input(std::deque<char>&);  // as much as fits
    int descriptor() const { return port_.descriptor(); }
    void clear() const { port_.clear(); }

private:
    pvn_console_ring& ring() const { return *reinterpret_cast<pvn_console_ring*>(page_.data()); }
    ForeignPages page_;
    EventPort port_;
};

// What take_output and give_input do, for tests.
std::string take_output(pvn_console_ring&);
bool give_input(pvn_console_ring&, std::deque<char>&);

// The console's file.  Bounded: a guest must not fill dom0's disk.  Made by the first output; errors are silent, since a full disk
// must not stop the console.
class ConsoleLog {
public:
    explicit ConsoleLog(std::string path, std::size_t most = 1 << 20) : path_{std::move(path)}, most_{most} {}
    void append(std::string_view);

private:
    std::string path_;
    std::size_t most_, size_ = 0;
    File file_;
};

// Connects standard input and output to the domain's console until Ctrl-] or the domain's end.  Problem: its keeper cannot be reached.
void attach_console(std::string const& name);

}  // namespace pvn::tools
