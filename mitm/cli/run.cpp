// `osproxy run` and `osproxy exec`: the order in which processes, rights, sockets and rules come
// into being.
#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "divert/broker/broker.h"
#include "divert/worker/listeners.h"
#include "divert/worker/source_ports.h"
#include "mitm/cli/callers_environment.h"
#include "mitm/cli/commands.h"
#include "mitm/cli/config_loader.h"
#include "mitm/cli/descriptors.h"
#include "mitm/cli/error_codes.h"
#include "mitm/cli/log_line.h"
#include "mitm/cli/output_file.h"
#include "mitm/cli/pinning_file.h"
#include "mitm/cli/session_output.h"
#include "mitm/cli/worker_process.h"
#include "mitm/tls/authority.h"
#include "mitm/tls/root_process.h"
#include "mitm/trust/trust.h"
#include "pfctl/conntrack_use.h"
#include "pfctl/loader.h"
#include "pfctl/native_dialect.h"

namespace mitm::cli {
namespace {

using base::Result;

constexpr const char* kWaitFor = "--wait-for starts all the same and waits for it";

std::string root_certificate_path(const Settings& settings) {
  return settings.ca_dir + "/root-ca.pem";
}

bool is_trusted(const std::string& ca_dir, const base::User& user) {
  const auto stores = trust::trust_status(ca_dir + "/root-ca.pem", user);
  return std::ranges::any_of(
      stores, [](const auto& store) { return store.state == trust::StoreStatus::State::trusted; });
}

/// Before a run that would break the TLS of every program that it intercepts: what to do instead.
base::Error untrusted(const std::string& ca_dir) {
  const std::string option = tls::ca_dir_option(ca_dir);
  const std::string install = fmt::format("sudo osproxy ca install{}", option);
  const std::string exec = fmt::format("sudo osproxy exec{} -- COMMAND", option);
  const std::size_t width = std::max(install.size(), exec.size());
  return {fmt::format("no trust store of this machine has osproxy's CA: TLS would fail in every "
                      "program that is intercepted. Choose one:\n"
                      "  {:{}}   trust it on this machine (undo: sudo osproxy ca uninstall{})\n"
                      "  {:{}}   run one command that trusts it; nothing is installed\n"
                      "  {:{}}   start all the same: the programs were given the CA in another way",
                      install, width, option, exec, width, "--allow-untrusted", width),
          kSeveralErrors};
}

/// Refuses a FILTER that names nothing; one of the config file, and what is left out in vain, is
/// only said.
Result<> check_filter(const Invocation& invocation, const Chosen& chosen) {
  const auto items = chosen.filter.items();
  for (const auto& unfound : not_running(chosen.filter, chosen.unfound, other_processes)) {
    const auto& item = items[unfound.item];
    const std::string text = describe(item, unfound);
    if (!invocation.positional.empty() && !item.exclude)
      return base::Error{text + (text.ends_with('?') ? " " : "; ") + kWaitFor, kUsageError};
    log_line((item.exclude ? "the filter leaves out what does not exist: " : "") + text);
  }
  return {};
}

/// What `run` refuses before anything is opened, made or changed. Whether a trust store has the CA.
Result<bool> check_run(const Invocation& invocation, const base::User& user) {
  const auto chosen = read_filter(invocation, user);
  if (!chosen) return chosen.error();
  if (const auto good = check_filter(invocation, *chosen); !good) return good.error();
  const std::string& ca_dir = invocation.typed.ca_dir;
  const bool trusted = is_trusted(ca_dir, user);
  if (!trusted && !chosen->allow_untrusted) return untrusted(ca_dir);
  return trusted;
}

/// After a run without a connection: where we looked, and what to try.
std::string nothing_seen(std::string_view what, const pfctl::Ruleset& rules,
                         std::string_view others) {
  const std::string of = what.empty() ? "" : fmt::format(" of {}", what);
  const std::string where = rules.ports.empty() ? "any TCP port" : pfctl::describe_ports(rules);
  std::vector<std::string_view> more;
  if (!rules.ports.empty()) more.emplace_back("other ports (--ports)");
  if (pfctl::redirects_ipv6_apart(rules))
    more.emplace_back("IPv6 on other ports than those that are redirected");
  if (!rules.loopback) more.emplace_back("connections to this machine itself (--loopback)");
  const std::string passed =
      others.empty() ? ""
                     : fmt::format("; programs that connected and were not selected: {}", others);
  return fmt::format("no connection{} was seen on {}{}{}{}", of, where,
                     more.empty() ? "" : "; not looked at: ", fmt::join(more, ", "), passed);
}

std::string what_is_captured(const divert::Policy& policy, const Invocation& invocation) {
  const std::string& filter = policy.filter.text();
  if (invocation.command == "exec") return invocation.positional.front();
  return filter.empty() ? "every program" : filter;
}

/// Every connection of the machine takes a place in conntrack's table as long as we run. Empty:
/// there is room, and `all` is not asked for.
std::string conntrack_text(bool all) {
  const auto use = pfctl::conntrack_use();
  if (!use || !(all || use->nearly_full())) return {};
  return fmt::format(
      "conntrack {} of {}{}", use->count, use->limit,
      use->nearly_full() ? ", nearly full: raise net.netfilter.nf_conntrack_max" : "");
}

/// `all`: also what is as usual.
std::string first_line(std::string_view what, const pfctl::Ruleset& rules, std::string_view engine,
                       std::vector<std::string> notes, bool all) {
  if (all) notes.insert(notes.begin(), fmt::format("{} engine", engine));
  if (std::string conntrack = conntrack_text(all); !conntrack.empty())
    notes.push_back(std::move(conntrack));
  std::string line = fmt::format("capturing {} on {}", what, pfctl::describe_ports(rules));
  return notes.empty() ? line : fmt::format("{} ({})", line, fmt::join(notes, "; "));
}

/// A run in the making; what has been set up is undone when a later step fails.
class Run {
 public:
  /// `ca_trusted`: a trust store has our CA.
  Run(const Invocation& invocation, Prepared prepared, base::User user, bool ca_trusted,
      CallersEnvironment callers)
      : invocation_(invocation),
        prepared_(std::move(prepared)),
        user_(std::move(user)),
        ca_trusted_(ca_trusted),
        callers_(std::move(callers)),
        descriptors_(raise_descriptor_limit()) {}
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;
  ~Run() {
    if (!is_started_) remove_new_session();
    if (journalled_) divert::undo(journal_);
    if (prepared_.pinning_file) remove_pinning_file(user_);
  }

