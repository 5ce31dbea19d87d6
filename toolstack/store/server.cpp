// SPDX-License-Identifier: MIT
#include "store/server.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "lib/registry.hpp"
#include "paravane/control.h"

namespace pvn::store {
namespace {

constexpr int requests_in_a_turn = 16;
constexpr std::size_t most_output = 64 * 1024;  // that a program has not read yet

void say(std::string const& line) { fmt::print(stderr, "pvn-stored: {}\n", line); }

// The ring of dom0's own kernel.  Nullopt: that kernel has none.
std::optional<pvn_store_Introduce> own_ring()
{
    tools::File const control{open("/dev/pvn", O_RDWR | O_CLOEXEC)};
    pvn_control_store found{};
    if (control.get() < 0 || ioctl(control.get(), PVN_CONTROL_STORE, &found) != 0) return std::nullopt;
    auto own = blank<pvn_store_Introduce>();
    own.frame = found.frame;
    own.port = found.port;
    return own;
}

std::span<std::uint64_t const, 1> one(std::uint64_t const& value) { return std::span<std::uint64_t const, 1>{&value, 1}; }

}  // namespace

std::string socket_path() { return tools::run_folder() + "/store.socket"; }
std::string journal_path() { return tools::run_folder() + "/store.journal"; }

// --- programs of dom0's -------------------------------------------------------------------------------------------------------

Server::SocketPeer::SocketPeer(Server& its_server, Connection number, tools::File its_file) : Peer{its_server, number}, file{std::move(its_file)}
{
    readable.reset(event_new(server.base_.get(), file.get(), EV_READ | EV_PERSIST, on_event, static_cast<Peer*>(this)));
    writable.reset(event_new(server.base_.get(), file.get(), EV_WRITE, on_event, static_cast<Peer*>(this)));
    again.reset(event_new(server.base_.get(), -1, 0, on_event, static_cast<Peer*>(this)));
    event_add(readable.get(), nullptr);
}

bool Server::SocketPeer::flush()
{
    while (!output.empty()) {
        auto const sent = send(file.get(), output.data(), output.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && (errno == EAGAIN || errno == EINTR)) break;
        if (sent <= 0) return false;
        output.erase(output.begin(), output.begin() + sent);
    }
    if (!output.empty()) event_add(writable.get(), nullptr);
    return true;
}

void Server::SocketPeer::serve()
{
    if (output.size() < most_output && input.size() < largest_request) {  // else there is enough to do
        std::array<std::uint8_t, 4096> bytes;
        auto const got = recv(file.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
        if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) return server.drop(connection);
        if (got > 0) input.insert(input.end(), bytes.begin(), bytes.begin() + got);
    }
    auto const put = [this](pvn_store_FromStore const& message) {
        auto const bytes = encode(message);
        output.insert(output.end(), bytes.begin(), bytes.end());
    };
    int turns = 0;
    for (; turns < requests_in_a_turn && output.size() < most_output; ++turns) {
        pvn_store_Request request;
        std::size_t used = 0;
        auto const parsed = parse(input, request, used);
        if (parsed == Parsed::broken) {
            say("a program sent what is no request; its connection is closed");
            return server.drop(connection);
        }
        if (parsed == Parsed::partial) break;
        input.erase(input.begin(), input.begin() + static_cast<std::ptrdiff_t>(used));
        put(server.do_request(connection, request));
    }
    while (output.size() < most_output) {
        auto const event = server.store_.take_event(connection);
        if (!event) break;
        put(message(*event));
    }
    if (!flush()) return server.drop(connection);
    // Who does not read is not listened to.
    if (output.size() < most_output)
        event_add(readable.get(), nullptr);
    else
        event_del(readable.get());
    if (turns == requests_in_a_turn) event_active(again.get(), 0, 0);
}

// --- domains --------------------------------------------------------------------------------------------------------------------

Server::RingPeer::RingPeer(Server& its_server, Connection number, std::uint64_t frame, std::uint32_t its_port)
    : Peer{its_server, number}, page{one(frame)}, port{static_cast<std::uint16_t>(number), its_port}, ring{*reinterpret_cast<pvn_store_ring*>(page.data())}
{
    readable.reset(event_new(server.base_.get(), port.descriptor(), EV_READ | EV_PERSIST, on_event, static_cast<Peer*>(this)));
    again.reset(event_new(server.base_.get(), -1, 0, on_event, static_cast<Peer*>(this)));
    event_add(readable.get(), nullptr);
    event_active(again.get(), 0, 0);
    ring.set_state(PVN_STORE_SERVED);
}

Server::RingPeer::~RingPeer()
{
    if (!broken) ring.set_state(PVN_STORE_NOT_SERVED);
}

void Server::RingPeer::serve()
{
    port.clear();
    if (broken) return;
    bool moved = false;
    int turns = 0;
    auto const end = [&](char const* why) {
        say(fmt::format("domain {}: {}; it is not served any more", connection, why));
        broken = true;
        ring.set_state(PVN_STORE_BROKEN);
        server.store_.close(connection);
        server.store_.open(connection, static_cast<Domain>(connection));
        port.notify();
    };
    for (;; ++turns) {
        if (turns == requests_in_a_turn) {
            event_active(again.get(), 0, 0);
            break;
        }
        // An answer is put there whole or not at all, so a request waits until there is room for any answer.
        auto const room = ring.room();
        if (!room) return end("the indices of its answers make no sense");
        if (*room < largest_answer) break;
        auto const requests = ring.requests();
        if (!requests) return end("the indices of its requests make no sense");
        pvn_store_Request request;
        std::size_t used = 0;
        auto const parsed = parse(*requests, request, used);
        if (parsed == Parsed::broken) return end("it sent what is no request");
        if (parsed == Parsed::message) {
            ring.answer(encode(server.do_request(connection, request)));
            ring.consume(used);
            moved = true;
        } else if (auto const event = server.store_.take_event(connection)) {
            ring.answer(encode(message(*event)));
            moved = true;
        } else {
            break;
        }
    }
    if (moved) port.notify();
}

// --- the daemon -----------------------------------------------------------------------------------------------------------------

Server::Server(tools::File listener) : base_{event_base_new()}, listener_{std::move(listener)}, journal_{journal_path()}
{
    loading_ = true;
    if (auto const own = own_ring()) {
        introduced_[dom0] = *own;
        store_.open(dom0, dom0);
    }
    journal_.load([this](pvn_store_Record const& record) {
        auto const& request = record.request;
        auto const connection = static_cast<Connection>(record.domain);
        switch (request.which_what) {
        case pvn_store_Request_introduce_tag:
            introduced_[static_cast<Domain>(request.what.introduce.domain)] = request.what.introduce;
            store_.open(request.what.introduce.domain, static_cast<Domain>(request.what.introduce.domain));
            break;
        case pvn_store_Request_release_tag: release(static_cast<Domain>(request.what.release.domain)); break;
        case pvn_store_Request_watch_tag:
        case pvn_store_Request_unwatch_tag:
            if (store_.is_open(connection)) answer(store_, connection, request);
            break;
        default:
            if (auto const operation = operation_of(record)) (void)store_.replay(*operation);
        }
    });
    loading_ = false;
    store_.on_change = [this](std::vector<Store::Operation> const& operations) {
        std::vector<pvn_store_Record> records;
        for (auto const& operation : operations) records.push_back(record_of(operation));
        journal_.append(records);
    };
    auto const introduced = introduced_;
    for (auto const& [domain, what] : introduced) {
        try {
            attach(domain);
        } catch (std::exception const& problem) {
            say(fmt::format("domain {} is not there any more: {}", domain, problem.what()));
            release(domain);
        }
    }
    compact();
    accepts_.reset(event_new(base_.get(), listener_.get(), EV_READ | EV_PERSIST, [](int, short, void* self) { static_cast<Server*>(self)->accept_one(); }, this));
    stop_.reset(evsignal_new(base_.get(), SIGTERM, [](int, short, void* self) { event_base_loopbreak(static_cast<Server*>(self)->base_.get()); }, this));
    event_add(accepts_.get(), nullptr);
    event_add(stop_.get(), nullptr);
}

Server::~Server() = default;

void Server::run()
{
    while (event_base_loop(base_.get(), EVLOOP_ONCE) == 0 && event_base_got_break(base_.get()) == 0) {
        dropped_.clear();
        if (journal_.is_long()) compact();
    }
}

void Server::accept_one()
{
    tools::File file{accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)};
    if (file.get() < 0) return;
    auto const connection = next_++;
    store_.open(connection, dom0);
    peers_.emplace(connection, std::make_unique<SocketPeer>(*this, connection, std::move(file)));
}

