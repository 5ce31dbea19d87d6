// SPDX-License-Identifier: MIT
#include "arch/x86/cpu_setup.hpp"

#include <algorithm>
#include <cstring>

#include "arch/x86/address_space_tags.hpp"
#include "arch/x86/cpu.hpp"
#include "arch/x86/io_bitmap.hpp"
#include "arch/x86/ldt.hpp"
#include "arch/x86/machine_check.hpp"
#include "arch/x86/memory_map.hpp"
#include "arch/x86/paging.hpp"
#include "arch/x86/per_cpu.hpp"
#include "arch/x86/slot_addresses.hpp"
#include "console/log.hpp"
#include "domain/domain.hpp"
#include "machine.hpp"

extern "C" char slot_text_image[], vdso_image[];

namespace pvn::cpu {
namespace {

// Selectors of ring 0; the guest's are ABI (paravane/slot.h).
constexpr std::uint64_t hypervisor_cs = 0x80, hypervisor_ss = 0x88, tss_selector = 0x90;
constexpr std::size_t gdt_entries = 22;

// Descriptors with their accessed bit set, so that loading a selector does not write to the read-only GDT.
// [sdm/3] 3.4.5; in 64-bit mode base and limit of code and data segments are ignored.
constexpr std::uint64_t code64(unsigned dpl) { return 0x00af9b000000ffff | std::uint64_t{dpl} << 45; }
constexpr std::uint64_t code32(unsigned dpl) { return 0x00cf9b000000ffff | std::uint64_t{dpl} << 45; }
constexpr std::uint64_t data(unsigned dpl) { return 0x00cf93000000ffff | std::uint64_t{dpl} << 45; }

// [sdm/3] 8.7, 64-bit TSS
struct [[gnu::packed]] TaskState {
    std::uint32_t reserved0;
    std::uint64_t rsp[3];
    std::uint64_t reserved1;
    std::uint64_t ist[7];
    std::uint64_t reserved2;
    std::uint16_t reserved3;
    std::uint16_t io_bitmap;
};
static_assert(sizeof(TaskState) == 104);

// The stacks that are each CPU's own.
constexpr std::uint64_t slot_stacks[] = {slot::nmi_stack, slot::debug_stack, slot::double_fault_stack, slot::machine_check_stack};

// Loads a data segment register; null if the guest has changed the descriptor so that it cannot be loaded any more.
#define LOAD_SELECTOR(register_name, value)                                                                                 \
    asm volatile(                                                                                                           \
        "1: mov %w0, %%" register_name "; jmp 3f\n"                                                                         \
        "2: mov %w1, %%" register_name "\n3:\n"                                                                             \
        ".pushsection .extable, \"a\"; .quad 1b, 2b; .popsection"                                                           \
        : : "r"(std::uint64_t{value}), "r"(std::uint64_t{0}))

constexpr std::uint64_t fpu_states = 0xe7;  // x87, SSE, AVX, AVX-512 (three parts); PKRU is left out

std::uint64_t own_frame_or_stop()
{
    auto const frame = allocate_own_frame();
    if (frame == 0) panic("too little memory for the tables of a CPU");
    return frame;
}

void* direct(std::uint64_t physical) { return physical_pointer(physical); }

// A page of the slot of a CPU.
std::uint64_t map_slot_page(PerCpu& cpu, std::uint64_t offset, std::uint64_t entry)
{
    cpu.slot_l1[offset / page_size] = entry;
    return entry & paging::frame_mask;
}

void* fresh_slot_page(PerCpu& cpu, std::uint64_t offset, std::uint64_t protection)
{
    return direct(map_slot_page(cpu, offset, own_frame_or_stop() | protection));
}

PerCpu& build_window(std::uint32_t id)
{
    auto const root = own_frame_or_stop();
    std::memcpy(direct(root), paging::shared_root(), page_size);
    auto const allocate = [] { return own_frame_or_stop(); };
    auto const per_cpu = own_frame_or_stop();
    paging::map(root, cpu_window, per_cpu | paging::read_write, +allocate);
    for (auto at = cpu_stack_bottom; at < cpu_stack_top; at += page_size)
        paging::map(root, at, own_frame_or_stop() | paging::read_write, +allocate);

    auto const l3 = own_frame_or_stop(), l2 = own_frame_or_stop(), l1 = own_frame_or_stop();
    static_cast<std::uint64_t*>(direct(root))[PVN_SLOT_INDEX] = l3 | paging::table;
    static_cast<std::uint64_t*>(direct(l3))[0] = l2 | paging::table;
    static_cast<std::uint64_t*>(direct(l2))[0] = l1 | paging::table;

    auto& cpu = *new (direct(per_cpu)) PerCpu{};
    cpu.id = id;
    cpu.hypervisor_root = root;
    cpu.slot_l3 = static_cast<std::uint64_t*>(direct(l3));
    cpu.slot_l1 = static_cast<std::uint64_t*>(direct(l1));
    root_copies::prepare(cpu, l3 | paging::table);
    cpu.slot_l3[(PVN_SLOT_M2P - PVN_SLOT_BASE) >> 30] = machine.m2p_l2 | paging::table;
    return cpu;
}

void build_slot(PerCpu& cpu)
{
    auto const image = [](char const* symbol) { return reinterpret_cast<std::uint64_t>(symbol) - image_base; };
    auto const text_pages = (slot_addresses.text_end - PVN_SLOT_TEXT) / page_size;
    for (std::uint64_t i = 0; i < text_pages; ++i)
        map_slot_page(cpu, i * page_size, (image(slot_text_image) + i * page_size) | paging::execute);
    map_slot_page(cpu, PVN_SLOT_VDSO - PVN_SLOT_BASE, image(vdso_image) | paging::execute);

    // Rule 2: the CPU tables are read-only while a guest runs; they are filled through the direct map.
    cpu.gdt = static_cast<std::uint64_t*>(fresh_slot_page(cpu, slot::gdt, paging::read_only));
    auto* const idt = static_cast<std::uint64_t*>(fresh_slot_page(cpu, slot::idt, paging::read_only));
    cpu.constants = static_cast<std::uint64_t*>(fresh_slot_page(cpu, slot::constants, paging::read_only));
    auto* const tss = static_cast<TaskState*>(fresh_slot_page(cpu, slot::tss, paging::read_only));
    // The I/O bitmap's last byte must be all ones and inside the limit.  [sdm/1] 19.5.2
    std::memset(fresh_slot_page(cpu, slot::io_bitmap_end, paging::read_only), 0xff, page_size);

    for (auto const stack : slot_stacks)
        fresh_slot_page(cpu, stack, paging::read_write);

    auto const stack_top = [](std::uint64_t offset) { return PVN_SLOT_BASE + offset + page_size; };
    *tss = {};
    tss->rsp[0] = stack_top(slot::entry_stack);
    tss->ist[0] = stack_top(slot::nmi_stack);
    tss->ist[1] = stack_top(slot::debug_stack);
    tss->ist[2] = stack_top(slot::double_fault_stack);
    tss->ist[3] = stack_top(slot::machine_check_stack);
    tss->io_bitmap = static_cast<std::uint16_t>(slot::io_bitmap - slot::tss);

    cpu.gdt[PVN_KERNEL_CS / 8] = code64(1);
    cpu.gdt[PVN_KERNEL_SS / 8] = data(1);
    cpu.gdt[PVN_USER_CS32 / 8] = code32(3);
    cpu.gdt[PVN_USER_SS / 8] = data(3);
    cpu.gdt[PVN_USER_CS / 8] = code64(3);
    cpu.gdt[hypervisor_cs / 8] = code64(0);
    cpu.gdt[hypervisor_ss / 8] = data(0);
    auto const tss_base = PVN_SLOT_BASE + slot::tss;
    auto const tss_limit = slot::io_bitmap_end - slot::tss;  // up to and with the byte of ones
    cpu.gdt[tss_selector / 8] = (tss_limit & 0xffff) | (tss_base & 0xffffff) << 16 | std::uint64_t{0x89} << 40 | (tss_limit >> 16 & 15) << 48 |
                                 (tss_base >> 24 & 0xff) << 56;
    cpu.gdt[tss_selector / 8 + 1] = tss_base >> 32;

    // All gates are interrupt gates into ring 0.  [sdm/3] 6.14.1
    for (std::uint64_t v = 0; v < 256; ++v) {
        auto const handler = slot_addresses.stub_vectors + v * 16;
        std::uint64_t ist = 0, dpl = 0;
        if (v == vector::nmi) ist = 1;
        if (v == vector::debug) ist = 2;
        if (v == vector::double_fault) ist = 3;
        if (v == vector::machine_check) ist = 4;
        if (v == vector::breakpoint || v == vector::overflow || v == vector::int80) dpl = 3;
        if (v == vector::upcall || v == vector::again) dpl = 1;
        idt[2 * v] = (handler & 0xffff) | hypervisor_cs << 16 | ist << 32 | std::uint64_t{0x8e} << 40 | dpl << 45 | (handler >> 16 & 0xffff) << 48;
        idt[2 * v + 1] = handler >> 32;
    }
}

struct [[gnu::packed]] TablePointer {
    std::uint16_t limit;
    std::uint64_t base;
};

void load_tables()
{
    TablePointer const gdt{gdt_entries * 8 - 1, PVN_SLOT_BASE + slot::gdt};
    TablePointer const idt{256 * 16 - 1, PVN_SLOT_BASE + slot::idt};
    asm volatile("lgdt %0; lidt %1" : : "m"(gdt), "m"(idt));
    asm volatile(
        "mov %w0, %%ss; mov %w1, %%ds; mov %w1, %%es; mov %w1, %%fs; mov %w1, %%gs\n"
        "push %q2; lea 1f(%%rip), %%rax; push %%rax; lretq; 1:"
        : : "r"(hypervisor_ss), "r"(std::uint64_t{0}), "r"(hypervisor_cs) : "rax", "memory");
    // LTR sets the busy bit of its descriptor.
    auto& entry = this_cpu().slot_l1[slot::gdt / page_size];
    entry |= paging::writable | paging::dirty;
    asm volatile("ltr %w0; lldt %w1" : : "r"(tss_selector), "r"(std::uint64_t{0}));
    entry &= ~(paging::writable | paging::dirty);
    write_cr3(this_cpu().hypervisor_root);
}

constinit bool tsc_aux_there = false;

void set_control_registers()
{
    tsc_aux_there = (cpuid(0x80000001).d & 1u << 27) != 0;
    // CR0: PE MP ET NE WP AM PG; WP so that a guest kernel respects read-only pages (rule 2).
    write_cr0(0x80050033);
    // CR4: PAE, OSFXSR, OSXMMEXCPT, FSGSBASE, PCIDE, OSXSAVE, SMEP, and no PGE: nothing a guest marks global outlives a change of root.
    // SMAP stays off: STAC and CLAC do not exist in ring 1 ([sdm/2] STAC), so a guest could not use it.  docs/threat-model.md
    // MCE: without it a machine check shuts the CPU down, without a word.
    machine_check::initialise();
    write_cr4(0x20 | (machine_check::available() ? 0x40 : 0) | 0x200 | 0x400 | 0x10000 | 0x40000 | (cpuid(7).b & 1u << 7 ? 0x100000 : 0));
    auto& self = this_cpu();
    self.pcids = address_space_tags::available() && !boot::flag(machine.boot.text(), "no_pcid");
    if (self.pcids) write_cr4(read_cr4() | 0x20000);  // bits 11 to 0 of CR3 are 0, as they must be: [sdm/3] 4.10.1
    address_space_tags::show_hypervisor_root(self);
    asm volatile("xsetbv" : : "c"(0), "a"(static_cast<std::uint32_t>(allowed_xcr0())), "d"(0));

    write_msr(msr::efer, read_msr(msr::efer) | 1);  // SYSCALL
    write_msr(msr::star, std::uint64_t{hypervisor_cs} << 32);
    write_msr(msr::lstar, slot_addresses.stub_syscall);
    write_msr(msr::cstar, slot_addresses.stub_compat_syscall);
    write_msr(msr::fmask, flags::trap | flags::interrupt | flags::direction | flags::nested | flags::ac | flags::resume | flags::iopl);
    write_msr(msr::sysenter_cs, 0);  // SYSENTER is #GP
    // The layout that Linux programs: WB WC UC- UC WB WP UC- WT, so that cache bits of entries mean the same everywhere.
    write_msr(msr::pat, 0x0407050600070106);
}

}  // namespace

// AMD's CPUs saved and restored the x87 instruction and data pointers only with an exception pending, so that they stayed those of the former vCPU
// (CVE-2006-1056), until they said otherwise.  [apm/3] appendix E, CPUID Fn8000_0008 EBX bit 2.  FNINIT clears them: [sdm/2] FNINIT.
static bool leaves_x87_pointers()
{
    static bool const leaves = cpuid(0).b != 0x756e6547 /* "Genu": Intel's have it, and not the bit */ && (cpuid(0x80000008).b >> 2 & 1) == 0;
    return leaves;
}

// [sdm/2] RDTSCP: what ring 1 and 3 read with it, and with RDPID.
bool has_tsc_aux() { return tsc_aux_there; }

std::uint64_t allowed_xcr0()
{
    auto const leaf = cpuid(0xd);
    return (std::uint64_t{leaf.d} << 32 | leaf.a) & fpu_states;
}

void check_features()
{
    struct Need { bool there; char const* name; };
    auto const one = cpuid(1), seven = cpuid(7), extended = cpuid(0x80000001);
    for (auto const& need : {Need{(seven.b & 1) != 0, "FSGSBASE"}, Need{(extended.d & 1u << 11) != 0, "SYSCALL"},
                             Need{(one.c & 1u << 26) != 0, "XSAVE"}, Need{(one.d & 1u << 9) != 0, "a local APIC"}})
        if (!need.there) {
            log("this CPU has no {}, which Paravane needs; under QEMU use -cpu max", need.name);
            panic("unsupported CPU");
        }
}

PerCpu& prepare(std::uint32_t apic_id)
{
    auto& cpu = build_window(cpu_count);
    build_slot(cpu);
    cpu.apic_id = apic_id;
    all_cpus[cpu_count++] = &cpu;
    return cpu;
}

void activate(PerCpu& cpu)
{
    write_cr3(cpu.hypervisor_root);
    set_control_registers();
    load_tables();
}

void set_descriptor(unsigned index, std::uint64_t value) { this_cpu().gdt[index] = value; }

void save(Vcpu& vcpu)
{
    vcpu.registers = entry_registers();
    asm volatile("mov %%ds, %w0; mov %%es, %w1; mov %%fs, %w2; mov %%gs, %w3"
                 : "=r"(vcpu.selectors[0]), "=r"(vcpu.selectors[1]), "=r"(vcpu.selectors[2]), "=r"(vcpu.selectors[3]));
    vcpu.fs_base = read_fs_base();
    vcpu.gs_base = read_gs_base();
    asm volatile("xsave64 (%0)" : : "r"(vcpu.fpu), "a"(~0u), "d"(~0u) : "memory");
    std::uint64_t status;
    asm volatile("mov %%dr6, %0" : "=r"(status));
    vcpu.debug_status = status;
}

void load(Vcpu& vcpu)
{
    auto& self = this_cpu();
    auto& domain = *vcpu.domain;
    // Rule 6: the entry stack is the vCPU's own, but leftovers on the CPU's stacks are the former one's.  The CPU has noted which it wrote
    // to ([sdm/3] 4.8).  They are cleared, through the direct map, when it has forgotten what it remembers of these entries: so an NMI,
    // whenever it comes, is either cleared away here or noted for the next time.
    std::array<std::uint64_t, std::size(slot_stacks)> written;
    std::size_t count = 0;
    for (auto const stack : slot_stacks) {
        auto& entry = self.slot_l1[stack / page_size];
        if ((entry & paging::dirty) == 0) continue;
        written[count++] = entry & paging::frame_mask;
        std::atomic_ref{entry}.fetch_and(~paging::dirty);
    }

    map_slot_page(self, slot::entry_stack, vcpu.stack_frame.raw() * page_size | paging::read_write);
    map_slot_page(self, slot::vcpu_page, vcpu.page_frame.raw() * page_size | paging::read_write);
    map_slot_page(self, slot::domain_page, domain.page_frame.raw() * page_size | paging::read_write);
    io_bitmap::load(vcpu);
    self.slot_l3[(PVN_SLOT_P2M - PVN_SLOT_BASE) >> 30] = domain.p2m_l2 | paging::table;
    write_cr3(self.hypervisor_root);

    for (std::size_t i = 0; i < count; ++i) std::memset(physical_pointer(written[i]), 0, page_size);
    entry_registers() = vcpu.registers;
    for (unsigned i = 0; i < vcpu.descriptor.size(); ++i) set_descriptor(PVN_GDT_FIRST_OWN + i, vcpu.descriptor[i]);
    ldt::load(vcpu);
    LOAD_SELECTOR("ds", vcpu.selectors[0]);
    LOAD_SELECTOR("es", vcpu.selectors[1]);
    LOAD_SELECTOR("fs", vcpu.selectors[2]);  // the bases follow below
    LOAD_SELECTOR("gs", vcpu.selectors[3]);
    write_fs_base(vcpu.fs_base);
    write_gs_base(vcpu.gs_base);
    if (has_tsc_aux()) write_msr(msr::tsc_aux, vcpu.tsc_aux);
    if (leaves_x87_pointers()) asm volatile("fninit");
    asm volatile("xrstor64 (%0)" : : "r"(vcpu.fpu), "a"(~0u), "d"(~0u) : "memory");
    asm volatile("mov %0, %%dr7" : : "r"(std::uint64_t{0x400}));
    asm volatile("mov %0, %%dr6" : : "r"(vcpu.debug_status));  // single steps write it too
    if (vcpu.debug_control & 0xff) {  // DR7 is loaded on the way out
        asm volatile("mov %0, %%dr0; mov %1, %%dr1; mov %2, %%dr2; mov %3, %%dr3" : : "r"(vcpu.debug_address[0]),
                     "r"(vcpu.debug_address[1]), "r"(vcpu.debug_address[2]), "r"(vcpu.debug_address[3]));
    }
    if (self.last_domain != domain.id) {
        // What one domain taught the branch predictors says nothing to the next.  CPUID 7 EDX bit 26; [sdm/3] IA32_PRED_CMD
        static bool const has_barrier = (cpuid(7).d >> 26 & 1) != 0;
        if (has_barrier) write_msr(msr::prediction_command, 1);
        self.last_domain = domain.id;
    }
    root_copies::load(vcpu.root);
    self.current = &vcpu;
}

}  // namespace pvn::cpu
