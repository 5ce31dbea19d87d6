// SPDX-License-Identifier: MIT
// What pvn does, one function for each command.  A Problem is what goes wrong; the result is the exit code.
#pragma once

#include <chrono>
#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "lib/domain_config.hpp"

namespace pvn::tools {

inline constexpr int done = 0, failed = 1, misused = 2, timed_out = 3;

struct CreateOptions {
    std::string file;
    bool paused = false, attach = false, dry_run = false, json = false;
    std::chrono::seconds wait{30};  // for its devices
};
int create(CreateOptions const&);
int destroy(std::string const& name);
enum class Power { off, reboot };
// Without `wait` it is done when the guest has been told.
int request_power(std::string const& name, Power, std::optional<std::chrono::seconds> wait);
int pause(std::string const& name);
int unpause(std::string const& name);
int show_console(std::string const& name);

int list(bool json);
int info(std::string const& name, bool json);  // empty: of the machine
int dmesg(bool json);
int show_traps(std::string const& name, std::string const& kernel, bool json);  // kernel: for its symbols; empty: that of its description
int lint_kernel(std::string const& file, bool all, bool json);
int audit(bool json);

struct SchedulingChange {
    std::optional<std::uint32_t> weight;
    std::optional<std::string> warp, warp_limit, unwarp;  // durations
    bool any() const { return weight || warp || warp_limit || unwarp; }
};
int sched(std::string const& name, SchedulingChange const&, bool json);  // no name: shows all

int list_vcpus(std::string const& name, bool json);  // no name: of all domains
int set_vcpus(std::string const& name, std::uint32_t number);  // asks for so many online
// `vcpu`: a number, or "all".  Without `soft` that stays as it is.
int pin_vcpu(std::string const& name, std::string const& vcpu, std::string const& cpus, std::optional<std::string> const& soft);
int list_cpus(bool json);
int set_cpu(std::uint32_t cpu, bool online);
int show_locks(bool json);
int list_pools(bool json);
int create_pool(std::string const& scheduler, std::string const& cpus);  // cpus: may be empty.  Prints its number
int destroy_pool(std::uint32_t pool);
int add_to_pool(std::uint32_t pool, std::string const& cpus);
int move_to_pool(std::string const& name, std::uint32_t pool);
int list_disks(std::string const& name, bool json);  // no name: of all domains
// `target`, read_only and sector_size of the disk; it gets the next number.  Prints its name.
int attach_disk(std::string const& name, DiskConfig const&, std::chrono::seconds wait);
int detach_disk(std::string const& name, std::string const& disk, bool force);
int resize_disk(std::string const& name, std::string const& disk);
int list_vifs(std::string const& name, bool json);  // no name: of all domains
int attach_vif(std::string const& name, VifConfig const&, std::chrono::seconds wait);  // prints its number
int detach_vif(std::string const& name, std::string const& card, bool force);
int store_list(std::string const& path, bool deep, bool permissions, bool json);
int store_read(std::string const& path, bool json);
int store_write(std::string const& path, std::string const& value);
int store_remove(std::string const& path);
int store_watch(std::string const& path, std::uint32_t depth, std::optional<std::uint32_t> count, bool json);
int store_chmod(std::string const& path, std::vector<std::string> const& rights);  // none: shows them
struct TopOptions {
    std::optional<std::uint32_t> batch;  // how many times, 0: until interrupted; without it the screen shows it
    std::string interval = "1s";
    bool json = false;
};
int top(TopOptions const&);
struct TraceOptions {
    std::string file = "trace.json", events = "all";
    std::optional<double> seconds;  // without it until interrupted
    bool json = false;
};
int trace(TraceOptions const&);

void print_json(nlohmann::json const&);

}  // namespace pvn::tools
