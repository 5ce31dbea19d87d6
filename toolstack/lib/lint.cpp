// SPDX-License-Identifier: MIT
// What each instruction does in ring 1: docs/porting-guide.md, docs/abi/vcpu.md
#include "lib/lint.hpp"

#include <capstone/capstone.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>

#include "lib/file.hpp"
#include "lib/kernel_code.hpp"

namespace pvn::tools {
namespace {

struct Rule {
    unsigned id;  // capstone's
    Verdict verdict;
    std::string_view advice;
};

constexpr std::string_view shows_hypervisors = "the hypervisor's value; keep your own", other_gdt = "looks into the hypervisor's GDT", privileged = "#GP",
                           count_it = "trapped and emulated; see `pvn traps`", unknown = "#UD";

constexpr Rule rules[] = {
    {X86_INS_POPF, Verdict::silent, "IF and IOPL stay; event_mask and PVN_VDSO_UNMASK_EVENTS"},
    {X86_INS_POPFD, Verdict::silent, "IF and IOPL stay; event_mask and PVN_VDSO_UNMASK_EVENTS"},
    {X86_INS_POPFQ, Verdict::silent, "IF and IOPL stay; event_mask and PVN_VDSO_UNMASK_EVENTS"},
    {X86_INS_PUSHF, Verdict::silent, "shows IF set; event_mask"},
    {X86_INS_PUSHFD, Verdict::silent, "shows IF set; event_mask"},
    {X86_INS_PUSHFQ, Verdict::silent, "shows IF set; event_mask"},
    {X86_INS_SGDT, Verdict::silent, shows_hypervisors},
    {X86_INS_SIDT, Verdict::silent, shows_hypervisors},
    {X86_INS_SLDT, Verdict::silent, shows_hypervisors},
    {X86_INS_STR, Verdict::silent, shows_hypervisors},
    {X86_INS_SMSW, Verdict::silent, shows_hypervisors},
    {X86_INS_LAR, Verdict::silent, other_gdt},
    {X86_INS_LSL, Verdict::silent, other_gdt},
    {X86_INS_VERR, Verdict::silent, other_gdt},
    {X86_INS_VERW, Verdict::silent, other_gdt},
    {X86_INS_IRET, Verdict::silent, "leaves events and GS base as they are; PVN_VDSO_RETURN_FROM_TRAP"},
    {X86_INS_IRETD, Verdict::silent, "leaves events and GS base as they are; PVN_VDSO_RETURN_FROM_TRAP"},
    {X86_INS_IRETQ, Verdict::silent, "leaves events and GS base as they are; PVN_VDSO_RETURN_FROM_TRAP"},
    {X86_INS_CPUID, Verdict::silent, "shows features that are off: SMAP, UMIP, PCID, global pages, x2APIC"},
    {X86_INS_SYSCALL, Verdict::silent, "a system call, not a hypercall; PVN_VDSO_HYPERCALL"},

    {X86_INS_SYSRET, Verdict::refused, "#GP; PVN_VDSO_RETURN_FROM_TRAP"},
    {X86_INS_SYSEXIT, Verdict::refused, "#GP; PVN_VDSO_RETURN_FROM_TRAP"},
    {X86_INS_STAC, Verdict::refused, unknown},
    {X86_INS_CLAC, Verdict::refused, unknown},
    {X86_INS_MONITOR, Verdict::refused, "#UD; PVN_VDSO_BLOCK"},
    {X86_INS_MWAIT, Verdict::refused, "#UD; PVN_VDSO_BLOCK"},
    {X86_INS_RDPMC, Verdict::refused, privileged},
    {X86_INS_LTR, Verdict::refused, "#GP; kernel_sp of the vCPU page"},
    {X86_INS_LGDT, Verdict::refused, "#GP; PVN_VCPU_SET_DESCRIPTOR"},
    {X86_INS_LIDT, Verdict::refused, "#GP; trap[] of the vCPU page"},
    {X86_INS_LLDT, Verdict::refused, "#GP; PVN_VCPU_SET_LDT"},
    {X86_INS_LMSW, Verdict::refused, privileged},
    {X86_INS_INVPCID, Verdict::refused, "#GP; PVN_MMU_FLUSH"},

    {X86_INS_CLI, Verdict::emulated, "trapped; a store of 1 to event_mask"},
    {X86_INS_STI, Verdict::emulated, "trapped; PVN_VDSO_UNMASK_EVENTS"},
    {X86_INS_HLT, Verdict::emulated, "trapped; PVN_VDSO_BLOCK"},
    {X86_INS_IN, Verdict::emulated, count_it},
    {X86_INS_OUT, Verdict::emulated, count_it},
    {X86_INS_INSB, Verdict::emulated, count_it},
    {X86_INS_INSW, Verdict::emulated, count_it},
    {X86_INS_INSD, Verdict::emulated, count_it},
    {X86_INS_OUTSB, Verdict::emulated, count_it},
    {X86_INS_OUTSW, Verdict::emulated, count_it},
    {X86_INS_OUTSD, Verdict::emulated, count_it},
    {X86_INS_CLTS, Verdict::emulated, count_it},
    {X86_INS_INVD, Verdict::emulated, count_it},
    {X86_INS_WBINVD, Verdict::emulated, count_it},
    {X86_INS_RDMSR, Verdict::emulated, "trapped; few registers, others are #GP"},
    {X86_INS_WRMSR, Verdict::emulated, "trapped; few registers, others are #GP"},
    {X86_INS_XSETBV, Verdict::emulated, count_it},
    {X86_INS_SWAPGS, Verdict::emulated, "trapped; kernel_gs_base and user_gs_base of the vCPU page"},
    {X86_INS_INVLPG, Verdict::emulated, "trapped; PVN_MMU_INVALIDATE_PAGE"},
};

// MOV is judged by its bytes: capstone has one id for all of them.
std::optional<Rule> rule_of_mov(cs_insn const& instruction)
{
    std::span const bytes{instruction.bytes, instruction.size};
    std::size_t at = 0;
    constexpr std::array<std::uint8_t, 11> prefixes{0x66, 0x67, 0xf0, 0xf2, 0xf3, 0x2e, 0x36, 0x3e, 0x26, 0x64, 0x65};
    while (at < bytes.size() && (std::ranges::find(prefixes, bytes[at]) != prefixes.end() || (bytes[at] & 0xf0) == 0x40)) ++at;
    auto const byte = [&](std::size_t i) { return at + i < bytes.size() ? bytes[at + i] : std::uint8_t{0}; };
    if (byte(0) == 0x0f && byte(1) >= 0x20 && byte(1) <= 0x23) return Rule{X86_INS_MOV, Verdict::emulated, "trapped; hypercalls of mmu and vcpu"};
    auto const segment = byte(1) >> 3 & 7;
    if (byte(0) == 0x8c && (segment == 1 || segment == 2)) return Rule{X86_INS_MOV, Verdict::silent, "shows RPL 1, where frames of traps show 0"};
    return {};
}

std::optional<Rule> rule_of(cs_insn const& instruction)
{
    if (instruction.id == X86_INS_MOV) return rule_of_mov(instruction);
    auto const* const found = std::ranges::find(rules, instruction.id, &Rule::id);
    return found != std::end(rules) ? std::optional{*found} : std::nullopt;
}

std::string text_of(cs_insn const& instruction)
{
    return instruction.op_str[0] == 0 ? std::string{instruction.mnemonic} : fmt::format("{} {}", instruction.mnemonic, instruction.op_str);
}

class Disassembler {
public:
    Disassembler()
    {
        if (cs_open(CS_ARCH_X86, CS_MODE_64, &handle_) != CS_ERR_OK) throw Problem{"the disassembler does not start"};
        cs_option(handle_, CS_OPT_SKIPDATA, CS_OPT_ON);
        instruction_ = cs_malloc(handle_);
    }
    Disassembler(Disassembler const&) = delete;
    Disassembler& operator=(Disassembler const&) = delete;
    ~Disassembler()
    {
        cs_free(instruction_, 1);
        cs_close(&handle_);
    }

