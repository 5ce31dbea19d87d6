// SPDX-License-Identifier: MIT
#include "grant/mappings.hpp"

#include "lib/bounded.hpp"

namespace pvn::grant {

void Mappings::add_page(Mapping* page)
{
    auto const first = static_cast<std::uint32_t>(pages_ * per_page);
    for (std::uint32_t i = per_page; i-- > 0;) {  // handles come out in order
        page[i] = {};
        page[i].next = free_;
        free_ = first + i;
    }
    places_[pages_++] = page;
}

Result<std::uint32_t> Mappings::reserve()
{
    if (free_ == none) return Fail{Error::no_space};
    auto const handle = free_;
    auto& mapping = at(handle);
    free_ = mapping.next;
    mapping = {};
    mapping.used = true;
    ++count_;
    return handle;
}

void Mappings::release(std::uint32_t handle)
{
    auto& mapping = at(handle);
    mapping = {};
    mapping.next = free_;
    free_ = handle;
    --count_;
}

Result<Mapping*> Mappings::find(std::uint32_t handle)
{
    if (handle >= pages_ * per_page) return Fail{Error::not_found};
    auto& mapping = at(static_cast<std::uint32_t>(bounded(handle, pages_ * per_page)));
    if (!mapping.used) return Fail{Error::not_found};
    return &mapping;
}

Result<std::uint32_t> Mappings::first_from(std::uint32_t handle) const
{
    for (; handle < pages_ * per_page; ++handle)
        if (places_[handle / per_page][handle % per_page].used) return handle;
    return Fail{Error::not_found};
}

}  // namespace pvn::grant
