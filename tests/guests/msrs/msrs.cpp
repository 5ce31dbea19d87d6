// SPDX-License-Identifier: MIT
// Of all model-specific registers ring 1 reads six and writes four, which are its own virtual ones; every other one is #GP both ways,
// on any vendor's CPU.  Among the rest are those that would move the system call entry, the debug address masks and the local APIC.
#include "guest.hpp"

char const guest_name[] = "msrs";

namespace {

constexpr std::uint32_t efer = 0xc0000080, fs_base = 0xc0000100, gs_base = 0xc0000101, other_gs_base = 0xc0000102, tsc_aux = 0xc0000103, pat = 0x277;

bool is_known(std::uint32_t number) { return (number >= fs_base && number <= tsc_aux) || number == efer || number == pat; }

// The ranges that Intel's and AMD's manuals have, the hypervisors' own, and one place in each of the rest.
struct Range {
    std::uint32_t first, last;
};
constexpr Range ranges[] = {
    {0, 0x1fff}, {0x40000000, 0x400001ff}, {0x4b564d00, 0x4b564d0f}, {0xc0000000, 0xc0000fff}, {0xc0010000, 0xc0011fff}, {0xc0020000, 0xc0020fff},
    {0xffffff00, 0xffffffff}};

int vector_of_read(std::uint32_t number)
{
    return guest::catch_trap([number] { asm volatile("rdmsr" : : "c"(number) : "rax", "rdx", "memory"); }).vector;
}

int vector_of_write(std::uint32_t number, std::uint64_t value)
{
    return guest::catch_trap([=] { asm volatile("wrmsr" : : "c"(number), "a"(value), "d"(value >> 32) : "memory"); }).vector;
}

void look_at(std::uint32_t number)
{
    auto const expected = [](bool known) { return known ? -1 : 13; };
    auto const read = vector_of_read(number);
    if (read != expected(is_known(number))) guest::print_hex(number);
    CHECK_EQUAL(read, expected(is_known(number)));
    if (is_known(number) && number != efer && number != pat) return;  // below
    for (auto const value : {std::uint64_t{0}, std::uint64_t{1}, ~std::uint64_t{0}}) {
        auto const written = vector_of_write(number, value);
        if (written != 13) guest::print_hex(number);
        CHECK_EQUAL(written, 13);
    }
}

}  // namespace

void guest_main()
{
    guest::install_traps();
    for (auto const& range : ranges)
        for (auto number = range.first;; ++number) {
            look_at(number);
            if (number == range.last) break;
        }
    for (std::uint32_t top = 1; top < 0xc000; top += 0x101) look_at(top << 16 | 0x80);

    // Its own: a value that is not canonical is refused as by the CPU.
    for (auto const number : {fs_base, gs_base, other_gs_base}) {
        CHECK_EQUAL(vector_of_write(number, 0x00007ffffffff000), -1);
        CHECK_EQUAL(vector_of_write(number, 0x0000800000000000), 13);
        CHECK_EQUAL(vector_of_write(number, 0xffff7fffffffffff), 13);
    }
    CHECK_EQUAL(vector_of_write(tsc_aux, 0xffffffff), -1);
    CHECK_EQUAL(vector_of_write(tsc_aux, std::uint64_t{1} << 32), 13);
    CHECK_EQUAL(hypercall(PVN_SYSTEM_VERSION), PVN_ABI_VERSION);
}
