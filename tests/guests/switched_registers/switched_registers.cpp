// SPDX-License-Identifier: MIT
// What a vCPU has in its FPU and vector registers, as far as the CPU has these, in the bases of FS and GS, in DR6 and in TSC_AUX is its own while another domain
// runs on the same CPU: a domain begins with none of another's, and nothing leaks or is lost later.
#include "hostile.hpp"

char const guest_name[] = "switched_registers";

namespace {

std::uint32_t processor()
{
    std::uint32_t aux;
    asm volatile("rdtscp" : "=c"(aux) : : "rax", "rdx");
    return aux;
}

// x87 and SSE, as FXSAVE64 has them.  [sdm/1] 10.5.1
struct alignas(16) Legacy {
    std::uint16_t control, status;
    std::uint8_t tags, reserved;
    std::uint16_t opcode;
    std::uint64_t instruction, operand;
    std::uint32_t mxcsr, mxcsr_mask;
    std::uint8_t st[8][16], xmm[16][16], unused[96];
};
static_assert(sizeof(Legacy) == 512);

enum Width : std::uint64_t { sse = 16, avx = 32, avx512 = 64 };
struct State {
    Legacy legacy;
    std::uint8_t vector[32][64];  // `width` bytes each; 32 of them only with AVX-512
    std::uint64_t mask[8];        // k0 to k7
    std::uint64_t fs_base, gs_base;
};

Width width()
{
    std::uint32_t low, high;
    asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    return (low & 0xe0) == 0xe0 ? avx512 : (low & 4) != 0 ? avx : sse;
}

#define EIGHT(one, a, b, c, d, e, f, g, h) one(a) one(b) one(c) one(d) one(e) one(f) one(g) one(h)
#define SIXTEEN(one) EIGHT(one, 0, 1, 2, 3, 4, 5, 6, 7) EIGHT(one, 8, 9, 10, 11, 12, 13, 14, 15)
#define THIRTY_TWO(one) SIXTEEN(one) EIGHT(one, 16, 17, 18, 19, 20, 21, 22, 23) EIGHT(one, 24, 25, 26, 27, 28, 29, 30, 31)
#define LOAD_YMM(n) "vmovups " #n "*64(%0), %%ymm" #n "\n"
#define STORE_YMM(n) "vmovups %%ymm" #n ", " #n "*64(%0)\n"
#define LOAD_ZMM(n) "vmovups " #n "*64(%0), %%zmm" #n "\n"
#define STORE_ZMM(n) "vmovups %%zmm" #n ", " #n "*64(%0)\n"
#define LOAD_MASK(n) "kmovq " #n "*8(%0), %%k" #n "\n"
#define STORE_MASK(n) "kmovq %%k" #n ", " #n "*8(%0)\n"

void load(State const& state)
{
    asm volatile("fxrstor64 %0" : : "m"(state.legacy) : "memory");
    if (width() == avx) asm volatile(SIXTEEN(LOAD_YMM) : : "r"(state.vector) : "memory");
    if (width() == avx512) {
        asm volatile(THIRTY_TWO(LOAD_ZMM) : : "r"(state.vector) : "memory");
        asm volatile(EIGHT(LOAD_MASK, 0, 1, 2, 3, 4, 5, 6, 7) : : "r"(state.mask) : "memory");
    }
    asm volatile("wrfsbase %0; wrgsbase %1" : : "r"(state.fs_base), "r"(state.gs_base));
}

void store(State& state)
{
    asm volatile("fxsave64 %0" : "=m"(state.legacy));
    if (width() == avx) asm volatile(SIXTEEN(STORE_YMM) : : "r"(state.vector) : "memory");
    if (width() == avx512) {
        asm volatile(THIRTY_TWO(STORE_ZMM) : : "r"(state.vector) : "memory");
        asm volatile(EIGHT(STORE_MASK, 0, 1, 2, 3, 4, 5, 6, 7) : : "r"(state.mask) : "memory");
    }
    asm volatile("rdfsbase %0; rdgsbase %1" : "=r"(state.fs_base), "=r"(state.gs_base));
}

State wanted, found;

// All values follow from `seed`, and differ from those of any other.
void make(std::uint64_t seed)
{
    std::uint64_t random = seed * 0x9e3779b97f4a7c15;
    auto const next = [&] { return static_cast<std::uint8_t>((random = random * 6364136223846793005 + 1442695040888963407) >> 56); };
    auto& l = wanted.legacy;
    l.control = static_cast<std::uint16_t>(0x37f | seed % 4 << 10);  // rounding
    l.tags = 0xff;
    l.opcode = static_cast<std::uint16_t>(0x400 | seed);
    l.instruction = 0x400000 + seed * 0x1000;
    l.operand = 0x600000 + seed * 0x1000;
    l.mxcsr = 0x1f80 | static_cast<std::uint32_t>(seed % 4) << 13;
    for (auto& st : l.st)
        for (int i = 0; i < 10; ++i) st[i] = i < 9 ? next() | (i == 7 ? 0x80 : 0) : 0x3f;  // numbers
    for (auto& vector : wanted.vector)
        for (auto& byte : vector) byte = next();
    for (int i = 0; i < 16; ++i) memcpy(l.xmm[i], wanted.vector[i], 16);
    for (auto& mask : wanted.mask)
        for (int i = 0; i < 8; ++i) mask = mask << 8 | next();
    wanted.fs_base = seed << 12;
    wanted.gs_base = ~std::uint64_t{0xfff} - (seed << 12);
}

void check(State const& expected)
{
    store(found);
    auto const& f = found.legacy;
    auto const& e = expected.legacy;
    CHECK(f.control == e.control && f.status == e.status && f.tags == e.tags && f.mxcsr == e.mxcsr);
    // Without an exception pending AMD's CPUs do not keep these, and QEMU's TCG never does; but they are nobody else's.
    CHECK((f.opcode == e.opcode || f.opcode == 0) && (f.instruction == e.instruction || f.instruction == 0) && (f.operand == e.operand || f.operand == 0));
    for (int n = 0; n < 8; ++n)
        for (int i = 0; i < 10; ++i) CHECK_EQUAL(f.st[n][i], e.st[n][i]);
    for (int n = 0; n < 16; ++n)
        for (int i = 0; i < 16; ++i) CHECK_EQUAL(f.xmm[n][i], e.xmm[n][i]);
    for (int n = 0; width() != sse && n < (width() == avx512 ? 32 : 16); ++n)
        for (std::uint64_t i = 0; i < width(); ++i) CHECK_EQUAL(found.vector[n][i], expected.vector[n][i]);
    for (int n = 0; width() == avx512 && n < 8; ++n) CHECK_EQUAL(found.mask[n], expected.mask[n]);
    CHECK(found.fs_base == expected.fs_base && found.gs_base == expected.gs_base);
}

}  // namespace

