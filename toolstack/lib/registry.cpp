// SPDX-License-Identifier: MIT
#include "lib/registry.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/file.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>

namespace pvn::tools {

namespace fs = std::filesystem;

std::string run_folder() { return "/run/pvn"; }
std::string console_socket(std::string const& name) { return run_folder() + "/" + name + ".console"; }
std::string console_log(std::string const& name) { return "/var/log/pvn/" + name + ".console.log"; }

std::string uuid_text(std::uint8_t const (&uuid)[16])
{
    std::string text;
    for (int i = 0; i < 16; ++i) text += fmt::format("{}{:02x}", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", uuid[i]);
    return text;
}

namespace {

volatile sig_atomic_t interrupted = 0;

std::string record_file(std::string const& name) { return run_folder() + "/" + name + ".json"; }

Record record_from(nlohmann::json const& json)
{
    Record r;
    r.id = json.at("id");
    r.uuid = json.at("uuid");
    r.building = json.at("building");
    r.keeper = {json.at("keeper").at("pid"), json.at("keeper").at("started")};
    r.console_frame = json.at("console").at("frame");
    r.console_port = json.at("console").at("port");
    r.config = config_from(json.at("config"));
    return r;
}

}  // namespace

void note_interruptions()
{
    struct sigaction action{};  // no SA_RESTART: what waits is to stop waiting
    action.sa_handler = [](int) { interrupted = 1; };
    for (auto const signal : {SIGINT, SIGTERM, SIGHUP}) sigaction(signal, &action, nullptr);
}
void forget_interruptions()
{
    for (auto const number : {SIGINT, SIGTERM, SIGHUP}) signal(number, SIG_DFL);
}
bool is_interrupted() { return interrupted != 0; }
void stop_if_interrupted()
{
    if (is_interrupted()) throw Problem{"interrupted; nothing was left behind"};
}

void make_folders()
{
    std::error_code error;
    fs::create_directories(run_folder(), error);
    fs::create_directories("/var/log/pvn", error);
}

Registry::Registry()
{
    make_folders();
    lock_ = File{open((run_folder() + "/lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)};
    if (lock_.get() < 0) throw Problem{fmt::format("cannot write to {}: run this command as root", run_folder())};
    while (flock(lock_.get(), LOCK_EX) != 0) {
        stop_if_interrupted();
        if (errno != EINTR) throw Problem{fmt::format("cannot lock {}/lock: {}", run_folder(), std::strerror(errno))};
    }
    stop_if_interrupted();
}

// Explicitly: a keeper that was forked meanwhile shares the lock, and closing our descriptor would leave it with that process.
void Registry::unlock()
{
    if (lock_.get() >= 0) flock(lock_.get(), LOCK_UN);
    lock_ = File{};
}
void Registry::drop() { lock_ = File{}; }
Registry::~Registry() { unlock(); }

std::vector<Record> Registry::read() const
{
    std::vector<Record> records;
    std::error_code ignored;
    for (auto const& entry : fs::directory_iterator{run_folder()}) {
        auto const extension = entry.path().extension();
        if (extension == ".new") fs::remove(entry.path(), ignored);  // who wrote it came to no end
        if (extension != ".json") continue;
        try {
            auto record = record_from(nlohmann::json::parse(std::ifstream{entry.path()}));
            if (record.config.name != entry.path().stem()) throw Problem{"it is about another domain"};
            records.push_back(std::move(record));
        } catch (std::exception const& problem) {
            fmt::print(stderr, "pvn: removed {}, which no pvn has written: {}\n", entry.path().string(), problem.what());
            fs::remove(entry.path(), ignored);
        }
    }
    return records;
}

std::string Registry::text(Record const& r)
{
    nlohmann::json const json{{"id", r.id},
                              {"uuid", r.uuid},
                              {"building", r.building},
                              {"keeper", {{"pid", r.keeper.id}, {"started", r.keeper.started}}},
                              {"console", {{"frame", r.console_frame}, {"port", r.console_port}}},
                              {"config", to_json(r.config)}};
    return json.dump(2) + "\n";
}

Record Registry::parse(std::string_view text) { return record_from(nlohmann::json::parse(text)); }

void Registry::write(Record const& r) const
{
    auto const path = record_file(r.config.name);
    {
        std::ofstream file{path + ".new"};
        file << text(r);
        if (!file.flush()) throw Problem{fmt::format("cannot write {}: {}", path, std::strerror(errno))};
    }
    fs::rename(path + ".new", path);
}

void Registry::forget(std::string const& name) const
{
    std::error_code ignored;
    fs::remove(record_file(name), ignored);
    fs::remove(record_file(name) + ".new", ignored);
    fs::remove(console_socket(name), ignored);
}

}  // namespace pvn::tools
