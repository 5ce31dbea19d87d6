// SPDX-License-Identifier: MIT
#include "lib/store_client.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "lib/hypervisor.hpp"
#include "lib/registry.hpp"
#include "store/server.hpp"

namespace pvn::tools {
namespace {

File try_to_connect()
{
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    store::socket_path().copy(address.sun_path, sizeof address.sun_path - 1);
    File socket{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    if (socket.get() < 0 || connect(socket.get(), reinterpret_cast<sockaddr const*>(&address), sizeof address) != 0) return File{};
    return socket;
}

// Returns when the daemon listens, or it is clear that it will not.
void start_daemon()
{
    // Beside this program, or else wherever programs are.
    std::error_code error;
    auto const beside = std::filesystem::read_symlink("/proc/self/exe", error).parent_path() / "pvn-stored";
    auto const program = std::filesystem::exists(beside, error) ? beside.string() : std::string{"pvn-stored"};
    std::array<char*, 2> arguments{const_cast<char*>("pvn-stored"), nullptr};
    pid_t child = 0;
    if (auto const failed = posix_spawnp(&child, program.c_str(), nullptr, nullptr, arguments.data(), environ); failed != 0)
        throw Problem{fmt::format("cannot start pvn-stored: {}", std::strerror(failed))};
    int status = 0;
    while (waitpid(child, &status, 0) < 0 && errno == EINTR) stop_if_interrupted();
}

char const* text_of(std::uint32_t error)
{
    switch (error) {
    case PVN_E_DENIED: return "not permitted";
    case PVN_E_NOT_FOUND: return "there is no such node";
    case PVN_E_AGAIN: return "others changed it meanwhile";
    case PVN_E_EXISTS: return "it is there already";
    case PVN_E_INVALID: return "not possible: a path is /NAME/NAME..., at most 16 names of 63 letters, digits and -_.:@+,=, and 255 characters";
    case PVN_E_NO_SPACE: return "its owner has as much in the store as it may have";
    default: return "pvn-stored does not know that request; are pvn and pvn-stored of one version?";
    }
}

pvn_store_Request empty() { return store::blank<pvn_store_Request>(); }

template <std::size_t Size>
void put(char (&to)[Size], std::string_view text, char const* what)
{
    if (!store::set_text(to, text)) throw Problem{fmt::format("{} is no {} of the store: it may have {} characters", text, what, Size - 1)};
}

}  // namespace

bool StoreClient::wait_until(std::vector<std::string> const& paths, std::function<bool()> const& met, Moment until)
{
    for (std::size_t i = 0; i < paths.size(); ++i) watch(paths[i], 0, i);
    bool is_met = false;
    while (!(is_met = met()) && wait_for_event(until)) {}
    for (std::size_t i = 0; i < paths.size(); ++i) unwatch(paths[i], i);
    return is_met;
}

bool store_runs() { return try_to_connect().get() >= 0; }

StoreClient::StoreClient() { connect(); }

void StoreClient::connect()
{
    input_.clear();
    socket_ = try_to_connect();
    if (socket_.get() < 0) {
        start_daemon();
        socket_ = try_to_connect();
    }
    if (socket_.get() < 0) throw Problem{fmt::format("cannot reach pvn-stored: {}; the end of {}/store.log may say why", std::strerror(errno), run_folder())};
}

bool StoreClient::send(pvn_store_Request const& request)
{
    auto const bytes = store::encode(request);
    for (std::size_t done = 0; done < bytes.size();) {
        auto const sent = ::send(socket_.get(), bytes.data() + done, bytes.size() - done, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent <= 0) return false;
        done += static_cast<std::size_t>(sent);
    }
    return true;
}

std::optional<pvn_store_FromStore> StoreClient::receive()
{
    for (;;) {
        pvn_store_FromStore message;
        std::size_t used = 0;
        auto const parsed = store::parse(input_, message, used);
        if (parsed == store::Parsed::broken) throw Problem{"pvn-stored says what makes no sense; are pvn and pvn-stored of one version?"};
        if (parsed == store::Parsed::message) {
            input_.erase(input_.begin(), input_.begin() + static_cast<std::ptrdiff_t>(used));
            return message;
        }
        std::array<std::uint8_t, 4096> bytes;
        auto const got = recv(socket_.get(), bytes.data(), bytes.size(), 0);
        if (got < 0 && errno == EINTR) {
            stop_if_interrupted();
            continue;
        }
        if (got <= 0) return std::nullopt;
        input_.insert(input_.end(), bytes.begin(), bytes.begin() + got);
    }
}

pvn_store_Reply StoreClient::ask(pvn_store_Request request)
{
    request.id = next_id_++;
    bool const of_watches = request.which_what == pvn_store_Request_watch_tag || request.which_what == pvn_store_Request_unwatch_tag;
    request.transaction = of_watches ? 0 : transaction_;
    for (;;) {
        if (send(request))
            while (auto const message = receive()) {
                if (message->which_what == pvn_store_FromStore_event_tag)
                    events_.push_back({message->what.event.token, message->what.event.path});
                else if (message->what.reply.id == request.id)
                    return message->what.reply;
            }
        // The daemon has been started anew.  A transaction of before it is not known to it, and says so.
        connect();
        for (auto const& watch : watches_) (void)send(watch);
    }
}

pvn_store_Reply StoreClient::must(char const* what, std::string const& path, pvn_store_Request const& request)
{
    auto const reply = ask(request);
    if (reply.error == PVN_E_AGAIN && transaction_ != 0) throw transaction_;  // transact() begins once more
    if (reply.error != 0) throw Problem{fmt::format("cannot {} {}: {}", what, path, text_of(reply.error))};
    return reply;
}

std::string StoreClient::read(std::string const& path)
{
    auto request = empty();
    request.which_what = pvn_store_Request_read_tag;
    put(request.what.read.path, path, "path");
    auto const reply = must("read", path, request);
    return {reinterpret_cast<char const*>(reply.what.value.bytes), reply.what.value.size};
}

std::optional<std::string> StoreClient::find(std::string const& path)
{
    auto request = empty();
    request.which_what = pvn_store_Request_read_tag;
    put(request.what.read.path, path, "path");
    auto const reply = ask(request);
    if (reply.error == PVN_E_NOT_FOUND) return std::nullopt;
    if (reply.error != 0) return read(path);
    return std::string{reinterpret_cast<char const*>(reply.what.value.bytes), reply.what.value.size};
}

std::vector<std::string> StoreClient::list(std::string const& path)
{
    std::vector<std::string> names;
    for (bool more = true; more;) {
        auto request = empty();
        request.which_what = pvn_store_Request_list_tag;
        put(request.what.list.path, path, "path");
        if (!names.empty()) put(request.what.list.after, names.back(), "name");
        auto const reply = must("list", path, request);
        for (auto const& name : std::span{reply.what.names.name}.first(reply.what.names.name_count)) names.emplace_back(name);
        more = reply.what.names.more && reply.what.names.name_count != 0;
    }
    return names;
}

void StoreClient::write(std::string const& path, std::string_view value)
{
    auto request = empty();
    request.which_what = pvn_store_Request_write_tag;
    put(request.what.write.path, path, "path");
    auto& bytes = request.what.write.value;
    if (value.size() > sizeof bytes.bytes) throw Problem{fmt::format("cannot write {}: a value has at most {} bytes, this one {}", path, sizeof bytes.bytes, value.size())};
    bytes.size = static_cast<pb_size_t>(value.size());
    std::ranges::copy(value, bytes.bytes);
    must("write", path, request);
}

void StoreClient::remove(std::string const& path)
{
    auto request = empty();
    request.which_what = pvn_store_Request_remove_tag;
    put(request.what.remove.path, path, "path");
    must("remove", path, request);
}

bool StoreClient::remove_if_there(std::string const& path)
{
    if (!find(path)) return false;
    remove(path);
    return true;
}

store::Permissions StoreClient::permissions(std::string const& path)
{
    auto request = empty();
    request.which_what = pvn_store_Request_get_permissions_tag;
    put(request.what.get_permissions.path, path, "path");
    auto const reply = must("look at the permissions of", path, request);
    auto permissions = store::from_message(reply.what.permissions);
    if (!permissions) throw Problem{"pvn-stored names a domain that cannot be"};
    return *permissions;
}

void StoreClient::set_permissions(std::string const& path, store::Permissions const& permissions)
{
    auto request = empty();
    request.which_what = pvn_store_Request_set_permissions_tag;
    put(request.what.set_permissions.path, path, "path");
    request.what.set_permissions.has_permissions = true;
    if (permissions.entries.size() > std::size(request.what.set_permissions.permissions.access)) throw Problem{fmt::format("{}: too many domains have permissions of their own", path)};
    request.what.set_permissions.permissions = store::to_message(permissions);
    must("set the permissions of", path, request);
}

void StoreClient::watch(std::string const& path, std::uint32_t depth, std::uint64_t token)
{
    auto request = empty();
    request.which_what = pvn_store_Request_watch_tag;
    put(request.what.watch.path, path, "path");
    request.what.watch.depth = depth;
    request.what.watch.token = token;
    must("watch", path, request);
    watches_.push_back(request);
}

void StoreClient::unwatch(std::string const& path, std::uint64_t token)
{
    auto request = empty();
    request.which_what = pvn_store_Request_unwatch_tag;
    put(request.what.unwatch.path, path, "path");
    request.what.unwatch.token = token;
    must("watch no more", path, request);
    std::erase_if(watches_, [&](auto const& w) { return w.what.watch.token == token && path == w.what.watch.path; });
    std::erase_if(events_, [&](auto const& e) { return e.token == token; });
}

void StoreClient::transact(std::function<void()> const& work)
{
    for (;;) {
        auto request = empty();
        request.which_what = pvn_store_Request_begin_tag;
        transaction_ = must("begin", "a transaction", request).what.transaction;
        request = empty();
        request.which_what = pvn_store_Request_end_tag;
        try {
            work();
            request.what.end.commit = true;
            must("commit", "a transaction", request);
            transaction_ = 0;
            return;
        } catch (std::uint32_t) {
            transaction_ = 0;
        } catch (...) {
            request.what.end.commit = false;
            ask(request);
            transaction_ = 0;
            throw;
        }
        stop_if_interrupted();
    }
}

void StoreClient::introduce(std::uint16_t domain, std::span<std::uint8_t const> uuid, std::uint64_t frame, std::uint32_t port)
{
    auto request = empty();
    request.which_what = pvn_store_Request_introduce_tag;
    auto& what = request.what.introduce;
    what.domain = domain;
    std::copy_n(uuid.begin(), std::min(uuid.size(), sizeof what.uuid), what.uuid);
    what.frame = frame;
    what.port = port;
    must("introduce to the store domain", std::to_string(domain), request);
}

void StoreClient::release(std::uint16_t domain)
{
    auto request = empty();
    request.which_what = pvn_store_Request_release_tag;
    request.what.release.domain = domain;
    (void)ask(request);
}

std::optional<store::Event> StoreClient::wait_for_event(Moment until)
{
    while (events_.empty() && input_.empty()) {
        auto const left = std::chrono::ceil<std::chrono::milliseconds>(until - std::chrono::steady_clock::now()).count();
        pollfd wait{socket_.get(), POLLIN, 0};
        auto const ready = poll(&wait, 1, static_cast<int>(std::clamp<std::int64_t>(left, 0, 1 << 30)));
        stop_if_interrupted();
        if (ready == 0 && left <= 0) return std::nullopt;
        if (ready > 0) break;
    }
    return wait_for_event();
}

store::Event StoreClient::wait_for_event()
{
    while (events_.empty()) {
        auto const message = receive();
        if (!message) {
            connect();
            for (auto const& watch : watches_) (void)send(watch);
        } else if (message->which_what == pvn_store_FromStore_event_tag) {
            events_.push_back({message->what.event.token, message->what.event.path});
        }
    }
    auto event = std::move(events_.front());
    events_.pop_front();
    return event;
}

}  // namespace pvn::tools
