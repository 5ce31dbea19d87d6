// SPDX-License-Identifier: MIT
// The daemon: rings of domains and sockets of programs, one store, one journal.
#pragma once

#include <event2/event.h>

#include <map>
#include <memory>
#include <string>

#include "lib/hypervisor.hpp"
#include "store/journal.hpp"
#include "store/ring.hpp"
#include "store/store.hpp"

namespace pvn::store {

std::string socket_path();
std::string journal_path();

class Server {
public:
    // Does again what the journal says.  Problem.
    explicit Server(tools::File listener);
    ~Server();
    void run();  // until SIGTERM

private:
    struct EventDeleter {
        void operator()(event* e) const { event_free(e); }
        void operator()(event_base* b) const { event_base_free(b); }
    };
    using EventPtr = std::unique_ptr<event, EventDeleter>;

    // Whom one serves.  A turn does a few requests, so that nobody waits for long.
    struct Peer {
        Server& server;
        Connection connection;
        EventPtr readable, again;
        Peer(Server& its_server, Connection number) : server{its_server}, connection{number} {}
        virtual ~Peer() = default;
        virtual void serve() = 0;
        virtual void stop()  // serve() is not called any more
        {
            event_del(readable.get());
            event_del(again.get());
        }
    };
    struct SocketPeer final : Peer {
        tools::File file;
        EventPtr writable;
        std::vector<std::uint8_t> input, output;
        SocketPeer(Server&, Connection, tools::File);
        void serve() override;
        void stop() override
        {
            Peer::stop();
            event_del(writable.get());
        }
        bool flush();  // false: it has gone
    };
    struct RingPeer final : Peer {
        tools::ForeignPages page;
        tools::EventPort port;
        RingEnd ring;
        bool broken = false;
        RingPeer(Server&, Connection, std::uint64_t frame, std::uint32_t its_port);
        ~RingPeer() override;
        void serve() override;
    };

    static void on_event(int, short, void* peer) { static_cast<Peer*>(peer)->serve(); }
    void accept_one();
    pvn_store_FromStore do_request(Connection, pvn_store_Request const&);
    std::uint32_t introduce(pvn_store_Introduce const&);
    std::uint32_t release(Domain);
    void attach(Domain);
    void note(pvn_store_Record const&);
    void compact();
    void serve_others(Connection but);  // who may have events now
    void drop(Connection);              // from within its own serve(): at the end of the turn

    std::unique_ptr<event_base, EventDeleter> base_;
    tools::File listener_;
    Journal journal_;
    Store store_;
    std::map<Domain, pvn_store_Introduce> introduced_;
    std::map<Connection, std::unique_ptr<Peer>> peers_;
    std::vector<std::unique_ptr<Peer>> dropped_;
    Connection next_ = 1 << 16;  // sockets; below: rings
    EventPtr accepts_, stop_;
    bool loading_ = false;
};

}  // namespace pvn::store
