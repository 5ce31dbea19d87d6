// SPDX-License-Identifier: MIT
#include "lib/keeper.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <deque>
#include <nlohmann/json.hpp>
#include <optional>
#include <vector>

#include "lib/console.hpp"
#include "lib/domain_builder.hpp"
#include "lib/vifs.hpp"

namespace pvn::tools {
namespace {

// A domain that ends so soon after its start, so often in a row, will not do better the next time.
constexpr std::chrono::seconds short_life{10};
constexpr int most_short_lives = 5;

File listen_on(std::string const& path)
{
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path) throw Problem{"the domain's name is too long for its console's socket"};
    std::strcpy(address.sun_path, path.c_str());
    unlink(path.c_str());
    File listener{socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)};
    if (listener.get() < 0 || bind(listener.get(), reinterpret_cast<sockaddr const*>(&address), sizeof address) != 0 || listen(listener.get(), 8) != 0)
        throw Problem{fmt::format("cannot listen on {}: {}", path, std::strerror(errno))};
    return listener;
}

// SIGTERM ends a keeper where it waits: for events (ppoll) and for the registry.
class LetTermIn {
public:
    LetTermIn() { change(SIG_UNBLOCK); }
    ~LetTermIn() { change(SIG_BLOCK); }
    static void change(int how)
    {
        sigset_t term;
        sigemptyset(&term);
        sigaddset(&term, SIGTERM);
        sigprocmask(how, &term, nullptr);
    }
};

struct LockedRegistry : LetTermIn, Registry {};

class Keeper {
public:
    explicit Keeper(Record record)
        : record_{std::move(record)}, listener_{listen_on(console_socket(record_.config.name))}, log_{console_log(record_.config.name)}
    {
        attach_ring();
    }
    void run();

private:
    void attach_ring()
    {
        ring_.emplace(record_.id, record_.console_frame, record_.console_port);
        store_.emplace();
        store_->watch(cards(), 2, 0);
    }
    std::string cards() const { return fmt::format("/local/domain/0/backend/net/{}", record_.id); }
    void look_at_cards();
    void show(std::string const& text);
    void say(std::string const& line) { show(fmt::format("\r\n[pvn] {}\r\n", line)); }
    void exchange();
    void wait();
    void serve_clients(std::vector<pollfd> const&);
    std::optional<pvn_domain_info> look() const;
    void look_for_the_end();
    OnEnd wish(pvn_domain_info const&) const;
    bool ends_too_soon();
    void destroy(Registry const&);
    void restart();

    Record record_;
    Hypervisor hypervisor_;
    DomainChanges changes_;
    File listener_;
    ConsoleLog log_;
    std::optional<ConsoleRing> ring_;
    std::optional<StoreClient> store_;  // tells when dom0's driver of a card was replaced
    std::vector<File> clients_;
    std::deque<char> input_;
    std::string recent_;       // shown to a new client
    bool preserved_ = false;   // it has ended, and stays
    bool done_ = false;
    std::chrono::steady_clock::time_point started_ = std::chrono::steady_clock::now();
    int short_lives_ = 0;
};

