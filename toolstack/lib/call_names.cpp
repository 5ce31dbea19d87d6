// SPDX-License-Identifier: MIT
#include "lib/call_names.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "arch/x86/registers.hpp"
#include "paravane/hypercall.h"

namespace pvn::tools {
namespace {

struct Name {
    std::uint64_t number;
    std::string_view text;
};
#define CALL(name) Name{PVN_##name, #name}
constexpr std::array calls{
    CALL(MMU_QUEUE), CALL(MMU_UPDATE_VA), CALL(MMU_SET_ROOT), CALL(MMU_FLUSH), CALL(MMU_INVALIDATE_PAGE), CALL(MMU_FLUSH_VCPUS), CALL(MMU_WRITE),
    CALL(MEMORY_POPULATE), CALL(MEMORY_GIVE_BACK), CALL(MEMORY_QUERY), CALL(MEMORY_MAP_FOREIGN), CALL(EVENT_ALLOC),
    CALL(EVENT_BIND_DOMAIN), CALL(EVENT_BIND_VIRQ), CALL(EVENT_BIND_IPI), CALL(EVENT_BIND_IRQ), CALL(EVENT_CLOSE),
    CALL(EVENT_SEND), CALL(EVENT_UNMASK), CALL(EVENT_STATUS), CALL(EVENT_BIND_VCPU), CALL(GRANT_SET_TABLE), CALL(GRANT_MAP),
    CALL(GRANT_UNMAP), CALL(GRANT_COPY), CALL(GRANT_QUERY), CALL(SCHED_YIELD), CALL(SCHED_BLOCK),
    CALL(SCHED_SHUTDOWN), CALL(SCHED_POLL), CALL(SCHED_WAIT), CALL(VCPU_SET_TIMER), CALL(VCPU_SET_DESCRIPTOR), CALL(VCPU_SET_LDT), CALL(VCPU_SET_DEBUG),
    CALL(VCPU_GET_DEBUG), CALL(VCPU_SET_XCR0), CALL(VCPU_INITIALISE), CALL(VCPU_UP), CALL(VCPU_DOWN), CALL(VCPU_QUERY), CALL(VCPU_SET_USER_GS),
    CALL(VCPU_SET_IO_BITMAP), CALL(TIME_SET_WALL_CLOCK), CALL(PHYS_MAP_GSI), CALL(PHYS_UNMAP), CALL(PHYS_EOI), CALL(PHYS_MAP_MSI),
    CALL(PHYS_IOAPIC_READ), CALL(DOMAIN_CREATE), CALL(DOMAIN_DESTROY), CALL(DOMAIN_PAUSE), CALL(DOMAIN_UNPAUSE), CALL(DOMAIN_SET_CONTEXT),
    CALL(DOMAIN_GET_CONTEXT), CALL(DOMAIN_POPULATE), CALL(DOMAIN_INFO), CALL(DOMAIN_SET_LIMIT), CALL(DOMAIN_SET_SCHED),
    CALL(DOMAIN_MMU_QUEUE), CALL(DOMAIN_GET_MFNS), CALL(DOMAIN_EVENT_ALLOC), CALL(DOMAIN_AUDIT), CALL(DOMAIN_GET_TRAPS),
    CALL(DOMAIN_REQUEST_POWER), CALL(DOMAIN_GET_SCHED), CALL(DOMAIN_VCPU_INFO), CALL(DOMAIN_SET_AFFINITY), CALL(DOMAIN_REQUEST_VCPUS), CALL(DOMAIN_TAKE_TO_POOL), CALL(SYSTEM_VERSION),
    CALL(SYSTEM_CONSOLE_WRITE), CALL(SYSTEM_CONSOLE_READ), CALL(SYSTEM_INFO), CALL(SYSTEM_LOG_READ), CALL(SYSTEM_DEBUG_KEY),
    CALL(SYSTEM_CPU_INFO), CALL(SYSTEM_SET_CPU), CALL(SYSTEM_LOCKS), CALL(SYSTEM_TRACE), CALL(SYSTEM_TRACE_READ), CALL(SYSTEM_POOL_CREATE), CALL(SYSTEM_POOL_DESTROY), CALL(SYSTEM_POOL_INFO), CALL(SYSTEM_POOL_TAKE_CPU), CALL(SYSTEM_FAIL_ALLOCATION), CALL(MULTI),
};
#undef CALL

constexpr std::array<std::string_view, 32> exceptions{"#DE", "#DB", "NMI", "#BP", "#OF", "#BR", "#UD", "#NM", "#DF", "",    "#TS", "#NP", "#SS", "#GP", "#PF", "",
                                                      "#MF", "#AC", "#MC", "#XM", "#VE", "#CP", "",    "",    "",    "",    "",    "",    "",    "",    "#SX", ""};

}  // namespace

std::string call_name(std::uint64_t number)
{
    auto const* const found = std::ranges::find(calls, number, &Name::number);
    return found != calls.end() ? std::string{found->text} : fmt::format("{:#x}", number);
}

std::string entry_name(std::uint64_t entry)
{
    if (entry < exceptions.size() && !exceptions[entry].empty()) return std::string{exceptions[entry]};
    switch (entry) {
    case vector::int80: return "int 0x80";
    case vector::upcall: return "upcall";
    case vector::again: return "hypercall again";
    case vector::timer: return "timer";
    case vector::ipi: return "IPI";
    case vector::hypercall: return "hypercall";
    default: break;
    }
    return fmt::format("interrupt {:#x}", entry);
}

}  // namespace pvn::tools
