// SPDX-License-Identifier: MIT
// Grant tables and handles: every rule, every error, and a hostile granter that changes its words meanwhile.
#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <set>
#include <vector>

#include "grant/mappings.hpp"
#include "grant/table.hpp"

namespace pvn::grant {
namespace {

constexpr DomainId peer{7}, stranger{8};

constexpr std::uint64_t word(std::uint64_t pfn, std::uint64_t bits = PVN_GRANT_VALID, DomainId to = peer)
{
    return bits | std::uint64_t{to.raw()} << PVN_GRANT_DOMAIN_SHIFT | pfn << PVN_GRANT_PFN_SHIFT;
}

struct Grants : ::testing::Test {
    std::vector<std::uint64_t> words = std::vector<std::uint64_t>(2 * PVN_GRANTS_PER_PAGE);
    std::vector<Users> users = std::vector<Users>(2 * PVN_GRANTS_PER_PAGE);
    Table table;

    Grants()
    {
        for (unsigned i : {0u, 1u}) table.add({words.data() + i * PVN_GRANTS_PER_PAGE, users.data() + i * PVN_GRANTS_PER_PAGE});
    }
};

TEST_F(Grants, AreMarkedWhileInUse)
{
    words[700] = word(0x123456);
    EXPECT_EQ(table.take(700, peer, false).value().raw(), 0x123456u);
    EXPECT_EQ(words[700], word(0x123456, PVN_GRANT_VALID | PVN_GRANT_READING));
    EXPECT_TRUE(table.take(700, peer, true));
    EXPECT_TRUE(table.take(700, peer, true));
    EXPECT_EQ(words[700], word(0x123456, PVN_GRANT_VALID | PVN_GRANT_IN_USE));
    EXPECT_EQ(table.in_use(), 3u);
    table.drop(700, false);
    table.drop(700, true);
    EXPECT_EQ(words[700], word(0x123456, PVN_GRANT_VALID | PVN_GRANT_WRITING));
    table.drop(700, true);
    EXPECT_EQ(words[700], word(0x123456));
    EXPECT_EQ(table.in_use(), 0u);
}

TEST_F(Grants, RefuseWhatTheirWordDoesNotSay)
{
    EXPECT_EQ(table.take(0, peer, false).error(), Error::denied);
    words[0] = word(1);
    EXPECT_EQ(table.take(0, stranger, false).error(), Error::denied);
    words[0] = word(1, PVN_GRANT_VALID | PVN_GRANT_READ_ONLY);
    EXPECT_EQ(table.take(0, peer, true).error(), Error::denied);
    EXPECT_TRUE(table.take(0, peer, false));
    for (unsigned bit = 4; bit < 16; ++bit) {
        words[1] = word(1, PVN_GRANT_VALID | 1u << bit);
        EXPECT_EQ(table.take(1, peer, false).error(), Error::invalid);
    }
    for (auto const ref : {1024u, 1u << 20, PVN_GRANT_NONE}) EXPECT_EQ(table.take(ref, peer, false).error(), Error::invalid);
    users[2].writers = 0xffffffff;
    words[2] = word(1);
    EXPECT_EQ(table.take(2, peer, true).error(), Error::no_space);
    EXPECT_EQ(table.in_use(), 1u);
}

TEST_F(Grants, CountUsersWhateverBecomesOfTheWord)
{
    words[5] = word(1);
    ASSERT_TRUE(table.take(5, peer, true));
    words[5] = word(2, PVN_GRANT_VALID, stranger);  // the granter reuses it while it is in use
    ASSERT_TRUE(table.take(5, stranger, true));
    words[5] = ~std::uint64_t{0};
    table.drop(5, true);
    EXPECT_EQ(words[5], ~std::uint64_t{0});
    table.drop(5, true);
    EXPECT_EQ(words[5], ~std::uint64_t{PVN_GRANT_WRITING});
    EXPECT_EQ(users[5].writers, 0u);
    EXPECT_EQ(table.in_use(), 0u);
}

TEST_F(Grants, OutliveTheirTable)
{
    words[5] = word(1);
    ASSERT_TRUE(table.take(5, peer, true));
    table.end();
    EXPECT_EQ(table.take(5, peer, true).error(), Error::invalid);
    table.drop(5, true);
    EXPECT_EQ(words[5], word(1, PVN_GRANT_VALID | PVN_GRANT_WRITING));  // not touched any more
    EXPECT_EQ(table.in_use(), 0u);
}

TEST(GrantTable, GrowsPageByPage)
{
    Table table;
    std::vector<std::uint64_t> words(PVN_GRANTS_PER_PAGE);
    std::vector<Users> users(PVN_GRANTS_PER_PAGE);
    EXPECT_EQ(table.check_index(1).error(), Error::invalid);
    for (unsigned i = 0; i < PVN_GRANT_PAGES; ++i) {
        ASSERT_TRUE(table.check_index(i));
        table.add({words.data(), users.data()});
        EXPECT_EQ(table.check_index(i).error(), Error::exists);
    }
    EXPECT_EQ(table.check_index(PVN_GRANT_PAGES).error(), Error::no_space);
    EXPECT_EQ(table.check_index(~0ull).error(), Error::no_space);
}

TEST(GrantMappings, HandlesComeAndGo)
{
    Mappings mappings;
    EXPECT_EQ(mappings.reserve().error(), Error::no_space);
    EXPECT_TRUE(mappings.wants_page(1));
    EXPECT_EQ(mappings.find(0).error(), Error::not_found);
    EXPECT_EQ(mappings.first_from(0).error(), Error::not_found);
    std::vector<std::unique_ptr<Mapping[]>> pages;
    std::set<std::uint32_t> used;
    std::mt19937 random{1};
    for (int step = 0; step < 20000; ++step) {
        if (random() % 5 < 3) {
            if (mappings.wants_page(1)) mappings.add_page(pages.emplace_back(new Mapping[Mappings::per_page]).get());
            auto const handle = mappings.reserve();
            if (!handle) {
                EXPECT_EQ(used.size(), Mappings::maximum_pages * Mappings::per_page);
                continue;
            }
            EXPECT_TRUE(used.insert(*handle).second);
            mappings.at(*handle).ref = *handle * 3;
        } else if (!used.empty()) {
            auto const handle = *used.lower_bound(static_cast<std::uint32_t>(random() % (*used.rbegin() + 1)));
            EXPECT_EQ(mappings.find(handle).value()->ref, handle * 3);
            mappings.release(handle);
            EXPECT_EQ(mappings.find(handle).error(), Error::not_found);
            used.erase(handle);
        }
        ASSERT_EQ(mappings.count(), used.size());
    }
    auto expected = used.begin();
    for (auto handle = mappings.first_from(0); handle; handle = mappings.first_from(*handle + 1)) EXPECT_EQ(*handle, *expected++);
    EXPECT_EQ(expected, used.end());
    EXPECT_EQ(mappings.find(0xffffffff).error(), Error::not_found);
}

}  // namespace
}  // namespace pvn::grant
