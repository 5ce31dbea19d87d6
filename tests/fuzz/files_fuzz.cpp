// SPDX-License-Identifier: MIT
// Files that a user gives to pvn: a domain's description, and a kernel however packed.  Each is read or refused with one line; what a description
// says survives pvn's own file of it.
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <string_view>

#include "lib/domain_config.hpp"
#include "lib/file.hpp"
#include "lib/kernel_file.hpp"

namespace {

using namespace pvn::tools;

void expect(bool condition)
{
    if (!condition) std::abort();
}

void read_description(std::string_view text)
{
    auto const config = parse_config(text, "fuzz.toml");
    expect(!config.name.empty() && config.memory != 0 && config.memory % 4096 == 0);
    expect(config.vcpus >= 1 && config.vcpus <= config.max_vcpus && config.max_vcpus <= 64);
    auto const written = to_json(config).dump();
    expect(config_from(nlohmann::json::parse(written)) == config);
}

void read_kernel(std::span<std::byte const> file)
{
    auto const unpacked = unpack_kernel(file);
    auto const reading = pvn::boot::read_kernel(unpacked.elf);
    if (!reading.error.empty()) return;
    for (auto const& segment : std::span{reading.image.segments}.first(reading.image.segment_count))
        expect(segment.offset <= unpacked.elf.size() && segment.file_size <= unpacked.elf.size() - segment.offset);
}

}  // namespace

// The first byte says what the others are.
extern "C" int LLVMFuzzerTestOneInput(std::uint8_t const* data, std::size_t size)
{
    if (size == 0) return 0;
    auto const bytes = std::as_bytes(std::span{data, size}).subspan(1);
    std::string_view const text{reinterpret_cast<char const*>(bytes.data()), bytes.size()};
    try {
        switch (data[0] % 6) {
        case 0:
        case 1: read_description(text); break;
        case 2: read_kernel(bytes); break;
        case 3: (void)parse_size(text); break;
        case 4: expect(parse_duration(duration_text(parse_duration(text))) == parse_duration(text)); break;
        default: expect(parse_mac(parse_mac(text)) == parse_mac(text)); break;
        }
    } catch (Problem const& problem) {
        expect(std::string_view{problem.what()}.find('\n') == std::string_view::npos);
    }
    return 0;
}
