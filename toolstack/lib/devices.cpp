// SPDX-License-Identifier: MIT
#include "lib/devices.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace pvn::tools {
namespace {

constexpr std::chrono::seconds back_end_wait{20}, guest_wait{20};

std::string find(StoreClient& store, std::string const& path) { return store.find(path).value_or(""); }

}  // namespace

std::string DevicePlace::front() const { return fmt::format("/local/domain/{}/device/{}/{}", domain, type, number); }
std::string DevicePlace::back() const { return fmt::format("/local/domain/0/backend/{}/{}/{}", type, domain, number); }

void make_places(StoreClient& store, DevicePlace const& place, Keys const& back)
{
    store.transact([&] {
        store.write(place.back(), "");
        store.set_permissions(place.back(), {store::dom0, false, false, {{place.domain, true, false}}});
        for (auto const& [key, value] : back) store.write(fmt::format("{}/{}", place.back(), key), value);
        for (auto const& [key, value] : Keys{{"frontend", place.front()}, {"frontend-domain", std::to_string(place.domain)}, {"online", "1"}, {"state", "new"}})
            store.write(fmt::format("{}/{}", place.back(), key), value);
        for (auto const& [key, value] : Keys{{"backend", place.back()}, {"backend-domain", "0"}, {"state", "new"}})
            store.write(fmt::format("{}/{}", place.front(), key), value);
    });
}

void remove_places(StoreClient& store, DevicePlace const& place)
{
    store.transact([&] {
        store.remove_if_there(place.front());
        store.remove_if_there(place.back());
        // Nothing is left of a type, or a domain, without devices.
        for (auto const& folder : {fmt::format("/local/domain/0/backend/{}/{}", place.type, place.domain), fmt::format("/local/domain/0/backend/{}", place.type),
                                   std::string{"/local/domain/0/backend"}, fmt::format("/local/domain/{}/device/{}", place.domain, place.type),
                                   fmt::format("/local/domain/{}/device", place.domain)})
            if (store.find(folder) && store.list(folder).empty()) store.remove(folder);
    });
}

std::vector<unsigned> numbers_of_devices(StoreClient& store, std::string const& type, std::uint16_t domain)
{
    std::vector<unsigned> numbers;
    auto const folder = fmt::format("/local/domain/0/backend/{}/{}", type, domain);
    if (!store.find(folder)) return numbers;
    for (auto const& name : store.list(folder)) {
        unsigned number = 0;
        auto const* const end = name.data() + name.size();
        if (auto const [at, error] = std::from_chars(name.data(), end, number); error == std::errc{} && at == end) numbers.push_back(number);
    }
    std::ranges::sort(numbers);
    return numbers;
}

std::string state_of(StoreClient& store, DevicePlace const& place, Side side)
{
    return find(store, fmt::format("{}/state", side == Side::front ? place.front() : place.back()));
}

std::string error_of(StoreClient& store, DevicePlace const& place)
{
    auto error = find(store, place.back() + "/error");
    if (error.empty()) error = find(store, place.front() + "/error");
    return error;
}

std::string wait_for_state(StoreClient& store, DevicePlace const& place, Side side, std::initializer_list<std::string_view> states, Moment until)
{
    std::string state;
    store.wait_until(
        {fmt::format("{}/state", side == Side::front ? place.front() : place.back())},
        [&] { return std::ranges::find(states, state = state_of(store, place, side)) != states.end(); }, until);
    return state;
}

std::string why_not_offered(std::string const& state, std::string const& error, std::string const& type)
{
    if (state == "offered" || state == "ready" || state == "connected") return "";  // an error was of an earlier attempt
    if (!error.empty()) return error;
    if (state == "new") return fmt::format("dom0 has no back end for it that answers; `modprobe pvn-{}-back` and `dmesg` say why", type);
    return "its back end has ended it; `dmesg` says why";
}

void wait_for_offer(StoreClient& store, DevicePlace const& place, std::string const& what)
{
    auto const state = wait_for_state(store, place, Side::back, {"offered", "ready", "connected", "closed"}, in(back_end_wait));
    if (auto const why = why_not_offered(state, find(store, place.back() + "/error"), place.type); !why.empty())
        throw Problem{fmt::format("{}: {}", what, why)};
}

std::string wait_for_connection(StoreClient& store, DevicePlace const& place, Moment until)
{
    if (wait_for_state(store, place, Side::front, {"connected", "closed"}, until) == "connected") return "";
    if (auto error = error_of(store, place); !error.empty()) return error;
    auto const front = state_of(store, place, Side::front);
    if (front == "new" || front.empty()) return "the guest has not asked for it: it is not that far yet, or its kernel has no driver";
    return fmt::format("the guest's side is {}, dom0's {}", front, state_of(store, place, Side::back));
}

std::string device_state_text(std::string const& front, std::string const& back, std::string const& error)
{
    if (!error.empty()) return error;
    return front == "connected" && back == "connected" ? "connected" : fmt::format("guest {}, dom0 {}", front.empty() ? "gone" : front, back);
}

void end_device(StoreClient& store, DevicePlace const& place, bool force, std::string const& what)
{
    auto const error = place.front() + "/error";
    store.remove_if_there(force ? place.front() : error);
    store.write(place.back() + "/online", "0");
    // `new`: no driver has it.
    auto const ended = [&] {
        auto const state = state_of(store, place, Side::back);
        return state == "closed" || state == "new" || state.empty();
    };
    store.wait_until({place.back() + "/state", error}, [&] { return ended() || store.find(error); }, in(force ? back_end_wait : guest_wait));
    if (!ended()) {
        if (force) throw Problem{fmt::format("{}: dom0's back end does not let it go; `dmesg` may say why", what)};
        auto const why = find(store, error);
        store.remove_if_there(error);
        store.write(place.back() + "/online", "1");
        throw Problem{fmt::format("{}: the guest does not let it go{}{}; --force takes it away", what, why.empty() ? "" : ": ", why)};
    }
    remove_places(store, place);
}

}  // namespace pvn::tools
