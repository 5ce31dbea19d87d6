// SPDX-License-Identifier: MIT
// What each instruction does in ring 1: docs/porting-guide.md, docs/abi/vcpu.md
#include "lib/lint.hpp"

#include <capstone/capstone.h>
#include <elf.h>
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

#include "lib/file.hpp"

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

// --- The file ----------------------------------------------------------------------------------------------------------

struct Code {
    std::uint64_t address;
    std::span<std::byte const> bytes;
};

struct Symbol {
    std::uint64_t address, size;
    std::string_view name;
};

class Image {
public:
    explicit Image(std::span<std::byte const> file) : file_{file}
    {
        auto const header = read<Elf64_Ehdr>(0);
        if (!header || std::memcmp(header->e_ident, ELFMAG, SELFMAG) != 0 || header->e_ident[EI_CLASS] != ELFCLASS64 || header->e_machine != EM_X86_64)
            throw Problem{"not a kernel: no ELF file for x86-64"};
        header_ = *header;
        for (unsigned i = 0; i < header_.e_shnum; ++i)
            if (auto const section = this->section(i)) take(*section);
        if (code_.empty()) take_segments();
        std::ranges::sort(symbols_, {}, &Symbol::address);
        if (code_.empty()) throw Problem{"nothing in it can be executed"};
    }

    std::vector<Code> const& code() const { return code_; }

    std::string place(std::uint64_t address) const
    {
        auto const after = std::ranges::upper_bound(symbols_, address, {}, &Symbol::address);
        if (after == symbols_.begin()) return {};
        auto const& symbol = *std::prev(after);
        // Of a symbol without a size nobody knows how far it reaches.
        constexpr std::uint64_t guess = 4096;
        if (address - symbol.address >= (symbol.size != 0 ? symbol.size : guess)) return {};
        return fmt::format("{}+{:#x}", symbol.name, address - symbol.address);
    }

private:
    template <class T>
    std::optional<T> read(std::uint64_t offset) const
    {
        auto const bytes = part(offset, sizeof(T));
        if (bytes.empty()) return {};
        T value;
        std::memcpy(&value, bytes.data(), sizeof value);
        return value;
    }
    // Empty if it is not all in the file.
    std::span<std::byte const> part(std::uint64_t offset, std::uint64_t size) const
    {
        if (offset > file_.size() || size > file_.size() - offset) return {};
        return file_.subspan(offset, size);
    }
    std::optional<Elf64_Shdr> section(std::uint64_t index) const
    {
        if (header_.e_shoff > file_.size() || index >= header_.e_shnum) return {};
        return read<Elf64_Shdr>(header_.e_shoff + index * sizeof(Elf64_Shdr));
    }

    void take(Elf64_Shdr const& section)
    {
        if (section.sh_type == SHT_PROGBITS && (section.sh_flags & SHF_EXECINSTR) != 0) add(section.sh_addr, part(section.sh_offset, section.sh_size));
        if (section.sh_type != SHT_SYMTAB) return;
        auto const names = this->section(section.sh_link);
        if (!names) return;
        auto const text = part(names->sh_offset, names->sh_size);
        for (std::uint64_t at = 0; at + sizeof(Elf64_Sym) <= section.sh_size; at += sizeof(Elf64_Sym)) {
            if (section.sh_offset > file_.size()) return;
            auto const symbol = read<Elf64_Sym>(section.sh_offset + at);
            if (!symbol) return;
            auto const type = ELF64_ST_TYPE(symbol->st_info);
            if ((type != STT_FUNC && type != STT_NOTYPE) || symbol->st_shndx == SHN_UNDEF || symbol->st_shndx == SHN_ABS || symbol->st_name >= text.size()) continue;
            auto const* const name = reinterpret_cast<char const*>(text.data()) + symbol->st_name;
            std::string_view const whole{name, strnlen(name, text.size() - symbol->st_name)};
            if (!whole.empty()) symbols_.push_back({symbol->st_value, symbol->st_size, whole});
        }
    }
    void take_segments()
    {
        if (header_.e_phoff > file_.size()) return;
        for (std::uint64_t i = 0; i < header_.e_phnum; ++i) {
            auto const segment = read<Elf64_Phdr>(header_.e_phoff + i * sizeof(Elf64_Phdr));
            if (segment && segment->p_type == PT_LOAD && (segment->p_flags & PF_X) != 0) add(segment->p_vaddr, part(segment->p_offset, segment->p_filesz));
        }
    }
    void add(std::uint64_t address, std::span<std::byte const> bytes)
    {
        if (!bytes.empty()) code_.push_back({address, bytes});
    }

    std::span<std::byte const> file_;
    Elf64_Ehdr header_{};
    std::vector<Code> code_;
    std::vector<Symbol> symbols_;
};

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
    void go_through(Code const& code, Visit visit)
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
    Image const image{elf};
    Disassembler disassembler;
    std::vector<Finding> found;
    for (auto const& code : image.code())
        disassembler.go_through(code, [&](cs_insn const& instruction) {
            if (auto const rule = rule_of(instruction))
                found.push_back({instruction.address, image.place(instruction.address), fmt::format("{} {}", instruction.mnemonic, instruction.op_str), rule->verdict, rule->advice});
        });
    for (auto& finding : found)
        while (finding.instruction.ends_with(' ')) finding.instruction.pop_back();
    return found;
}

}  // namespace pvn::tools
