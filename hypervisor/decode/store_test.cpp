// SPDX-License-Identifier: MIT
#include "decode/store.hpp"

#include <gtest/gtest.h>

#include <vector>

namespace pvn::decode {
namespace {

using Bytes = std::vector<std::uint8_t>;

TEST(DecodeStore, MovRegister)
{
    auto const s = store(Bytes{0x48, 0x89, 0x07});  // mov %rax, (%rdi)
    ASSERT_TRUE(s);
    EXPECT_EQ(s->operation, Operation::store);
    EXPECT_EQ(s->length, 3);
    EXPECT_EQ(s->source, 0);
    auto const high = store(Bytes{0x4c, 0x89, 0x6c, 0x24, 0x10});  // mov %r13, 16(%rsp)
    ASSERT_TRUE(high);
    EXPECT_EQ(high->source, 13);
    EXPECT_EQ(high->length, 5);
}

TEST(DecodeStore, MovImmediateIsSignExtended)
{
    auto const s = store(Bytes{0x48, 0xc7, 0x00, 0xff, 0xff, 0xff, 0xff});
    ASSERT_TRUE(s);
    EXPECT_EQ(s->source, -1);
    EXPECT_EQ(s->immediate, ~std::uint64_t{0});
    EXPECT_EQ(s->length, 7);
}

TEST(DecodeStore, LockedForms)
{
    auto const cmpxchg = store(Bytes{0xf0, 0x48, 0x0f, 0xb1, 0x0b});  // lock cmpxchg %rcx, (%rbx)
    ASSERT_TRUE(cmpxchg);
    EXPECT_EQ(cmpxchg->operation, Operation::compare_exchange);
    EXPECT_EQ(cmpxchg->source, 1);
    EXPECT_EQ(cmpxchg->length, 5);
    auto const btr = store(Bytes{0xf0, 0x48, 0x0f, 0xba, 0x33, 0x05});  // lock btrq $5, (%rbx)
    ASSERT_TRUE(btr);
    EXPECT_EQ(btr->operation, Operation::bit_reset);
    EXPECT_EQ(btr->immediate, 5u);
    EXPECT_EQ(btr->length, 6);
    auto const xchg = store(Bytes{0x48, 0x87, 0x04, 0xcd, 1, 2, 3, 4});  // xchg %rax, disp32(,%rcx,8)
    ASSERT_TRUE(xchg);
    EXPECT_EQ(xchg->operation, Operation::exchange);
    EXPECT_EQ(xchg->length, 8);
    auto const andq = store(Bytes{0xf0, 0x48, 0x83, 0x27, 0xfd});  // lock andq $-3, (%rdi)
    ASSERT_TRUE(andq);
    EXPECT_EQ(andq->operation, Operation::bitwise_and);
    EXPECT_EQ(andq->immediate, static_cast<std::uint64_t>(-3));
}

TEST(DecodeStore, RefusesEverythingElse)
{
    EXPECT_FALSE(store(Bytes{0x89, 0x07}));              // 4 bytes
    EXPECT_FALSE(store(Bytes{0x48, 0x89, 0xc7}));        // register to register
    EXPECT_FALSE(store(Bytes{0x48, 0xa5}));              // movsq
    EXPECT_FALSE(store(Bytes{0x48, 0x0f, 0xc7, 0x0f}));  // cmpxchg16b
    EXPECT_FALSE(store(Bytes{0x48, 0xc7, 0x00, 0xff}));  // cut off
    EXPECT_FALSE(store(Bytes{0xf0, 0x48, 0x89, 0x07}));  // lock mov: invalid
    EXPECT_FALSE(store(Bytes{0xf0, 0x48, 0xc7, 0x07, 1, 0, 0, 0}));
    EXPECT_FALSE(store(Bytes{}));
    EXPECT_FALSE(store(Bytes(15, 0xf0)));
}

TEST(DecodeStore, EveryPrefixOfBytesEndsInsideThem)
{
    // Any bytes at all: no read outside, and a length that fits.
    std::uint32_t state = 12345;
    for (int round = 0; round < 200000; ++round) {
        Bytes bytes;
        for (unsigned i = 0, n = state % 16; i < n; ++i) {
            state = state * 1664525 + 1013904223;
            bytes.push_back(static_cast<std::uint8_t>(state >> 24));
        }
        state = state * 1664525 + 1013904223;
        if (bytes.size() > 1 && (state >> 20) % 2 == 0) bytes[0] = 0x48;
        auto const s = store(bytes);
        if (s) {
            EXPECT_GT(s->length, 2);
            EXPECT_LE(s->length, bytes.size());
        }
    }
}

TEST(ApplyStore, DoesWhatTheInstructionDoes)
{
    Store s{Operation::compare_exchange, 3, 1, 0};
    EXPECT_TRUE(apply(s, 5, 9, 5).write);
    EXPECT_EQ(apply(s, 5, 9, 5).value, 9u);
    EXPECT_FALSE(apply(s, 5, 9, 6).write);
    s.operation = Operation::bit_reset;
    EXPECT_EQ(apply(s, 0x21, 5, 0).value, 1u);
    EXPECT_TRUE(apply(s, 0x21, 5, 0).carry);
    EXPECT_FALSE(apply(s, 0x01, 5, 0).carry);
    s.operation = Operation::bitwise_or;
    EXPECT_EQ(apply(s, 1, 6, 0).value, 7u);
}

}  // namespace
}  // namespace pvn::decode
