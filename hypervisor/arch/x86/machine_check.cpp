// SPDX-License-Identifier: MIT
#include "arch/x86/machine_check.hpp"

#include "arch/x86/cpu.hpp"
#include "arch/x86/per_cpu.hpp"
#include "console/log.hpp"

namespace pvn::machine_check {
namespace {

// [sdm/4] 2.1: architectural MSRs; each bank has four.
constexpr std::uint32_t capabilities = 0x179, global_status = 0x17a, global_control = 0x17b, bank_control = 0x400, bank_status = 0x401,
                        bank_address = 0x402, bank_misc = 0x403;
constexpr std::uint64_t status_valid = 1ull << 63, misc_valid = 1ull << 59, address_valid = 1ull << 58;

std::uint32_t banks() { return cpu::read_msr(capabilities) & 0xff; }

}  // namespace

// CPUID.1 EDX: bit 7 MCE, bit 14 MCA (the banks).
bool available() { return (cpu::cpuid(1).d & 1u << 7) != 0 && (cpu::cpuid(1).d & 1u << 14) != 0; }

void initialise()
{
    if (!available()) return;
    if ((cpu::read_msr(capabilities) & 0x100) != 0) cpu::write_msr(global_control, ~std::uint64_t{0});
    // What is in the banks from before is the firmware's; [sdm/3] 16.8.
    for (std::uint32_t bank = 0; bank < banks(); ++bank) {
        cpu::write_msr(bank_control + 4 * bank, ~std::uint64_t{0});
        cpu::write_msr(bank_status + 4 * bank, 0);
    }
}

void handle(Registers const& r)
{
    log("machine check on CPU {}: status {} rip {} cs {} rsp {} flags {}", this_cpu().id, Hex{cpu::read_msr(global_status)}, Hex{r.rip}, Hex{r.cs},
        Hex{r.rsp}, Hex{r.rflags});
    for (std::uint32_t bank = 0; bank < banks(); ++bank) {
        auto const status = cpu::read_msr(bank_status + 4 * bank);
        if ((status & status_valid) == 0) continue;
        log("bank {}: status {} address {} misc {}", bank, Hex{status}, Hex{(status & address_valid) != 0 ? cpu::read_msr(bank_address + 4 * bank) : 0},
            Hex{(status & misc_valid) != 0 ? cpu::read_msr(bank_misc + 4 * bank) : 0});
    }
    panic("machine check");
}

}  // namespace pvn::machine_check
