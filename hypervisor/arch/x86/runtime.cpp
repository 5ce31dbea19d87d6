// SPDX-License-Identifier: MIT
// What the compiler and the library's headers may call.  `rep` forms: one instruction for any length, no SSE.
#include <cstddef>

#include "console/log.hpp"

extern "C" {

void* memcpy(void* __restrict to, void const* __restrict from, std::size_t bytes)
{
    void* at = to;
    auto words = bytes / 8;
    bytes %= 8;
    asm volatile("rep movsq; mov %3, %2; rep movsb" : "+D"(at), "+S"(from), "+c"(words) : "r"(bytes) : "memory");
    return to;
}

void* memset(void* to, int value, std::size_t bytes)
{
    void* at = to;
    auto words = bytes / 8;
    bytes %= 8;
    asm volatile("rep stosq; mov %3, %1; rep stosb"
                 : "+D"(at), "+c"(words)
                 : "a"(0x0101010101010101u * static_cast<unsigned char>(value)), "r"(bytes)
                 : "memory");
    return to;
}

void* memmove(void* to, void const* from, std::size_t bytes)
{
    auto* const t = static_cast<char*>(to);
    auto const* const f = static_cast<char const*>(from);
    if (t <= f || t >= f + bytes) return memcpy(to, from, bytes);
    void* last_to = t + bytes - 1;
    void const* last_from = f + bytes - 1;
    asm volatile("std; rep movsb; cld" : "+D"(last_to), "+S"(last_from), "+c"(bytes) : : "memory");
    return to;
}

int memcmp(void const* a, void const* b, std::size_t bytes)
{
    auto const* x = static_cast<unsigned char const*>(a);
    auto const* y = static_cast<unsigned char const*>(b);
    for (std::size_t i = 0; i < bytes; ++i)
        if (x[i] != y[i]) return x[i] < y[i] ? -1 : 1;
    return 0;
}

std::size_t strlen(char const* text)
{
    std::size_t n = 0;
    while (text[n] != 0) ++n;
    return n;
}

void* memchr(void const* text, int value, std::size_t bytes)
{
    auto* at = static_cast<unsigned char*>(const_cast<void*>(text));
    for (; bytes != 0; ++at, --bytes)
        if (*at == static_cast<unsigned char>(value)) return at;
    return nullptr;
}

int bcmp(void const* a, void const* b, std::size_t bytes) { return memcmp(a, b, bytes); }

[[noreturn]] void __cxa_pure_virtual() { __builtin_trap(); }
}

// std::__throw_out_of_range_fmt: string_view::substr beyond its end, our own mistake.
extern "C" [[noreturn]] void out_of_range(char const* what) asm("_ZSt24__throw_out_of_range_fmtPKcz");
extern "C" [[noreturn]] void out_of_range(char const* what) { pvn::panic(what); }
