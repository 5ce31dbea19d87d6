// SPDX-License-Identifier: MIT
// pvn: the life of domains, from dom0's command line.  man/pvn.1
#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include "lib/file.hpp"
#include "lib/sched_simulate.hpp"
#include "pvn/commands.hpp"

namespace pvn::tools {
namespace {

constexpr auto examples = R"(Examples:
  pvn create -c web.toml           make the domain that web.toml describes, and attach its console
  pvn list                         what runs, and why what does not run has ended
  pvn console web                  what web has said, and a keyboard for it; Ctrl-] leaves
  pvn shutdown --wait 30 web       ask it to switch off; exit code 3 if it has not after 30 s
  pvn sched web --weight 512       twice the usual share of the CPU
  pvn vcpu pin web all 2-3         let web run on CPUs 2 and 3 only
  pvn top                          who uses the machine, every second; q leaves
  pvn list --json | jq '.[].name'  for scripts

Exit codes: 0 done, 1 failed (one line on standard error says why), 2 wrong usage, 3 timed out.
A domain's description is explained in pvn.toml(5), the rest in pvn(1).)";

// One line, as for any other failure.
std::string failure_line(CLI::App const* app, CLI::Error const& error)
{
    auto const* deepest = app;
    std::string command = "pvn";
    while (!deepest->get_subcommands().empty()) {
        deepest = deepest->get_subcommands().front();
        command += " " + deepest->get_name();
    }
    std::string what = error.what();
    std::ranges::replace(what, '\n', ' ');
    return fmt::format("pvn: {}; see `{} --help`\n", what, command);
}

class Commands {
public:
    int run(int argc, char** argv)
    {
        app_.require_subcommand(1);
        app_.footer(examples);
        app_.set_version_flag("--version", "pvn (Paravane) " PARAVANE_VERSION);
        app_.failure_message(failure_line);
        add_life();
        add_views();
        add_processors();
        add_pools();
        add_observers();
        add_disks();
        add_vifs();
        add_store();
        try {
            app_.parse(argc, argv);
        } catch (CLI::ParseError const& error) {
            return app_.exit(error) == 0 ? done : misused;
        }
        return result_;
    }

private:
    CLI::App* add(char const* name, char const* what, std::function<int()> run)
    {
        auto* const sub = app_.add_subcommand(name, what);
        sub->callback([this, run = std::move(run)] { result_ = run(); });
        return sub;
    }
    CLI::App* add_named(char const* name, char const* what, std::function<int()> run)
    {
        auto* const sub = add(name, what, std::move(run));
        sub->add_option("domain", name_, "name or id")->required();
        return sub;
    }
    CLI::App* with_json(CLI::App* sub)
    {
        sub->add_flag("--json", json_, "print JSON");
        return sub;
    }

    void add_life()
    {
        auto* const create_command = with_json(add("create", "makes a domain from a TOML file and starts it", [this] {
            create_.json = json_;
            create_.wait = std::chrono::seconds{seconds_};
            return create(create_);
        }));
        create_command->add_option("file", create_.file, "the domain's description, see pvn.toml(5)")->required();
        create_command->add_flag("-c,--console", create_.attach, "attach its console; Ctrl-] leaves");
        create_command->add_flag("-p,--paused", create_.paused, "do not start it yet; `pvn unpause` does");
        create_command->add_flag("-n,--dry-run", create_.dry_run, "check the description, the kernel and the ramdisk, and make nothing");
        create_command->add_option("-w,--wait", seconds_, "for its devices, at most so many seconds; exit code 3 if one is not connected then, and the domain runs")
            ->default_val(30)
            ->check(CLI::Range(0, 1'000'000));
        create_command->footer("Example: pvn create -c web.toml\nStopped by Ctrl-C, it leaves nothing behind.");
        add_named("console", "attaches to a domain's console; Ctrl-] leaves", [this] { return show_console(name_); })
            ->footer("Shows first what was printed before.  Everything is kept in /var/log/pvn/NAME.console.log.");
        add_named("pause", "stops a domain until it is unpaused", [this] { return pause(name_); });
        add_named("unpause", "lets a paused domain run", [this] { return unpause(name_); });
        add_power("shutdown", "asks a domain to switch itself off", Power::off);
        add_power("reboot", "asks a domain to reboot", Power::reboot);
        add_named("destroy", "ends a domain at once and gives everything back", [this] { return destroy(name_); });
    }

