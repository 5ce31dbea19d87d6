// SPDX-License-Identifier: MIT
#include "grant/table.hpp"

#include <atomic>
#include <limits>

namespace pvn::grant {

Result<void> Table::check_index(std::uint64_t index) const
{
    if (index < pages_) return Fail{Error::exists};
    if (index >= PVN_GRANT_PAGES) return Fail{Error::no_space};
    if (index != pages_) return Fail{Error::invalid};
    return {};
}

Result<GuestFrame> Table::take(std::uint32_t ref, DomainId peer, bool to_write)
{
    auto* const page = find(ref);
    if (page == nullptr) return Fail{Error::invalid};
    std::atomic_ref word{page->words[ref % PVN_GRANTS_PER_PAGE]};
    auto& users = page->users[ref % PVN_GRANTS_PER_PAGE];
    auto& count = to_write ? users.writers : users.readers;

    auto seen = word.load();  // once: all that follows is said of this value
    if ((seen & PVN_GRANT_VALID) == 0) return Fail{Error::denied};
    if ((seen & PVN_GRANT_RESERVED) != 0) return Fail{Error::invalid};
    if ((seen >> PVN_GRANT_DOMAIN_SHIFT & 0xffff) != peer.raw()) return Fail{Error::denied};
    if (to_write && (seen & PVN_GRANT_READ_ONLY) != 0) return Fail{Error::denied};
    if (count == std::numeric_limits<std::uint32_t>::max()) return Fail{Error::no_space};
    std::uint64_t const mark = to_write ? PVN_GRANT_WRITING : PVN_GRANT_READING;
    // If the granter takes it back at this moment, one of both has been first.
    if ((seen & mark) == 0 && !word.compare_exchange_strong(seen, seen | mark)) return Fail{Error::again};
    ++count;
    ++in_use_;
    return GuestFrame{seen >> PVN_GRANT_PFN_SHIFT};
}

void Table::drop(std::uint32_t ref, bool to_write)
{
    --in_use_;
    auto* const page = find(ref);
    if (page == nullptr) return;  // the domain is dying
    auto& users = page->users[ref % PVN_GRANTS_PER_PAGE];
    if (--(to_write ? users.writers : users.readers) == 0) {
        std::uint64_t const mark = to_write ? PVN_GRANT_WRITING : PVN_GRANT_READING;
        std::atomic_ref{page->words[ref % PVN_GRANTS_PER_PAGE]}.fetch_and(~mark);
    }
}

}  // namespace pvn::grant
