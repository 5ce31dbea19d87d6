// SPDX-License-Identifier: MIT
#include "lib/registry.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>

#include <algorithm>
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

Registry::Registry()
{
    std::error_code error;
    fs::create_directories(run_folder(), error);
    fs::create_directories("/var/log/pvn", error);
    lock_ = File{open((run_folder() + "/lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)};
    if (lock_.get() < 0 || flock(lock_.get(), LOCK_EX) != 0) throw Problem{fmt::format("cannot write to {}: run this command as root", run_folder())};
}

// Explicitly: a console server that was forked meanwhile shares the lock, and closing our descriptor would leave it with that process.
void Registry::unlock()
{
    if (lock_.get() >= 0) flock(lock_.get(), LOCK_UN);
    lock_ = File{};
}
Registry::~Registry() { unlock(); }

std::vector<Record> Registry::read(std::vector<pvn_domain_info> const& running) const
{
    std::vector<Record> records;
    for (auto const& entry : fs::directory_iterator{run_folder()}) {
        if (entry.path().extension() != ".json") continue;
        try {
            auto const json = nlohmann::json::parse(std::ifstream{entry.path()});
            Record record{json.at("name"), json.at("id"), json.at("uuid"), json.at("console_server"), json.at("on_crash"), json.at("config_file")};
            bool const alive = std::ranges::any_of(running, [&](auto const& d) { return d.id == record.id && uuid_text(d.uuid) == record.uuid; });
            if (alive)
                records.push_back(std::move(record));
            else
                forget(record.name);
        } catch (nlohmann::json::exception const&) {
            std::error_code ignored;  // a file that no tool of ours completed
            fs::remove(entry.path(), ignored);
        }
    }
    return records;
}

void Registry::write(Record const& record) const
{
    auto const path = run_folder() + "/" + record.name + ".json";
    {
        std::ofstream file{path + ".new"};
        file << nlohmann::json{{"name", record.name}, {"id", record.id}, {"uuid", record.uuid}, {"console_server", record.console_server},
                               {"on_crash", record.on_crash}, {"config_file", record.config_file}};
        if (!file.flush()) throw Problem{fmt::format("cannot write {}", path)};
    }
    fs::rename(path + ".new", path);
}

void Registry::forget(std::string const& name) const
{
    std::error_code ignored;
    fs::remove(run_folder() + "/" + name + ".json", ignored);
    fs::remove(console_socket(name), ignored);
}

}  // namespace pvn::tools
