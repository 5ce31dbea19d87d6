// SPDX-License-Identifier: MIT
// The store, as a program of dom0's sees it.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "lib/file.hpp"
#include "store/protocol.hpp"

namespace pvn::tools {

using Moment = std::chrono::steady_clock::time_point;
inline Moment in(std::chrono::milliseconds time) { return std::chrono::steady_clock::now() + time; }

// Connects, and starts the daemon if it does not run.  If the daemon is started anew meanwhile, the client connects again, repeats
// its watches and what was not answered.
class StoreClient {
public:
    StoreClient();  // Problem
    // A failed request is a Problem "cannot WHAT PATH: why", but for these.
    std::string read(std::string const& path);
    std::optional<std::string> find(std::string const& path);  // nullopt: there is none
    std::vector<std::string> list(std::string const& path);    // all of them
    void write(std::string const& path, std::string_view value);
    void remove(std::string const& path);
    bool remove_if_there(std::string const& path);
    store::Permissions permissions(std::string const& path);
    void set_permissions(std::string const& path, store::Permissions const&);
    void watch(std::string const& path, std::uint32_t depth, std::uint64_t token);
    void unwatch(std::string const& path, std::uint64_t token);
    // Does `work` again until nobody else has changed meanwhile what it looked at.
    void transact(std::function<void()> const& work);
    void introduce(std::uint16_t domain, std::span<std::uint8_t const> uuid, std::uint64_t frame, std::uint32_t port);
    void release(std::uint16_t domain);  // of one that is not introduced, too

    store::Event wait_for_event();  // Problem: interrupted
    std::optional<store::Event> wait_for_event(Moment until);  // nullopt: none came
    // Looks whether it is met whenever one of these changes.  False: it is late.
    bool wait_until(std::vector<std::string> const& paths, std::function<bool()> const& met, Moment until);
    int descriptor() const { return socket_.get(); }

private:
    void connect();
    pvn_store_Reply ask(pvn_store_Request request);
    pvn_store_Reply must(char const* what, std::string const& path, pvn_store_Request const& request);
    bool send(pvn_store_Request const&);
    std::optional<pvn_store_FromStore> receive();  // nullopt: the connection has ended

    File socket_;
    std::vector<std::uint8_t> input_;
    std::deque<store::Event> events_;
    std::vector<pvn_store_Request> watches_;
    std::uint32_t next_id_ = 1, transaction_ = 0;
};

// Whether it serves now: nothing is started.
bool store_runs();

}  // namespace pvn::tools