  Result<int> go() {
    if (const auto left = divert::remove_leftovers(); !left.empty())
      log_line(fmt::format("of an earlier run that was killed: {}", fmt::join(left, ", ")));
    if (auto landed = make_landing(); !landed) return landed.error();
    if (auto made = make_ca(); !made) return made.error();
    if (!prepared_.note.empty()) log_line(prepared_.note);
    auto gid = divert::choose_exempt_group(settings().group);
    if (!gid) return gid.error();
    const pfctl::RedirectTarget& target = *setup_.target;
    auto listeners = divert::bind_listeners(
        settings().worker_threads(), !target.v4().is_unspecified(), !target.v6().is_unspecified(),
        settings().listen_port.value_or(0), {target.v4(), target.v6()});
    if (!listeners) return listeners.error();
    setup_.policy = prepared_.policy;
    setup_.engine = settings().engine;
    setup_.packet_ports = settings().packet_ports();
    setup_.mark_bit = settings().mark;
    setup_.block_quic = settings().block_quic;
    setup_.first_line = [what = what_is_captured(prepared_.policy, invocation_),
                         all = settings().detail > 1](const pfctl::Ruleset& rules,
                                                      std::string_view engine, auto notes) {
      return first_line(what, rules, engine, std::move(notes), all);
    };
    setup_.nothing_seen =
        [what = is_exec() ? invocation_.positional.front() : prepared_.policy.filter.text(),
         is_run = !is_exec()](const pfctl::Ruleset& rules, std::string_view others) {
          return nothing_seen(what, rules, is_run ? others : std::string_view());
        };
    setup_.wait_for_descendants = settings().wait;
    auto rules = ruleset_for(settings(), *gid, listeners->port_v4, listeners->port_v6);
    if (!rules) return rules.error();
    setup_.rules = std::move(*rules);
    setup_.rules.alias_v4 = target.v4();
    setup_.rules.alias_v6 = target.v6();
    exempt_gid_ = *gid;
    if (auto emptied = empty_files(); !emptied) return emptied.error();
    if (auto forked = fork_worker(std::move(*listeners), *gid); !forked) return forked.error();
    if (auto ready = prepare_command(); !ready) return ready.error();
    if (auto guarded = start_guard(); !guarded) return guarded.error();
    setup_.make_intermediate = [directory = settings().ca_dir] {
      return tls::issue_intermediate_in_child(directory);
    };
    setup_.say = [](std::string_view line) { log_line(line); };
    log_without_waiting();
    is_started_ = true;
    const divert::Ending ending = divert::Broker{std::move(setup_)}.run();
    end_session(!ending.error.empty());
    if (!ending.error.empty()) log_line(ending.error);
    flush_log();
    return ending.status;
  }