void guest_main()
{
    // As after FNINIT and a reset, and with nothing of the domain that has run before.  [sdm/1] 13.6
    static State initial;
    initial.legacy.control = 0x37f;
    initial.legacy.mxcsr = 0x1f80;
    check(initial);

    guest::install_traps();
    auto const self = guest::start().domain_id;
    for (std::uint64_t i = 0; i < 10; ++i) {
        make(2 * i + self);
        load(wanted);
        guest::let_others_run();
        check(wanted);
    }
    load(initial);
    CHECK_EQUAL(hypercall(PVN_VCPU_GET_DEBUG, 6) & 0xe00f, 0);
    CHECK_EQUAL(processor(), 0u);
    guest::let_others_run();
    CHECK_EQUAL(hypercall(PVN_VCPU_GET_DEBUG, 6) & 0xe00f, 0);
    CHECK_EQUAL(processor(), 0u);
    guest::let_others_run();
    for (std::uint64_t i = 0; i < 10; ++i) {
        auto const hits = (i + self) % 16;
        CHECK_EQUAL(hypercall(PVN_VCPU_SET_DEBUG, 6, hits), 0);
        asm volatile("wrmsr" : : "a"(0x1000 * self + i), "d"(0), "c"(0xc0000103) : "memory");
        guest::let_others_run();
        CHECK_EQUAL(hypercall(PVN_VCPU_GET_DEBUG, 6) & 0xe00f, static_cast<long>(hits));
        CHECK_EQUAL(processor(), 0x1000 * self + i);
    }
    // A value that is too wide is #GP, as on the CPU.
    CHECK_EQUAL(guest::catch_trap([] { asm volatile("wrmsr" : : "a"(0), "d"(1), "c"(0xc0000103) : "memory"); }).vector, 13);
    CHECK_EQUAL(processor(), 0x1000 * self + 9);
    CHECK_EQUAL(hypercall(PVN_SCHED_POLL, 0, 0, 0), -PVN_E_INVALID);  // nothing could end it
}
