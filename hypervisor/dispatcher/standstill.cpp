// SPDX-License-Identifier: MIT
#include "dispatcher/standstill.hpp"

#include <atomic>

#include "arch/x86/cpu.hpp"
#include "arch/x86/per_cpu.hpp"
#include "dispatcher/schedule.hpp"
#include "time/clock.hpp"

namespace pvn::standstill {
namespace {

constinit std::atomic<std::uint32_t> the_one{no_cpu};  // that works
constexpr std::uint64_t patience = 200'000'000;  // ns: a machine that is itself virtual may have to wait for its CPUs

}  // namespace

bool begin()
{
    auto const self = this_cpu().id;
    auto nobody = no_cpu;
    if (!the_one.compare_exchange_strong(nobody, self)) return false;
    auto const give_up = clock::now() + patience;
    for (std::uint32_t id = 0; id < cpu_count; ++id) {
        auto& cpu = *all_cpus[id];
        if (id == self || !cpu.online) continue;
        schedule::kick(cpu);
        // Once it has been seen idle it meets stand_if_asked() before it finds anything to do.
        while (!cpu.idle) {
            if (clock::now() >= give_up) {
                end();
                return false;
            }
            breathe();
        }
    }
    return true;
}

void end()
{
    the_one = no_cpu;
    for (std::uint32_t id = 0; id < cpu_count; ++id)
        if (all_cpus[id]->online) schedule::kick(*all_cpus[id]);
}

void breathe()
{
    schedule::let_interrupts_in();
    this_cpu().stay.count_exit();  // for the watchdog
}

void stand_if_asked()
{
    auto& self = this_cpu();
    for (auto one = the_one.load(); one != no_cpu && one != self.id; one = the_one.load()) {
        self.idle = true;
        self.reschedule = false;  // or else end() would not interrupt the halt; the caller is about to look anyway
        if (the_one.load() != no_cpu) cpu::halt_with_interrupts();
        self.idle = false;
        self.stay.count_exit();
    }
}

}  // namespace pvn::standstill
