// SPDX-License-Identifier: MIT
// A tiny kernel library for test guests.  A guest is one file that defines `guest_main`; it says what must hold with CHECK and
// ends with pass().
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "paravane/hypercall.h"

extern "C" long raw_hypercall(std::uint64_t number, std::uint64_t a0 = 0, std::uint64_t a1 = 0, std::uint64_t a2 = 0, std::uint64_t a3 = 0,
                              std::uint64_t a4 = 0, std::uint64_t a5 = 0);

namespace guest {

// What calls, and elements of grant lists, came back with: an error, or 0 for none.  pass() lists them: run.py looks whether each that is documented was met.
void note_result(std::uint64_t number, std::uint64_t list, std::uint64_t count, long result);
void list_results();  // for guests that end otherwise

struct Registers {
    std::uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
    std::uint64_t vector, error, rip, cs, rflags, rsp, ss;
};
inline constexpr std::uint64_t event_vector = 33, syscall_vector = 64;

inline pvn_vcpu_page& vcpu() { return *reinterpret_cast<pvn_vcpu_page*>(PVN_SLOT_VCPU_PAGE); }
inline pvn_domain_page& domain() { return *reinterpret_cast<pvn_domain_page*>(PVN_SLOT_DOMAIN_PAGE); }
inline std::uint64_t const* p2m() { return reinterpret_cast<std::uint64_t const*>(PVN_SLOT_P2M); }
inline std::uint64_t const* m2p() { return reinterpret_cast<std::uint64_t const*>(PVN_SLOT_M2P); }
pvn_start_info const& start();

// An address as an argument of a call.
inline std::uint64_t in_memory(void const* object) { return reinterpret_cast<std::uint64_t>(object); }

void print(std::string_view);
void print_hex(std::uint64_t);
[[noreturn]] void pass();
[[noreturn]] void fail(char const* file, int line, char const* what, std::uint64_t got);

// Called for every trap (vector 0 to 31), int80 (32), upcall (33) and system call (64); null: unexpected, the test fails.
using Handler = void (*)(Registers&);
void set_handler(Handler);
// Called for #DB of ring 1 before anything else sees it.
void set_step_handler(Handler);
void install_traps(std::uint32_t flags = PVN_TRAP_MASK_EVENTS);

// Runs `code`; if it raises a trap, notes it and goes on after the call.  Returns the vector, or -1 if there was none.
struct Caught {
    int vector;
    std::uint64_t error, rip, address, rflags, cs;
};
template <class Code>
Caught catch_trap(Code code);
Caught catch_trap_of(void (*code)(void*), void* argument);
template <class Code>
Caught catch_trap(Code code)
{
    return catch_trap_of([](void* c) { (*static_cast<Code*>(c))(); }, &code);
}

// What the handler of the last trap that catch_trap or run_user caught was entered with.
struct Entry {
    Registers registers;
    std::uint64_t frame_end;  // address of what lies above the frame
    std::uint64_t flags;      // the CPU's own RFLAGS
    std::uint64_t gs_base;
    bool masked;              // events
};
Entry const& last_entry();

// Ring 3: run_user() resumes a context by return_from_trap and returns at its next trap, `int 0x80` or system call.
// use_user_memory() maps section .user and a stack; user_address() is where ring 3 finds what the linker put there.
Entry const& run_user(Registers const&);
void use_user_memory();
std::uint64_t user_address(void const* in_user_section);
Registers user_context(void const* code);  // all general registers hold the pattern
inline constexpr std::uint64_t user_code = 0x400000, user_stack = 0x600000, user_stack_top = user_stack + 0xff0;

// A value of its own for each general register; the same in PATTERN.
void set_pattern(Registers&);
bool has_pattern(Registers const&);

// Memory: a free page that is mapped at VIRTUAL_BASE, zeroed, and where it is.
void* allocate_page();
inline std::uint64_t pfn_of(void const* p) { return (reinterpret_cast<std::uint64_t>(p) - start().virtual_base) / 4096; }
inline void* address_of(std::uint64_t pfn) { return reinterpret_cast<void*>(start().virtual_base + pfn * 4096); }
// The entry (guest-physical address) that maps `address` at `level`, in the start tables; 0 if a table is missing.
std::uint64_t entry_of(std::uint64_t address, unsigned level = 1);
std::uint64_t read_entry(std::uint64_t entry_address);
long write_entry(std::uint64_t entry_address, std::uint64_t value, std::uint32_t flags = 0);
long promote(std::uint64_t pfn, unsigned level);
long demote(std::uint64_t pfn);
// Maps `pfn` at a fresh user address below 512 GiB; makes and promotes tables as needed.
long map_user(std::uint64_t address, std::uint64_t pfn, std::uint64_t flags);
// Makes the page read-only (or writable again) in its VIRTUAL_BASE mapping.
long protect(void* page, bool writable);

// Enters ring 3 at `rip`; does not come back but by a trap or system call.
[[noreturn]] void enter_user(std::uint64_t rip, std::uint64_t rsp, std::uint64_t rflags = 0x202);

inline std::uint64_t flags_register()
{
    std::uint64_t f;
    asm volatile("pushfq; pop %0" : "=r"(f));
    return f;
}

}  // namespace guest

inline long hypercall(std::uint64_t number, std::uint64_t a0 = 0, std::uint64_t a1 = 0, std::uint64_t a2 = 0, std::uint64_t a3 = 0, std::uint64_t a4 = 0,
                      std::uint64_t a5 = 0)
{
    auto const result = raw_hypercall(number, a0, a1, a2, a3, a4, a5);
    guest::note_result(number, a0, a1, result);
    return result;
}

#define GUEST_PATTERN                                                                                                  \
    "movabs $0xa0a0a0a0a0a0a0a0, %rax; movabs $0xa1a1a1a1a1a1a1a1, %rbx; movabs $0xa2a2a2a2a2a2a2a2, %rcx\n"           \
    "movabs $0xa3a3a3a3a3a3a3a3, %rdx; movabs $0xa4a4a4a4a4a4a4a4, %rsi; movabs $0xa5a5a5a5a5a5a5a5, %rdi\n"           \
    "movabs $0xa6a6a6a6a6a6a6a6, %rbp; movabs $0xa8a8a8a8a8a8a8a8, %r8; movabs $0xa9a9a9a9a9a9a9a9, %r9\n"             \
    "movabs $0xaaaaaaaaaaaaaaaa, %r10; movabs $0xabababababababab, %r11; movabs $0xacacacacacacacac, %r12\n"           \
    "movabs $0xadadadadadadadad, %r13; movabs $0xaeaeaeaeaeaeaeae, %r14; movabs $0xafafafafafafafaf, %r15\n"

#define CHECK(condition) \
    do { if (!(condition)) guest::fail(__FILE__, __LINE__, #condition, 0); } while (false)
#define CHECK_EQUAL(a, b)                                                                                            \
    do {                                                                                                             \
        auto const check_a_ = (a);                                                                                   \
        if (!(check_a_ == static_cast<decltype(check_a_)>(b)))                                                       \
            guest::fail(__FILE__, __LINE__, #a " == " #b, static_cast<std::uint64_t>(check_a_));                     \
    } while (false)

void guest_main();
extern char const guest_name[];