    void add_power(char const* name, char const* what, Power power)
    {
        auto* const sub = add_named(name, what, [this, power] {
            return request_power(name_, power, wait_->count() != 0 || reboot_wait_->count() != 0 ? std::optional{std::chrono::seconds{seconds_}} : std::nullopt);
        });
        auto*& option = power == Power::off ? wait_ : reboot_wait_;
        option = sub->add_option("-w,--wait", seconds_, "wait for it, at most so many seconds (60); exit code 3 if it takes longer")
                     ->expected(0, 1)
                     ->default_str("60")
                     ->check(CLI::Range(1, 1'000'000));
        sub->footer(fmt::format("Example: pvn {} web --wait 30\nWithout --wait it is done when the guest has been told.", name));
    }

    void add_views()
    {
        with_json(add("list", "lists the domains", [this] { return list(json_); }));
        auto* const info_command = with_json(add("info", "about the machine, or one domain and the registers with which it ended", [this] { return info(name_, json_); }));
        info_command->add_option("domain", name_, "name or id; without it: the machine");
        sched_command_ = with_json(add("sched", "shows or sets how a domain shares the CPU (borrowed virtual time)", [this] { return change_scheduling(); }));
        auto* const sched_command = sched_command_;
        add_simulation(*sched_command);
        sched_command->add_option("domain", name_, "name or id; without it: all");
        weight_ = sched_command->add_option("-w,--weight", new_weight_, "share of the CPU: 1 to 65535, 256 is usual")->check(CLI::Range(1, 65535));
        warp_ = sched_command->add_option("--warp", new_warp_, "virtual time that it may borrow to run sooner, such as 5ms; 0: none");
        warp_limit_ = sched_command->add_option("--warp-limit", new_warp_limit_, "time that it may run on borrowed time; 0: no limit");
        unwarp_ = sched_command->add_option("--unwarp", new_unwarp_, "time that must then pass before it may borrow again");
        sched_command->footer("Examples: pvn sched\n          pvn sched web --weight 512 --warp 5ms --warp-limit 20ms --unwarp 100ms");
        with_json(add("dmesg", "prints the hypervisor's log", [this] { return dmesg(json_); }));
        auto* const traps_command = with_json(add_named("traps", "instructions of a guest that still trap, and how often", [this] { return show_traps(name_, kernel_, json_); }));
        traps_command->add_option("-k,--kernel", kernel_, "its kernel with symbols; without it the one that it was made of");
        auto* const debug_command = app_.add_subcommand("debug", "looks into the hypervisor");
        debug_command->require_subcommand(1);
        auto* const audit_command = debug_command->add_subcommand("audit", "checks the frame table against all page tables");
        with_json(audit_command)->callback([this] { result_ = audit(json_); });
    }

