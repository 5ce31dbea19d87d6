// SPDX-License-Identifier: MIT
// The journal: what is whole comes back, what is not does not; and a ring whose indices lie.
#include "store/journal.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "store/ring.hpp"

namespace pvn::store {
namespace {

namespace fs = std::filesystem;

struct JournalTest : ::testing::Test {
    fs::path path = fs::temp_directory_path() / ("pvn-journal-" + std::to_string(getpid()));
    ~JournalTest() override { fs::remove(path); }
    static pvn_store_Record record(std::uint32_t domain)
    {
        auto r = blank<pvn_store_Record>();
        r.domain = domain;
        r.has_request = true;
        r.request.which_what = pvn_store_Request_write_tag;
        set_text(r.request.what.write.path, "/x");
        return r;
    }
    std::vector<std::uint32_t> load()
    {
        std::vector<std::uint32_t> seen;
        Journal{path}.load([&](pvn_store_Record const& r) { seen.push_back(r.domain); });
        return seen;
    }
    using Numbers = std::vector<std::uint32_t>;
};

TEST_F(JournalTest, KeepsGroups)
{
    EXPECT_EQ(load(), Numbers{});
    {
        Journal journal{path};
        std::array const two{record(1), record(2)};
        journal.append(two);
        journal.append(std::span{two}.first(1));
    }
    EXPECT_EQ(load(), (Numbers{1, 2, 1}));
    std::array const other{record(7)};
    Journal{path}.replace(other);
    EXPECT_EQ(load(), Numbers{7});
}

TEST_F(JournalTest, AGroupIsThereOrNot)
{
    std::array const one{record(1)}, three{record(4)};
    std::array const two{record(2), record(3)};
    Journal journal{path};
    journal.append(one);
    auto const whole = fs::file_size(path);
    journal.append(two);
    auto const end = fs::file_size(path);
    for (auto size = whole; size < end; ++size) {  // killed in the middle of a write
        fs::resize_file(path, whole);
        Journal{path}.append(two);
        fs::resize_file(path, size);
        ASSERT_EQ(load(), Numbers{1}) << size;
        ASSERT_EQ(fs::file_size(path), whole);  // and what comes next stands behind what is whole
    }
    {
        Journal next{path};
        next.load([](auto const&) {});
        next.append(three);
    }
    EXPECT_EQ(load(), (Numbers{1, 4}));
    std::fstream file{path, std::ios::in | std::ios::out | std::ios::binary};
    file.seekp(static_cast<std::streamoff>(whole) + 9);
    file.put('\x55');
    file.close();
    EXPECT_EQ(load(), Numbers{1});
}

TEST(StoreRing, DoesNotBelieveIndices)
{
    pvn_store_ring ring{};
    RingEnd end{ring};
    EXPECT_EQ(end.requests()->size(), 0u);
    EXPECT_EQ(*end.room(), std::size_t{PVN_STORE_ANSWERS_SIZE});
    ring.requests_produced = ring.requests_consumed = 0xfffffff0;  // wraps
    ring.requests_produced += 32;
    for (unsigned i = 0; i < 32; ++i) ring.requests[(0xfffffff0 + i) % PVN_STORE_REQUESTS_SIZE] = static_cast<std::uint8_t>(i);
    auto const bytes = end.requests();
    ASSERT_EQ(bytes->size(), 32u);
    for (unsigned i = 0; i < 32; ++i) EXPECT_EQ((*bytes)[i], i);
    end.consume(32);
    EXPECT_EQ(ring.requests_consumed, 16u);
    ring.requests_produced = ring.requests_consumed + PVN_STORE_REQUESTS_SIZE + 1;
    EXPECT_FALSE(end.requests());
    ring.answers_consumed = 1;  // more than there was
    EXPECT_FALSE(end.room());
}

}  // namespace
}  // namespace pvn::store