void Server::drop(Connection connection)
{
    store_.close(connection);
    auto const peer = peers_.find(connection);
    peer->second->stop();
    dropped_.push_back(std::move(peer->second));
    peers_.erase(peer);
}

pvn_store_FromStore Server::do_request(Connection connection, pvn_store_Request const& request)
{
    bool const of_dom0 = store_.domain(connection) == dom0;
    bool const of_domains = request.which_what == pvn_store_Request_introduce_tag || request.which_what == pvn_store_Request_release_tag;
    auto result = blank<pvn_store_FromStore>();
    if (of_domains) {
        result.which_what = pvn_store_FromStore_reply_tag;
        result.what.reply.id = request.id;
        result.what.reply.error = !of_dom0 ? PVN_E_DENIED
                                  : request.which_what == pvn_store_Request_introduce_tag ? introduce(request.what.introduce)
                                                                                          : release(static_cast<Domain>(std::min(request.what.release.domain, 0xffffu)));
    } else {
        result = answer(store_, connection, request);
        // A ring's watches outlive the daemon, as the ring does.
        bool const watches = request.which_what == pvn_store_Request_watch_tag || request.which_what == pvn_store_Request_unwatch_tag;
        if (watches && connection < 1 << 16 && result.what.reply.error == 0) {
            auto record = blank<pvn_store_Record>();
            record.domain = connection;
            record.has_request = true;
            record.request = request;
            journal_.append({&record, 1});
        }
    }
    serve_others(connection);
    return result;
}

