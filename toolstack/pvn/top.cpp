// SPDX-License-Identifier: MIT
// `pvn top`: who uses the machine, now and again.
#define NCURSES_NOMACROS
#include <curses.h>
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>

#include "lib/registry.hpp"
#include "lib/top.hpp"
#include "pvn/commands.hpp"

namespace pvn::tools {
namespace {

using Clock = std::chrono::steady_clock;

int milliseconds_until(Clock::time_point when)
{
    auto const left = std::chrono::ceil<std::chrono::milliseconds>(when - Clock::now()).count();
    return static_cast<int>(std::clamp<std::int64_t>(left, 0, 1 << 30));
}

// The terminal is put back whatever ends it.
class Screen {
public:
    Screen()
    {
        auto const* const type = std::getenv("TERM");
        screen_.reset(newterm(nullptr, stdout, stdin));
        if (!screen_)
            throw Problem{fmt::format("nothing is known here of the terminal `{}`; set TERM to another one, or use `pvn top --batch`", type != nullptr ? type : "")};
        cbreak();
        noecho();
        nonl();
        curs_set(0);
        keypad(stdscr, true);
    }
    Screen(Screen const&) = delete;
    Screen& operator=(Screen const&) = delete;
    ~Screen() { endwin(); }

    void show(Activity const& a) const
    {
        werase(stdscr);
        int row = 0;
        for (auto const& line : top_lines(a)) {
            if (row >= getmaxy(stdscr)) break;
            using enum TopLine::Kind;
            auto const look = line.kind == heading ? A_REVERSE : line.kind == domain ? A_BOLD : A_NORMAL;
            wattr_on(stdscr, look, nullptr);
            mvwaddnstr(stdscr, row++, 0, line.text.c_str(), getmaxx(stdscr));
            wattr_off(stdscr, look, nullptr);
        }
        wrefresh(stdscr);
    }
    // A key that was pressed before that, or ERR.
    int key(Clock::time_point until) const
    {
        wtimeout(stdscr, milliseconds_until(until));
        return wgetch(stdscr);
    }

private:
    struct End {
        void operator()(SCREEN* screen) const { delscreen(screen); }
    };
    std::unique_ptr<SCREEN, End> screen_;
};

int live(Sampler& sampler, std::chrono::nanoseconds interval)
{
    auto before = sampler.take();
    auto shown = activity({}, before);  // at first since the machine started
    Screen const screen;
    for (auto next = Clock::now();;) {
        screen.show(shown);
        next = std::max(next + interval, Clock::now());
        for (;;) {
            auto const key = screen.key(next);
            if (key == 'q' || key == 'Q' || is_interrupted()) return done;
            if (key == KEY_RESIZE) screen.show(shown);
            if (Clock::now() >= next) break;
        }
        auto now = sampler.take();
        shown = activity(before, now);
        before = std::move(now);
    }
}

}  // namespace

int top(TopOptions const& options)
{
    auto const interval = std::chrono::nanoseconds{parse_duration(options.interval)};
    if (interval < std::chrono::milliseconds{10} || interval > std::chrono::hours{1}) throw Problem{"the interval must be from 10ms to 3600s"};
    Hypervisor const hypervisor;
    note_interruptions();
    Sampler sampler{hypervisor};
    if (!options.batch) {
        if (isatty(0) == 0 || isatty(1) == 0) throw Problem{"the live display needs a terminal; use `pvn top --batch`"};
        return live(sampler, interval);
    }
    auto before = sampler.take();
    auto next = Clock::now();
    for (std::uint32_t shown = 0; *options.batch == 0 || shown < *options.batch; ++shown) {
        next += interval;
        while (!is_interrupted() && Clock::now() < next) poll(nullptr, 0, milliseconds_until(next));
        if (is_interrupted()) return done;
        auto now = sampler.take();
        auto const a = activity(before, now);
        if (options.json)
            print_json(json_of(a));
        else
            for (auto const& line : top_lines(a)) fmt::print("{}{}\n", line.kind == TopLine::Kind::heading ? "\n" : "", line.text);
        if (!options.json && shown + 1 != *options.batch) fmt::print("\n");
        std::fflush(stdout);
        before = std::move(now);
    }
    return done;
}

}  // namespace pvn::tools
