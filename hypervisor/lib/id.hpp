// SPDX-License-Identifier: MIT
// Strong types for the numbers that must not be mixed up: frames, domains, ports, addresses.
#pragma once

#include <compare>
#include <concepts>
#include <cstdint>
#include <type_traits>

namespace pvn {

template <class Tag, std::unsigned_integral Rep>
class Id {  // names one thing: compared, never added
public:
    using Raw = Rep;
    constexpr Id() = default;
    explicit constexpr Id(Rep raw) : raw_{raw} {}
    constexpr Rep raw() const { return raw_; }
    friend constexpr auto operator<=>(Id, Id) = default;

private:
    Rep raw_{};
};

template <class Tag>
class FrameNumber : public Id<Tag, std::uint64_t> {  // can be walked: frame + count, frame - frame
public:
    using Id<Tag, std::uint64_t>::Id;
    friend constexpr FrameNumber operator+(FrameNumber f, std::uint64_t n) { return FrameNumber{f.raw() + n}; }
    friend constexpr std::uint64_t operator-(FrameNumber a, FrameNumber b) { return a.raw() - b.raw(); }
};

using MachineFrame = FrameNumber<struct MachineFrameTag>;  // a page of real memory
using GuestFrame = FrameNumber<struct GuestFrameTag>;      // the guest's own numbering of its memory
using DomainId = Id<struct DomainIdTag, std::uint16_t>;
using VcpuId = Id<struct VcpuIdTag, std::uint32_t>;
using Port = Id<struct PortTag, std::uint32_t>;

static_assert(!std::is_constructible_v<MachineFrame, GuestFrame>);
static_assert(sizeof(MachineFrame) == 8 && std::is_trivially_copyable_v<MachineFrame>);

}  // namespace pvn
