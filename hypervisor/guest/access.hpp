// SPDX-License-Identifier: MIT
// Guest memory, by an explicit walk of the guest's tables and the direct map.  A whole argument is copied once; nothing
// can change between its check and its use.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

#include "lib/id.hpp"
#include "lib/result.hpp"

namespace pvn {

struct Vcpu;
class LockedFrames;

namespace guest {

struct Leaf {
    std::uint64_t entry;         // as read
    MachineFrame table;          // level-1 table that holds it
    unsigned index;
    bool writable;               // at every level
};

// Where the guest's own tables lead for that address; bad_address if they do not, or into the slot.
Result<Leaf> walk(LockedFrames const&, Vcpu const&, std::uint64_t address);

// The same, but the leaf need not be present: where its entry is.
Result<Leaf> walk_to_table(LockedFrames const&, Vcpu const&, std::uint64_t address);

// With the page tables locked, so that a frame that the guest maps stays what it is meanwhile.
enum class Access { read, write };
Result<void> copy(LockedFrames const&, Vcpu const&, std::uint64_t address, void* buffer, std::size_t bytes, Access);
Result<void> copy(Vcpu const&, std::uint64_t address, void* buffer, std::size_t bytes, Access);

// One word, at once for whoever looks.  `invalid`: the address is no multiple of 4.
Result<void> store(Vcpu const&, std::uint64_t address, std::uint32_t value);

}  // namespace guest

// An argument's place in guest memory.
template <class T>
class GuestIn {
public:
    static_assert(std::is_trivially_copyable_v<T>);
    GuestIn(Vcpu const& vcpu, std::uint64_t address) : vcpu_{vcpu}, address_{address} {}
    Result<T> read(std::uint64_t index = 0) const
    {
        T value;
        PVN_CHECK(guest::copy(vcpu_, address_ + index * sizeof(T), &value, sizeof(T), guest::Access::read));
        return value;
    }
    Result<void> read(LockedFrames const& frames, std::uint64_t first, std::span<T> values) const
    {
        return guest::copy(frames, vcpu_, address_ + first * sizeof(T), values.data(), values.size_bytes(), guest::Access::read);
    }
    Result<T> read(LockedFrames const& frames, std::uint64_t index) const
    {
        T value;
        PVN_CHECK(guest::copy(frames, vcpu_, address_ + index * sizeof(T), &value, sizeof(T), guest::Access::read));
        return value;
    }

protected:
    Vcpu const& vcpu_;
    std::uint64_t address_;
};

template <class T>
class GuestOut : public GuestIn<T> {
public:
    static_assert(std::has_unique_object_representations_v<T>, "padding would leak the hypervisor's stack");
    using GuestIn<T>::GuestIn;
    Result<void> write(T value, std::uint64_t index = 0) const
    {
        return guest::copy(this->vcpu_, this->address_ + index * sizeof(T), &value, sizeof(T), guest::Access::write);
    }
    Result<void> write(LockedFrames const& frames, std::uint64_t first, std::span<T> values) const
    {
        return guest::copy(frames, this->vcpu_, this->address_ + first * sizeof(T), values.data(), values.size_bytes(), guest::Access::write);
    }
    Result<void> write(LockedFrames const& frames, T value, std::uint64_t index) const
    {
        return guest::copy(frames, this->vcpu_, this->address_ + index * sizeof(T), &value, sizeof(T), guest::Access::write);
    }
};

}  // namespace pvn
