// SPDX-License-Identifier: MIT
#include "lib/vifs.hpp"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <linux/if_bridge.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

namespace pvn::tools {
namespace {

constexpr char net[] = "net";

std::string what(std::uint16_t domain, unsigned number) { return fmt::format("card {} of domain {}", number, domain); }

DevicePlace place_of(std::uint16_t domain, unsigned number) { return {net, domain, number}; }

struct Gone {};  // the driver has been taken away meanwhile, and with it the interface

// An interface of dom0's.
class Interface {
public:
    explicit Interface(std::string name) : name_{std::move(name)}, socket_{socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)} {}
    void add_to(std::string const& bridge) const
    {
        std::error_code none;
        if (std::filesystem::exists(fmt::format("/sys/class/net/{}/brif/{}", bridge, name_), none)) return;
        auto request = of(bridge);
        request.ifr_ifindex = static_cast<int>(if_nametoindex(name_.c_str()));
        must(SIOCBRADDIF, request, fmt::format("add {} to the bridge {}", name_, bridge));
    }
    void set_address(std::string const& text) const  // "10.1.0.1/24"
    {
        auto const slash = text.find('/');
        auto const bits = std::stoul(text.substr(slash + 1));
        auto request = of(name_);
        put(request.ifr_addr, inet_addr(text.substr(0, slash).c_str()));
        must(SIOCSIFADDR, request, fmt::format("give {} the address {}", name_, text));
        put(request.ifr_netmask, htonl(bits == 0 ? 0 : ~0u << (32 - bits)));
        must(SIOCSIFNETMASK, request, fmt::format("give {} the address {}", name_, text));
    }
    void up() const
    {
        auto request = of(name_);
        must(SIOCGIFFLAGS, request, fmt::format("find {}", name_));
        request.ifr_flags = static_cast<short>(request.ifr_flags | IFF_UP);
        must(SIOCSIFFLAGS, request, fmt::format("switch {} on", name_));
    }

private:
    static ifreq of(std::string const& name)
    {
        ifreq request{};
        name.copy(request.ifr_name, IFNAMSIZ - 1);
        return request;
    }
    static void put(sockaddr& to, in_addr_t address)
    {
        sockaddr_in from{};
        from.sin_family = AF_INET;
        from.sin_addr.s_addr = address;
        std::memcpy(&to, &from, sizeof from);
    }
    void must(unsigned long call, ifreq& request, std::string const& to) const
    {
        if (ioctl(socket_.get(), call, &request) == 0) return;
        if (errno == ENODEV) throw Gone{};
        throw Problem{fmt::format("cannot {}: {}", to, std::strerror(errno))};
    }
    std::string name_;
    File socket_;
};

void check_bridge(std::string const& name)
{
    if (name.empty() || std::filesystem::exists(fmt::format("/sys/class/net/{}/bridge", name))) return;
    throw Problem{fmt::format("dom0 has no bridge {}; `ip link add {} type bridge && ip link set {} up` makes one", name, name, name)};
}

void check_mac(StoreClient& store, std::string const& mac)
{
    std::string const all = "/local/domain/0/backend/net";
    if (!store.find(all)) return;
    for (auto const& domain : store.list(all))
        for (auto const& number : store.list(fmt::format("{}/{}", all, domain)))
            if (store.find(fmt::format("{}/{}/{}/mac", all, domain, number)).value_or("") == mac)
                throw Problem{fmt::format("the address {} is taken by card {} of domain {}; give another `mac`", mac, number, domain)};
}

}  // namespace

std::string usual_mac(std::string const& domain_name, unsigned number)
{
    // FNV-1a; 02 in the first byte: locally administered, one station (IEEE 802-2014 8.2.2).
    std::uint64_t hash = 0xcbf29ce484222325;
    for (char const c : fmt::format("{}/{}", domain_name, number)) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
    return fmt::format("02:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", hash & 0xff, hash >> 8 & 0xff, hash >> 16 & 0xff, hash >> 24 & 0xff, hash >> 32 & 0xff);
}

std::vector<Vif> vifs_of(StoreClient& store, std::uint16_t domain)
{
    std::vector<Vif> vifs;
    for (auto const number : numbers_of_devices(store, net, domain)) {
        auto const place = place_of(domain, number);
        auto const value = [&](char const* key) { return store.find(fmt::format("{}/{}", place.back(), key)).value_or(""); };
        Vif vif;
        vif.number = number;
        vif.config.mac = value("mac");
        vif.config.bridge = value("bridge");
        vif.config.address = value("address");
        vif.config.mtu = static_cast<std::uint32_t>(std::strtoul(value("mtu").c_str(), nullptr, 10));
        vif.config.rate = std::strtoull(value("rate").c_str(), nullptr, 10);
        vif.config.offload = value("offload") != "0";
        vif.interface = value("interface");
        vif.front = state_of(store, place, Side::front);
        vif.back = state_of(store, place, Side::back);
        vif.error = error_of(store, place);
        vifs.push_back(std::move(vif));
    }
    return vifs;
}

void attach_vif(StoreClient& store, std::uint16_t domain, std::string const& domain_name, unsigned number, VifConfig const& vif)
{
    auto const place = place_of(domain, number);
    auto const mac = vif.mac.empty() ? usual_mac(domain_name, number) : vif.mac;
    check_bridge(vif.bridge);
    check_mac(store, mac);
    if (store.find(place.back())) throw Problem{fmt::format("domain {} has a card {} already", domain, number)};
    make_places(store, place,
                {{"mac", mac}, {"mtu", std::to_string(vif.mtu)}, {"rate", std::to_string(vif.rate)}, {"offload", vif.offload ? "1" : "0"}, {"bridge", vif.bridge},
                 {"address", vif.address}});
    try {
        wait_for_offer(store, place, what(domain, number));
        set_up_interface(store, domain, number);
    } catch (...) {
        remove_places(store, place);
        throw;
    }
}

void detach_vif(StoreClient& store, std::uint16_t domain, unsigned number, bool force)
{
    auto const place = place_of(domain, number);
    if (!store.find(place.back())) throw Problem{fmt::format("there is no {}", what(domain, number))};
    end_device(store, place, force, what(domain, number));
}

void set_up_interface(StoreClient& store, std::uint16_t domain, unsigned number)
{
    auto const value = [&](char const* key) { return store.find(fmt::format("{}/{}", place_of(domain, number).back(), key)).value_or(""); };
    auto const name = value("interface");
    if (name.empty() || if_nametoindex(name.c_str()) == 0) return;
    try {
        Interface const interface{name};
        if (auto const bridge = value("bridge"); !bridge.empty()) interface.add_to(bridge);
        if (auto const address = value("address"); !address.empty()) interface.set_address(address);
        interface.up();
    } catch (Gone) {}
}

void release_vifs(StoreClient& store, std::uint16_t domain)
{
    for (auto const number : numbers_of_devices(store, net, domain)) detach_vif(store, domain, number, true);
}

}  // namespace pvn::tools
