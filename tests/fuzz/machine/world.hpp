// SPDX-License-Identifier: MIT
// A machine in a process, for the hypercalls: RAM, one CPU that never runs a guest, and three domains with page tables.  The frame
// table, the ports, the grants and everything that reads arguments are the hypervisor's own; the scheduler, devices and the clock are
// not there, and what would ask them is answered here.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "domain/domain.hpp"

namespace pvn::fuzz {

inline constexpr std::uint64_t all_frames = 512;   // of the machine
// Nobody's: it stands behind every frame that somebody has, and stays empty.
constexpr bool is_guard(std::uint64_t frame) { return frame % 2 == 1 && frame > 2 * 4; }
inline constexpr std::uint64_t pages_each = 32;    // of a domain at the start: four tables, from the top, then data
inline constexpr std::uint64_t first_data = 4, grants_page = pages_each - 1;
inline constexpr std::uint64_t guest_base = std::uint64_t{1} << 39;  // where a domain sees its pages, side by side, and two empty entries
inline constexpr std::uint32_t domains_in_all = 3;  // the first is privileged

// Ends the process.
void expect(bool condition, char const* what);

class World {
public:
    World();
    World(World const&) = delete;
    World& operator=(World const&) = delete;
    ~World();

    Domain& domain(std::uint32_t number) { return *domains_[number % domains_in_all]; }
    // Its page with that number: the pfn that it has been given first.
    std::uint64_t pfn(std::uint32_t number, std::uint64_t page) const { return pfns_[number % domains_in_all][page % pages_each]; }

    // Counts agree with all tables, no lock is held, nobody wrote beyond a frame.
    void check() const;
    // All domains end, and nothing is left of them.
    void end();

private:
    void make(std::uint32_t number);

    std::vector<frames::Frame> frames_;
    std::vector<std::uint64_t> m2p_;
    std::unique_ptr<frames::FrameTable> table_;
    std::array<std::unique_ptr<Domain>, domains_in_all> domains_;
    std::array<std::vector<std::uint64_t>, domains_in_all> p2m_, pfns_;
    std::vector<std::unique_ptr<Vcpu>> vcpus_;
};

extern World* world;                           // null: there is none
extern std::array<bool, all_frames> is_free;   // of its frames
extern std::uint64_t clock_step;               // what the clock goes on by whenever it is read, ns

}  // namespace pvn::fuzz