    void add_processors()
    {
        auto* const vcpu_command = app_.add_subcommand("vcpu", "shows where vCPUs run, and says where they may");
        vcpu_command->require_subcommand(1);
        auto* const list_command = with_json(vcpu_command->add_subcommand("list", "shows each vCPU's state, CPU, time and affinity"));
        list_command->add_option("domain", name_, "name or id; without it: all");
        list_command->callback([this] { result_ = list_vcpus(name_, json_); });
        list_command->footer("HARD: where it may run.  SOFT: where it runs if there is room.\nExample: pvn vcpu list web");
        auto* const set_command = vcpu_command->add_subcommand("set", "asks a running domain to have more or fewer vCPUs online");
        set_command->add_option("domain", name_, "name or id")->required();
        set_command->add_option("number", times_, "of vCPUs, at most its max_vcpus")->required();
        set_command->callback([this] { result_ = set_vcpus(name_, times_); });
        set_command->footer("The guest follows when it likes; `pvn vcpu list` shows which are offline.\nExample: pvn vcpu set web 4");
        auto* const pin_command = vcpu_command->add_subcommand("pin", "says on which CPUs a vCPU may run");
        pin_command->add_option("domain", name_, "name or id")->required();
        pin_command->add_option("vcpu", vcpu_, "its number, or all")->required();
        pin_command->add_option("cpus", cpus_, "such as 0-3,6 or all")->required();
        soft_ = pin_command->add_option("--soft", soft_cpus_, "of these, where it had better run; as it was if this is not said");
        pin_command->callback([this] { result_ = pin_vcpu(name_, vcpu_, cpus_, soft_->count() != 0 ? std::optional{soft_cpus_} : std::nullopt); });
        pin_command->footer("Examples: pvn vcpu pin web 0 2          vCPU 0 on CPU 2 only\n"
                            "          pvn vcpu pin web all 0-3 --soft 2-3\n          pvn vcpu pin web all all --soft all");

        auto* const host_command = app_.add_subcommand("host", "shows and changes which CPUs of the machine are used");
        host_command->require_subcommand(1);
        auto* const cpu_command = host_command->add_subcommand("cpu", "the machine's CPUs");
        cpu_command->require_subcommand(1);
        with_json(cpu_command->add_subcommand("list", "shows what each CPU does"))->callback([this] { result_ = list_cpus(json_); });
        for (bool const online : {true, false}) {
            auto* const state_command = cpu_command->add_subcommand(online ? "online" : "offline", online ? "lets a CPU run vCPUs again" : "lets a CPU run no vCPUs any more");
            state_command->add_option("cpu", cpu_, "its number")->required()->check(CLI::Range(0, 65535));
            state_command->callback([this, online] { result_ = set_cpu(cpu_, online); });
            state_command->footer(online ? "Example: pvn host cpu online 3" : "Its vCPUs go elsewhere; `pvn host cpu list` shows 0 HOMES when they have.\nExample: pvn host cpu offline 3");
        }
        with_json(host_command->add_subcommand("locks", "how often the hypervisor took each of its locks, and waited"))->callback([this] { result_ = show_locks(json_); });
        host_command->footer("Examples: pvn host cpu list\n          pvn host cpu offline 3\n          pvn host locks");
    }

    void add_pools()
    {
        auto* const pool_command = app_.add_subcommand("pool", "divides the CPUs into pools, each with domains and a scheduler of its own");
        pool_command->require_subcommand(1);
        with_json(pool_command->add_subcommand("list", "shows each pool's scheduler, domains and CPUs"))->callback([this] { result_ = list_pools(json_); });
        auto* const create_command = pool_command->add_subcommand("create", "makes a pool and prints its number");
        create_command->add_option("-s,--sched", scheduler_, "bvt, rr or null; bvt if it is not said");
        create_command->add_option("-c,--cpus", cpus_, "takes these there, such as 2-3");
        create_command->callback([this] { result_ = create_pool(scheduler_, cpus_); });
        create_command->footer("Example: pvn pool create --sched rr --cpus 2-3");
        auto* const destroy_command = pool_command->add_subcommand("destroy", "removes a pool without CPUs and domains");
        destroy_command->add_option("pool", pool_, "its number")->required();
        destroy_command->callback([this] { result_ = destroy_pool(pool_); });
        auto* const add_command = pool_command->add_subcommand("add", "takes CPUs to a pool, from those in which they are");
        add_command->add_option("pool", pool_, "its number")->required();
        add_command->add_option("cpus", cpus_, "such as 0-3,6 or all")->required();
        add_command->callback([this] { result_ = add_to_pool(pool_, cpus_); });
        add_command->footer("The vCPUs that run there stay in their pool.\nExample: pvn pool add 1 2-3");
        auto* const move_command = pool_command->add_subcommand("move", "takes a domain to a pool");
        move_command->add_option("domain", name_, "name or id")->required();
        move_command->add_option("pool", pool_, "its number")->required();
        move_command->callback([this] { result_ = move_to_pool(name_, pool_); });
        move_command->footer("Example: pvn pool move web 1");
        pool_command->footer("Pool 0 is always there, and has a CPU always.  `pool = N` in a domain's description has it start there.\n"
                             "Examples: pvn pool create --sched null --cpus 3\n          pvn pool move web 1");
    }

