// SPDX-License-Identifier: MIT
// The hypervisor's own messages: to the serial port and a ring that dom0 can read.
// In a format, {} is replaced by the next argument: numbers in decimal, Hex in hexadecimal, text as it is.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace pvn {

struct Hex { std::uint64_t value; };

namespace console {
enum class Writer : std::uint32_t { hypervisor = ~std::uint32_t{0} };  // or a domain's id
void write(std::string_view);                       // bytes, to the serial port and the ring; within a Line
std::size_t read_log(std::size_t offset, std::span<char> to);  // what the ring holds, from `offset` bytes after its oldest
bool read_input(char&);                             // a byte received by the serial port
void initialise();
void take_for_panic();                              // no other CPU writes any more
}  // namespace console

namespace detail {
// The console for as long as it takes: one writer at a time, and nobody goes on in another's line.  After a panic, whoever panics has it.
class Line {
public:
    explicit Line(console::Writer = console::Writer::hypervisor);
    bool at_start() const { return at_start_; }  // when it was taken
    Line(Line const&) = delete;
    Line& operator=(Line const&) = delete;
    ~Line();

private:
    bool at_start_;
};
void put(std::string_view);
void put(Hex);
void put(std::uint64_t);
void put(std::int64_t);
template <std::unsigned_integral T> void put_one(T v) { put(std::uint64_t{v}); }
template <std::signed_integral T> void put_one(T v) { put(std::int64_t{v}); }
inline void put_one(Hex v) { put(v); }
inline void put_one(std::string_view v) { put(v); }
inline void put_one(char const* v) { put(std::string_view{v}); }
inline std::string_view until_hole(std::string_view& format)
{
    auto const hole = format.find("{}");
    auto const text = format.substr(0, hole);
    format.remove_prefix(hole == format.npos ? format.size() : hole + 2);
    return text;
}
}  // namespace detail

// One line: "(pvn) " + text + newline.
template <class... Arguments>
void log(std::string_view format, Arguments... arguments)
{
    detail::Line const line;
    detail::put("(pvn) ");
    ((detail::put(detail::until_hole(format)), detail::put_one(arguments)), ...);
    detail::put(format);
    detail::put("\n");
}

[[noreturn]] void panic(std::string_view why);

}  // namespace pvn