    template <class Visit>
    void go_through(KernelCode::Piece const& code, Visit visit)
    {
        auto const* at = reinterpret_cast<std::uint8_t const*>(code.bytes.data());
        auto left = code.bytes.size();
        auto address = code.address;
        while (cs_disasm_iter(handle_, &at, &left, &address, instruction_)) visit(*instruction_);
    }

private:
    csh handle_ = 0;
    cs_insn* instruction_ = nullptr;
};

}  // namespace

std::string_view text_of(Verdict verdict)
{
    switch (verdict) {
    case Verdict::silent: return "silent";
    case Verdict::refused: return "refused";
    case Verdict::emulated: return "emulated";
    }
    return "";
}

std::vector<Finding> lint(std::span<std::byte const> elf)
{
    KernelCode const kernel{elf};
    Disassembler disassembler;
    std::vector<Finding> found;
    for (auto const& piece : kernel.pieces())
        disassembler.go_through(piece, [&](cs_insn const& instruction) {
            if (auto const rule = rule_of(instruction)) found.push_back({instruction.address, kernel.place(instruction.address), text_of(instruction), rule->verdict, rule->advice});
        });
    return found;
}

std::string instruction_text(std::span<std::byte const> bytes, std::uint64_t address)
{
    std::string text;
    Disassembler{}.go_through({address, bytes}, [&](cs_insn const& instruction) {
        if (text.empty()) text = text_of(instruction);
    });
    return text;
}

}  // namespace pvn::tools