// A client that does not read loses output, it does not stop the guest.
void Keeper::show(std::string const& text)
{
    constexpr std::size_t replay = 16384;
    log_.append(text);
    recent_ += text;
    if (recent_.size() > replay) recent_.erase(0, recent_.size() - replay);
    for (auto const& client : clients_) (void)!send(client.get(), text.data(), text.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
}

void Keeper::exchange()
{
    if (!ring_) return;
    ring_->clear();
    if (auto const output = ring_->take_output(); !output.empty()) show(output);
    ring_->give_input(input_);
}

void Keeper::serve_clients(std::vector<pollfd> const& waits)
{
    for (auto i = clients_.size(); i-- > 0;) {
        if ((waits[i].revents & (POLLIN | POLLHUP | POLLERR)) == 0) continue;
        std::array<char, 1024> bytes;
        auto const count = recv(clients_[i].get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
        if (count > 0)
            input_.insert(input_.end(), bytes.begin(), bytes.begin() + count);
        else
            clients_.erase(clients_.begin() + static_cast<std::ptrdiff_t>(i));
    }
    if (File client{accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC)}; client.get() >= 0) {
        (void)!send(client.get(), recent_.data(), recent_.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
        clients_.push_back(std::move(client));
    }
}

void Keeper::look_at_cards()
{
    try {
        // Each look at the store may bring further events, of which the socket would not tell any more.
        while (store_ && store_->wait_for_event(Moment{})) {
            while (store_->wait_for_event(Moment{})) {}
            for (auto const number : numbers_of_devices(*store_, "net", record_.id)) set_up_interface(*store_, record_.id, number);
        }
    } catch (Problem const& problem) {
        if (is_interrupted()) return;
        say(problem.what());
        if (!store_runs()) store_.reset();
    }
}

void Keeper::wait()
{
    constexpr std::size_t most_input = 65536;
    std::vector<pollfd> waits;
    for (auto const& client : clients_) waits.push_back({client.get(), static_cast<short>(input_.size() < most_input ? POLLIN : 0), 0});
    waits.push_back({listener_.get(), POLLIN, 0});
    waits.push_back({changes_.descriptor(), POLLIN, 0});
    if (ring_) waits.push_back({ring_->descriptor(), POLLIN, 0});
    if (store_) waits.push_back({store_->descriptor(), POLLIN, 0});
    // SIGTERM is let in only here, so that none is missed between the look at the flag and the wait.
    sigset_t nothing;
    sigemptyset(&nothing);
    if (ppoll(waits.data(), waits.size(), nullptr, &nothing) > 0) serve_clients(waits);
}

std::optional<pvn_domain_info> Keeper::look() const
{
    auto info = hypervisor_.domain(record_.id);
    if (info && uuid_text(info->uuid) != record_.uuid) info.reset();
    return info;
}

OnEnd Keeper::wish(pvn_domain_info const& info) const
{
    switch (info.reason) {
    case PVN_SHUTDOWN_POWER_OFF: return record_.config.on_poweroff;
    case PVN_SHUTDOWN_REBOOT: return record_.config.on_reboot;
    case PVN_SHUTDOWN_SUSPEND: return OnEnd::preserve;
    default: return record_.config.on_crash;
    }
}

bool Keeper::ends_too_soon()
{
    short_lives_ = std::chrono::steady_clock::now() - started_ < short_life ? short_lives_ + 1 : 0;
    return short_lives_ > most_short_lives;
}

void Keeper::destroy(Registry const& registry)
{
    ring_.reset();  // it refers to the domain's memory
    destroy_domain(hypervisor_, record_.id);
    registry.forget(record_.config.name);
    done_ = true;
}

// The new domain has the old one's name, description and scheduling; its id and uuid are new.
void Keeper::restart()
{
    Images const images{record_.config};  // before the old one is gone
    pvn_sched_parameters scheduling{};
    hypervisor_.must("read the domain's scheduling", PVN_DOMAIN_GET_SCHED, record_.id, &scheduling);
    LockedRegistry const registry;
    if (!look()) return;  // destroyed meanwhile
    // Its description may have changed while it ran.
    for (auto const& record : registry.read())
        if (record.uuid == record_.uuid) record_.config = record.config;
    ring_.reset();
    destroy_domain(hypervisor_, record_.id);
    done_ = true;
    try {
        auto const uuid = new_uuid();
        std::uint8_t raw[16];
        std::ranges::copy(uuid, raw);
        record_.uuid = uuid_text(raw);
        record_.building = true;
        registry.write(record_);
        NewDomain domain{hypervisor_, record_.config, images, uuid};
        record_.id = domain.id();
        record_.console_frame = domain.console_frame();
        record_.console_port = domain.console_port();
        try {
            attach_ring();
            hypervisor_.must("set the domain's scheduling", PVN_DOMAIN_SET_SCHED, record_.id, &scheduling);
            say(fmt::format("{} starts again, as domain {}", record_.config.name, record_.id));
            hypervisor_.must("start the domain", PVN_DOMAIN_UNPAUSE, record_.id);
            record_.building = false;
            registry.write(record_);
        } catch (...) {
            ring_.reset();
            throw;
        }
        domain.keep();
        done_ = false;
        started_ = std::chrono::steady_clock::now();
    } catch (std::exception const&) {
        registry.forget(record_.config.name);
        throw;
    }
}

void Keeper::look_for_the_end()
{
    changes_.clear();
    auto const info = look();
    if (!info || (info->flags & PVN_DOMAIN_DYING) != 0) {
        // Destroyed from elsewhere.
        done_ = !info;
        ring_.reset();
        return;
    }
    if (preserved_ || (info->flags & PVN_DOMAIN_SHUT_DOWN) == 0) return;
    exchange();  // its last output
    auto action = wish(*info);
    if (ends_too_soon() && action == OnEnd::restart) {
        say(fmt::format("{} {}; not restarted: it ended {} times in a row within {} s of its start", record_.config.name, end_text(*info), short_lives_,
                        short_life.count()));
        action = OnEnd::preserve;
    } else {
        say(fmt::format("{} {}: {}", record_.config.name, end_text(*info), text_of(action)));
    }
    try {
        if (action == OnEnd::preserve) {
            preserved_ = true;
        } else if (action == OnEnd::restart) {
            restart();
        } else {
            LockedRegistry const registry;
            if (look()) destroy(registry);
        }
    } catch (std::exception const& problem) {
        preserved_ = true;
        if (!is_interrupted()) say(fmt::format("cannot {} {}: {}", text_of(action), record_.config.name, problem.what()));
    }
}

void Keeper::run()
{
    while (!is_interrupted() && !done_) {
        exchange();
        look_at_cards();
        look_for_the_end();
        if (!is_interrupted() && !done_) wait();
    }
}

// --- the child ------------------------------------------------------------------------------------------------------------

[[noreturn]] void live_as_keeper(File channel)
{
    prctl(PR_SET_NAME, "pvn-keeper");
    setsid();
    (void)!chdir("/");
    note_interruptions();
    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);
    LetTermIn::change(SIG_BLOCK);
    File const null{open("/dev/null", O_RDWR | O_CLOEXEC)};
    for (int descriptor = 0; descriptor < 3; ++descriptor) dup2(null.get(), descriptor);
    try {
        // The parent sends the domain's record, or ends: then there is nothing to keep.
        std::vector<char> message(65536);
        auto const size = recv(channel.get(), message.data(), message.size(), 0);
        if (size <= 0) _exit(0);
        std::optional<Keeper> keeper;
        try {
            keeper.emplace(Registry::parse({message.data(), static_cast<std::size_t>(size)}));
        } catch (std::exception const& problem) {
            (void)!send(channel.get(), problem.what(), std::strlen(problem.what()), MSG_NOSIGNAL);
            _exit(1);
        }
        (void)!send(channel.get(), "ready", 5, MSG_NOSIGNAL);
        channel = File{};
        keeper->run();
    } catch (std::exception const&) {
        _exit(1);  // pvn's next command finds the domain without a keeper, and starts another
    }
    _exit(0);
}

}  // namespace