void Server::serve_others(Connection but)
{
    for (auto const& [connection, peer] : peers_)
        if (connection != but && store_.has_event(connection)) event_active(peer->again.get(), 0, 0);
}

void Server::note(pvn_store_Record const& record)
{
    if (!loading_) journal_.append({&record, 1});
}

void Server::attach(Domain domain)
{
    auto const& what = introduced_.at(domain);
    peers_.erase(domain);
    peers_.emplace(domain, std::make_unique<RingPeer>(*this, domain, what.frame, what.port));
}

std::uint32_t Server::introduce(pvn_store_Introduce const& what)
{
    if (what.domain == 0 || what.domain > 0x7fef) return PVN_E_INVALID;
    auto const domain = static_cast<Domain>(what.domain);
    if (introduced_.contains(domain)) return PVN_E_EXISTS;
    introduced_[domain] = what;
    store_.open(domain, domain);
    try {
        attach(domain);
    } catch (std::exception const& problem) {
        say(fmt::format("cannot serve domain {}: {}", domain, problem.what()));
        introduced_.erase(domain);
        store_.close(domain);
        return PVN_E_NOT_FOUND;
    }
    auto record = blank<pvn_store_Record>();
    record.has_request = true;
    record.request.which_what = pvn_store_Request_introduce_tag;
    record.request.what.introduce = what;
    note(record);
    return 0;
}

// Its memory is not mapped here any more when this returns.
std::uint32_t Server::release(Domain domain)
{
    if (domain == dom0 || introduced_.erase(domain) == 0) return PVN_E_NOT_FOUND;
    peers_.erase(domain);
    store_.close(domain);
    store_.forget(domain);
    auto record = blank<pvn_store_Record>();
    record.has_request = true;
    record.request.which_what = pvn_store_Request_release_tag;
    record.request.what.release.domain = domain;
    note(record);
    return 0;
}

void Server::compact()
{
    std::vector<pvn_store_Record> records;
    for (auto const& operation : store_.image()) records.push_back(record_of(operation));
    for (auto const& [domain, what] : introduced_) {
        auto record = blank<pvn_store_Record>();
        record.has_request = true;
        record.request.which_what = pvn_store_Request_introduce_tag;
        record.request.what.introduce = what;
        if (domain != dom0) records.push_back(record);  // its ring is asked for at each start
        for (auto const& watch : store_.watches(domain)) {
            record = blank<pvn_store_Record>();
            record.domain = domain;
            record.has_request = true;
            record.request.which_what = pvn_store_Request_watch_tag;
            set_text(record.request.what.watch.path, watch.text);
            record.request.what.watch.depth = watch.depth;
            record.request.what.watch.token = watch.token;
            records.push_back(record);
        }
    }
    journal_.replace(records);
}

}  // namespace pvn::store