 private:
  [[nodiscard]] const Settings& settings() const { return prepared_.settings; }
  [[nodiscard]] bool is_exec() const { return invocation_.command == "exec"; }

  /// A run that has failed leaves no session without flows that it has made itself.
  void end_session(bool failed) const {
    const std::string& path = settings().save;
    if (path.empty()) return;
    const bool named = prepared_.session_file == SessionFile::named;
    const bool removed = named || (failed && prepared_.session_file == SessionFile::created);
    const bool kept =
        close_session(path, user_, removed ? EmptySession::removed : EmptySession::kept);
    if (!named) return;
    const std::filesystem::path file{path};
    log_line(kept ? fmt::format("the flows are in {}; to see them: osproxy query {}", path,
                                file.stem().string())
                  : "there were no flows: no session is kept");
  }

  /// Of a start that has failed.
  void remove_new_session() {
    if (prepared_.session_file == SessionFile::continued) return;
    // A worker that is there already has it open.
    if (setup_.worker > 0 && ::kill(setup_.worker, SIGKILL) == 0) {
      while (::waitpid(setup_.worker, nullptr, 0) < 0 && errno == EINTR) {
      }
    }
    static_cast<void>(close_session(settings().save, user_, EmptySession::removed));
  }

  Result<> make_landing() {
    auto target = pfctl::RedirectTarget::prepare(settings().ipv4(), settings().ipv6());
    if (!target) return target.error();
    for (const auto& line : target->cleaned()) log_line("of an earlier run: " + line);
    setup_.target = std::move(*target);
    return {};
  }

  /// Only now: a start that is refused, because another osproxy runs for example, leaves what an
  /// earlier run has recorded.
  Result<> empty_files() {
    auto emptied = empty_output_file(prepared_.output.get(), settings().output, "--output");
    return emptied ? empty_output_file(prepared_.pcap.get(), settings().pcap, "--pcap") : emptied;
  }

  /// The root's key is never in this process, of which worker, guard and CMD are copies.
  Result<> make_ca() {
    const auto root = tls::ensure_root_in_child(settings().ca_dir);
    if (!root) return root.error();
    return {};
  }

  Result<> fork_worker(divert::Listeners listeners, gid_t gid) {
    auto control = divert::MessageSocket::make_pair();
    if (!control) return control.error();
    WorkerPlan plan;
    for (std::size_t i = 0; i < listeners.pairs.size(); ++i) {
      auto link = divert::MessageSocket::make_pair();
      if (!link) return link.error();
      setup_.links.push_back(std::move(link->ours));
      plan.sockets.links.push_back(std::move(link->theirs));
    }
    setup_.control = std::move(control->ours);
    const pid_t pid = ::fork();
    if (pid < 0) return base::os_error("cannot start the worker", errno);
    if (pid == 0) {
      setup_.target->abandon();
      divert::use_source_ports(pfctl::native_source_ports(setup_.rules));
      setup_.links.clear();
      setup_.control = {};
      plan.sockets.listeners = std::move(listeners);
      plan.sockets.control = std::move(control->theirs);
      plan.prepared = std::move(prepared_);
      plan.user = worker_user(user_);
      plan.typed_by_root = user_.uid == 0;
      plan.exempt_gid = gid;
      plan.is_exec = is_exec();
      plan.to_stderr = is_exec();
      plan.ca_trusted = ca_trusted_;
      ::_exit(run_worker(std::move(plan)));
    }
    setup_.worker = pid;
    return {};
  }