std::string end_text(pvn_domain_info const& info)
{
    switch (info.reason) {
    case PVN_SHUTDOWN_POWER_OFF: return "powered off";
    case PVN_SHUTDOWN_REBOOT: return "rebooted";
    case PVN_SHUTDOWN_SUSPEND: return "suspended";
    default: {
        std::string_view const words{info.last_words, strnlen(info.last_words, sizeof info.last_words)};
        return words.empty() ? "crashed" : fmt::format("crashed: {}", words);
    }
    }
}

NewKeeper::NewKeeper(Registry* held)
{
    std::array<int, 2> ends{};
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) throw Problem{fmt::format("cannot make a socket: {}", std::strerror(errno))};
    File ours{ends[0]}, theirs{ends[1]};
    auto const child = fork();
    if (child < 0) throw Problem{fmt::format("cannot start the domain's keeper: {}", std::strerror(errno))};
    if (child == 0) {
        ours = File{};
        if (held != nullptr) held->drop();
        live_as_keeper(std::move(theirs));
    }
    channel_ = std::move(ours);
    process_ = process_of(child);
}

NewKeeper::~NewKeeper()
{
    channel_ = File{};
    if (kept_) return;
    end_process(process_);
    reap(process_.id);
}

void NewKeeper::take_over(Record const& record)
{
    auto const text = Registry::text(record);
    std::array<char, 512> answer;
    ssize_t size = send(channel_.get(), text.data(), text.size(), MSG_NOSIGNAL);
    while (size > 0 && (size = recv(channel_.get(), answer.data(), answer.size(), 0)) < 0 && errno == EINTR) {
        stop_if_interrupted();
        size = 1;
    }
    if (size <= 0) throw Problem{"the domain's keeper ended unexpectedly; `pvn dmesg` may say more"};
    std::string_view const words{answer.data(), static_cast<std::size_t>(size)};
    if (words != "ready") throw Problem{std::string{words}};
}

}  // namespace pvn::tools