    void add_observers()
    {
        auto* const top_command = with_json(add("top", "shows who uses the machine, again and again", [this] {
            if (batch_->count() != 0 || json_) top_.batch = batch_->count() != 0 ? times_ : 1;
            top_.json = json_;
            return top(top_);
        }));
        batch_ = top_command->add_option("-b,--batch", times_, "print it so many times, without a number until Ctrl-C, and not on the whole screen")->expected(0, 1)->default_str("0");
        top_command->add_option("-i,--interval", top_.interval, "from one look to the next, such as 500ms; 1s if it is not said");
        top_command->footer("CPU% is of one CPU; STEAL%: it wanted to run and had none.  q leaves.  --json alone means --batch 1.\n"
                            "Examples: pvn top\n          pvn top --batch 10 --interval 500ms\n          pvn top --json | jq '.domains[] | [.name, .cpu_share]'");
        auto* const trace_command = with_json(add("trace", "writes down what each CPU does, for Perfetto to show", [this] {
            if (trace_seconds_->count() != 0) trace_.seconds = new_trace_seconds_;
            trace_.json = json_;
            return trace(trace_);
        }));
        trace_command->add_option("-o,--output", trace_.file, "the file; trace.json if it is not said, -: standard output");
        trace_seconds_ = trace_command->add_option("-s,--seconds", new_trace_seconds_, "how long; without it until Ctrl-C")->check(CLI::Range(0.001, 1e6));
        trace_command->add_option("-e,--events", trace_.events, "of enter, leave, hypercall, switch, wake, flush, move, window; all if it is not said");
        trace_command->footer("Open the file at https://ui.perfetto.dev or chrome://tracing.\n"
                              "Examples: pvn trace --seconds 2 -o web.json\n          pvn trace --events switch,wake,move");
        auto* const lint_command = with_json(add("lint", "lists instructions of a kernel that do not do in ring 1 what they do in ring 0", [this] { return lint_kernel(name_, all_, json_); }));
        lint_command->add_option("kernel", name_, "ELF file or bzImage, best one with symbols")->required();
        lint_command->add_flag("-a,--all", all_, "those too that are emulated");
        lint_command->footer("silent: does something else, and nobody is told; refused: #GP or #UD; emulated: works, by a trap.\n"
                             "Code of the kernel that never runs under Paravane is listed as well.  Needs no hypervisor.\n"
                             "Examples: pvn lint vmlinux\n          pvn lint --json vmlinux | jq -r '.instructions[] | select(.verdict == \"silent\") | .place'");
    }

    void add_disks()
    {
        auto* const block_command = app_.add_subcommand("block", "shows the disks of domains, adds and removes them");
        block_command->require_subcommand(1);
        auto* const list_command = with_json(block_command->add_subcommand("list", "shows each disk, what is behind it, and its state"));
        list_command->add_option("domain", name_, "name or id; without it: all");
        list_command->callback([this] { result_ = list_disks(name_, json_); });
        auto const with_domain = [this, block_command](char const* name, char const* what) {
            auto* const sub = block_command->add_subcommand(name, what);
            sub->add_option("domain", name_, "name or id")->required();
            return sub;
        };
        auto* const attach_command = with_domain("attach", "gives a running domain one more disk, and prints its name");
        attach_command->add_option("target", disk_.target, "a file with an image, or a block device")->required();
        attach_command->add_flag("-r,--read-only", disk_.read_only, "the domain cannot write to it");
        attach_command->add_option("-s,--sector-size", disk_.sector_size, "of an image: 512 or 4096")->check(CLI::IsMember({512, 4096}));
        attach_command->add_option("--format", disk_.format, "of an image: raw or qcow2; raw if it is not said")->check(CLI::IsMember({"raw", "qcow2"}));
        attach_command->add_option("-w,--wait", seconds_, "for the guest, at most so many seconds; exit code 3 if it takes longer")->default_val(30)->check(CLI::Range(0, 1'000'000));
        attach_command->callback([this] { result_ = attach_disk(name_, disk_, std::chrono::seconds{seconds_}); });
        attach_command->footer("It is there again after a reboot.\nExample: pvn block attach web /srv/more.img");
        auto* const detach_command = with_domain("detach", "takes a disk away");
        detach_command->add_option("disk", disk_name_, "such as pvdb, or its number")->required();
        detach_command->add_flag("-f,--force", force_, "even if the guest uses it: what it writes then is lost");
        detach_command->callback([this] { result_ = detach_disk(name_, disk_name_, force_); });
        detach_command->footer("Example: pvn block detach web pvdb");
        auto* const resize_command = with_domain("resize", "tells the guest that the file or device behind a disk has another size");
        resize_command->add_option("disk", disk_name_, "such as pvdb, or its number")->required();
        resize_command->callback([this] { result_ = resize_disk(name_, disk_name_); });
        resize_command->footer("Example: truncate -s 20G /srv/web.img && pvn block resize web pvda");
        block_command->footer("Examples: pvn block list\n          pvn block attach web /srv/more.img\n          pvn block detach web pvdb");
    }