  Result<> prepare_command() {
    journal_.broker = divert::process_id_of(::getpid());
    journal_.worker = setup_.worker;
    if (!is_exec()) return {};
    // Those of --upstream-ca as well: of hosts that pass, the command itself verifies the servers.
    auto bundle = trust::write_combined_bundle(settings().ca_dir, root_certificate_path(settings()),
                                               user_, prepared_.upstream_ca);
    if (!bundle) return bundle.error();
    auto cgroup = divert::make_cgroup(::getpid(), exempt_gid_);
    if (!cgroup) return cgroup.error();
    const auto caution =
        divert::caution_on_services(invocation_.positional, pfctl::native_dialect_name());
    if (!caution.empty()) log_line(caution);
    if (!cgroup->why.empty())
      log_line(cgroup->why + "; the command's processes are known by their descent");
    if (!cgroup->name.empty())
      setup_.rules.cgroup = pfctl::CgroupMatch{cgroup->name, cgroup->id, cgroup->level};
    setup_.rules.capture_gid = cgroup->gid;
    journal_.cgroup = cgroup->name;
    setup_.command = divert::Command{
        invocation_.positional, user_,
        trust::trust_variables(*bundle, root_certificate_path(settings()), user_.home), *cgroup,
        // What reads the flows is not to read the command's output between them.
        is_standard_output(settings().output) || is_standard_output(settings().pcap), descriptors_,
        hint_not_found(invocation_, callers_)};
    if (callers_.path) setup_.command->environment.emplace_back("PATH", *callers_.path);
    return {};
  }

  Result<> start_guard() {
    journalled_ = true;
    if (auto written = divert::write_journal(journal_); !written) return written.error();
    auto guard = divert::Guard::start(journal_);
    if (!guard) return guard.error();
    setup_.guard = std::move(*guard);
    journal_.guard = divert::process_id_of(setup_.guard.pid());
    return divert::write_journal(journal_);
  }

  const Invocation& invocation_;
  Prepared prepared_;
  base::User user_;
  bool ca_trusted_;
  CallersEnvironment callers_;
  rlimit descriptors_;  ///< as it was
  divert::BrokerSetup setup_;
  divert::Journal journal_;
  gid_t exempt_gid_ = 0;
  bool journalled_ = false;
  bool is_started_ = false;
};

}  // namespace

Result<pfctl::Ruleset> ruleset_for(const Settings& settings, gid_t exempt_gid,
                                   std::uint16_t port_v4, std::uint16_t port_v6) {
  pfctl::Ruleset rules;
  rules.ports = settings.redirect_ports();
  rules.excluded = settings.exclude;
  rules.ipv4 = settings.ipv4() && port_v4 != 0;
  rules.ipv6 = settings.ipv6() && port_v6 != 0;
  rules.exempt_gid = exempt_gid;
  rules.listener_v4 = port_v4;
  rules.listener_v6 = port_v6;
  rules.loopback = settings.loopback;
  rules.block_quic = settings.block_quic;
  return pfctl::validated(std::move(rules));
}

Result<int> run_command(const Invocation& invocation) {
  if (const auto root = need_root(invocation, "to load packet-filter rules"); !root)
    return root.error();
  const auto user = divert::invoking_user();
  if (!user) return user.error();
  bool ca_trusted =
      true;  // what exec starts is given the CA; a program that ignores it there has its own
  if (invocation.command == "run") {
    const auto checked = check_run(invocation, *user);
    if (!checked) return checked.error();
    ca_trusted = *checked;
  }
  // Read where the user's rights are in force: by the reader of the settings, by the worker.
  CallersEnvironment callers = restore_callers_environment(invocation);
  auto prepared = prepare(invocation, *user);
  if (!prepared) return prepared.error();
  return Run{invocation, std::move(*prepared), *user, ca_trusted, std::move(callers)}.go();
}

}  // namespace mitm::cli
