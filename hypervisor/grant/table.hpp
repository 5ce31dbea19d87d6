// SPDX-License-Identifier: MIT
// The grants that one domain gives: words in its own memory, and how many users each has.
#pragma once

#include <array>
#include <cstdint>

#include "lib/id.hpp"
#include "lib/result.hpp"
#include "paravane/grant.h"

namespace pvn::grant {

// Users of one grant.  What the domain says in its words is only ever asked whether somebody may begin to use a frame; who uses
// what is known from here, and from Mappings.
struct Users {
    std::uint32_t readers, writers;
};
inline constexpr std::size_t users_per_page = 512;
static_assert(users_per_page == PVN_GRANTS_PER_PAGE && sizeof(Users) * users_per_page == 4096);

// Takes no lock: the caller holds page_tables_lock around every call.
class Table {
public:
    // A page of words (hostile memory) and one of users, all zero.
    struct Page {
        std::uint64_t* words;
        Users* users;
    };

    std::uint32_t pages() const { return pages_; }
    std::uint32_t in_use() const { return in_use_; }
    Page page(std::uint32_t index) const { return places_[index]; }
    // exists (it is there), invalid (not the next one), no_space.
    Result<void> check_index(std::uint64_t index) const;
    void add(Page page) { places_[pages_++] = page; }
    // The end of the domain: the words are not touched any more, the users' pages are the caller's again.  Those who still use a grant
    // drop() it afterwards.
    void end() { pages_ = 0; }
    std::array<Page, PVN_GRANT_PAGES> const& all_places() const { return places_; }

    // `peer` begins to use the grant.  Returns the frame of the granter's that the word named at that moment.
    // invalid (no such word; reserved bits), denied (not granted to the peer, or not for writing), no_space, again (the granter
    // changed the word meanwhile).
    Result<GuestFrame> take(std::uint32_t ref, DomainId peer, bool to_write);
    // No more.  The users are counted whatever became of the word.
    void drop(std::uint32_t ref, bool to_write);

private:
    Page* find(std::uint32_t ref) { return ref / PVN_GRANTS_PER_PAGE < pages_ ? &places_[ref / PVN_GRANTS_PER_PAGE % PVN_GRANT_PAGES] : nullptr; }

    std::array<Page, PVN_GRANT_PAGES> places_{};
    std::uint32_t pages_ = 0;
    std::uint32_t in_use_ = 0;
};

}  // namespace pvn::grant