    void add_vifs()
    {
        auto* const network_command = app_.add_subcommand("network", "shows the network cards of domains, adds and removes them");
        network_command->require_subcommand(1);
        auto* const list_command = with_json(network_command->add_subcommand("list", "shows each card, dom0's interface for it, and its state"));
        list_command->add_option("domain", name_, "name or id; without it: all");
        list_command->callback([this] { result_ = list_vifs(name_, json_); });
        auto const with_domain = [this, network_command](char const* name, char const* what) {
            auto* const sub = network_command->add_subcommand(name, what);
            sub->add_option("domain", name_, "name or id")->required();
            return sub;
        };
        auto* const attach_command = with_domain("attach", "gives a running domain one more card, and prints its number");
        attach_command->add_option("-b,--bridge", vif_.bridge, "of dom0's, in which its interface is to be");
        attach_command->add_option("-a,--address", vif_.address, "for dom0's interface, such as 10.1.0.1/24: dom0 is then the router");
        attach_command->add_option("-m,--mac", vif_.mac, "of the card; the usual one for the domain's name if it is not said");
        attach_command->add_option("--mtu", vif_.mtu, "1500 if it is not said")->check(CLI::Range(68, 65535));
        attach_command->add_option("-r,--rate", rate_, "that the domain may send at, such as 100Mb/s");
        attach_command->add_flag("!--no-offload", vif_.offload, "each side divides packets and makes sums itself");
        attach_command->add_option("-w,--wait", seconds_, "for the guest, at most so many seconds; exit code 3 if it takes longer")->default_val(30)->check(CLI::Range(0, 1'000'000));
        attach_command->callback([this] {
            if (!vif_.mac.empty()) vif_.mac = parse_mac(vif_.mac);
            if (!vif_.address.empty()) vif_.address = parse_address(vif_.address);
            if (!rate_.empty()) vif_.rate = parse_rate(rate_);
            result_ = attach_vif(name_, vif_, std::chrono::seconds{seconds_});
        });
        attach_command->footer("It is there again after a reboot.\nExample: pvn network attach web --bridge br0");
        auto* const detach_command = with_domain("detach", "takes a card away");
        detach_command->add_option("card", card_, "its number")->required();
        detach_command->add_flag("-f,--force", force_, "even if the guest does not answer");
        detach_command->callback([this] { result_ = detach_vif(name_, card_, force_); });
        detach_command->footer("Example: pvn network detach web 1");
        network_command->footer("Examples: pvn network list\n          pvn network attach web --address 10.1.0.1/24\n          pvn network detach web 1");
    }

    void add_store()
    {
        auto* const store_command = app_.add_subcommand("store", "looks into the store by which domains find their devices, and changes it");
        store_command->require_subcommand(1);
        auto const with_path = [this, store_command](char const* name, char const* what) {
            auto* const sub = store_command->add_subcommand(name, what);
            sub->add_option("path", path_, "such as /local/domain/3; relative ones begin at dom0's")->required();
            return sub;
        };
        auto* const list_command = with_json(store_command->add_subcommand("ls", "shows what is below a node"));
        list_command->add_option("path", path_, "the root, if it is not said");
        list_command->add_flag("-r,--recursive", deep_, "and all below that");
        list_command->add_flag("-p,--permissions", permissions_, "with owners and permissions");
        list_command->callback([this] { result_ = store_list(path_.empty() ? "/" : path_, deep_, permissions_, json_); });
        with_json(with_path("read", "prints a value"))->callback([this] { result_ = store_read(path_, json_); });
        auto* const write_command = with_path("write", "writes a value; makes the node, and those on the way, if need be");
        write_command->add_option("value", value_, "at most 512 bytes")->required();
        write_command->callback([this] { result_ = store_write(path_, value_); });
        with_path("rm", "removes a node and all below it")->callback([this] { result_ = store_remove(path_); });
        auto* const watch_command = with_json(with_path("watch", "prints what changes, until Ctrl-C"));
        watch_command->add_option("-d,--depth", depth_, "how far below the node; 16 if it is not said")->check(CLI::Range(0, 16));
        auto* const count = watch_command->add_option("-c,--count", times_, "stop after so many")->check(CLI::PositiveNumber);
        watch_command->callback([this, count] { result_ = store_watch(path_, depth_, count->count() != 0 ? std::optional{times_} : std::nullopt, json_); });
        watch_command->footer("The first line says that it watches.\nExample: pvn store watch /local/domain/3 --depth 2");
        auto* const chmod_command = with_path("chmod", "says who may read and write a node, or shows it");
        chmod_command->add_option("rights", rights_, "owner=DOMAIN, others=RIGHTS, DOMAIN=RIGHTS; RIGHTS: r, w, rw or none");
        chmod_command->callback([this] { result_ = store_chmod(path_, rights_); });
        chmod_command->footer("What is not named: the owner stays, domains lose rights of their own.\nExample: pvn store chmod /tool/web others=r 3=rw");
        store_command->footer("Bytes that are no printable ASCII are shown as \\xNN.\n"
                              "Examples: pvn store ls -r /local/domain\n          pvn store write /tool/web/state ready");
    }

    int change_scheduling()
    {
        if (!sched_command_->get_subcommands().empty()) return done;  // it has done its work
        SchedulingChange change;
        if (weight_->count() != 0) change.weight = new_weight_;
        if (warp_->count() != 0) change.warp = new_warp_;
        if (warp_limit_->count() != 0) change.warp_limit = new_warp_limit_;
        if (unwarp_->count() != 0) change.unwarp = new_unwarp_;
        return sched(name_, change, json_);
    }

    CLI::App app_{"pvn makes, shows and ends the domains of a machine that runs under Paravane.", "pvn"};
    CreateOptions create_;
    TopOptions top_;
    TraceOptions trace_;
    std::string name_;
    bool json_ = false;
    int seconds_ = 60, result_ = done;
    CLI::App* sched_command_ = nullptr;
    CLI::Option *wait_ = nullptr, *reboot_wait_ = nullptr;
    CLI::Option *weight_ = nullptr, *warp_ = nullptr, *warp_limit_ = nullptr, *unwarp_ = nullptr;
    std::uint32_t new_weight_ = 0;
    CLI::Option *soft_ = nullptr, *batch_ = nullptr, *trace_seconds_ = nullptr;
    std::string vcpu_, cpus_, soft_cpus_, path_, value_;
    std::vector<std::string> rights_;
    std::string kernel_;
    bool deep_ = false, permissions_ = false;
    std::uint32_t depth_ = 16;
    DiskConfig disk_;
    std::string disk_name_, card_, rate_;
    VifConfig vif_;
    bool force_ = false, all_ = false;
    std::string scheduler_ = "bvt";
    std::uint32_t cpu_ = 0, times_ = 0, pool_ = 0;
    double new_trace_seconds_ = 0;
    std::string new_warp_, new_warp_limit_, new_unwarp_;
};

}  // namespace
}  // namespace pvn::tools

int main(int argc, char** argv)
{
    try {
        return pvn::tools::Commands{}.run(argc, argv);
    } catch (std::exception const& problem) {
        fmt::print(stderr, "pvn: {}\n", problem.what());
        return pvn::tools::failed;
    }
}
