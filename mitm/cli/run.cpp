// `osproxy run` and `osproxy exec`: the order in which processes, rights, sockets and rules come into being.
#include <cerrno>
#include <cstdio>

#include <unistd.h>

#include "base/text.h"
#include "divert/broker.h"
#include "divert/listeners.h"
#include "divert/source_ports.h"
#include "mitm/cli/commands.h"
#include "mitm/cli/descriptors.h"
#include "mitm/cli/reader.h"
#include "mitm/cli/say.h"
#include "mitm/cli/worker_process.h"
#include "mitm/tls/authority.h"
#include "mitm/tls/root_process.h"
#include "mitm/tls/trust.h"
#include "pfctl/conntrack_use.h"
#include "pfctl/loader.h"
#include "pfctl/native_dialect.h"

namespace mitm::cli {
namespace {

using base::Result;

/// Nothing may have been left open by whoever started us: what is inherited must not reach CMD or the worker.
void close_inherited() {
  base::close_from(3);
}

divert::User worker_user(const divert::User& typed_by) {
  if (typed_by.uid != 0) return typed_by;
  const auto nobody = divert::user_named("nobody");
  return nobody ? *nobody : divert::User{65534, 65534, "nobody", "/", ""};
}

std::string root_certificate_path(const RunSettings& settings) {
  return settings.ca_dir + "/root-ca.pem";
}

tls::StoreUser store_user(const divert::User& user) {
  return {user.uid, user.gid, user.name, user.home};
}

/// A command that was mistyped is a FILTER like any other word.
void warn_when_mistyped(const Invocation& invocation) {
  if (invocation.command != "run" || invocation.positional.empty()) return;
  const std::string& word = invocation.positional.front();
  const std::string near = word.size() < 4 ? std::string() : command_like(word);
  if (near.empty()) return;
  say(fmt::format("'{}' is taken for a FILTER{}", base::printable(word), near));
}

/// `run` intercepts programs that have to trust us: says how when nothing on this machine does. Returns
/// whether something does.
bool warn_when_untrusted(const RunSettings& settings, const divert::User& user) {
  for (const auto& store : tls::trust_status(root_certificate_path(settings), store_user(user))) {
    if (store.state == tls::StoreStatus::State::trusted) return true;
  }
  const std::string option = tls::ca_dir_option(settings.ca_dir);
  const std::string install = fmt::format("sudo osproxy ca install{}", option);
  const std::string exec = fmt::format("sudo osproxy exec{} -- COMMAND", option);
  say("no program trusts osproxy's CA yet, so TLS will fail in intercepted programs; ways on:");
  say(fmt::format("  {:{}}   trust it on this machine (undo: sudo osproxy ca uninstall{})", install,
                  exec.size(), option));
  say(fmt::format("  {}   run one command that trusts it, install nothing", exec));
  return false;
}

divert::EngineChoice engine_choice(const std::string& name) {
  if (name == "packet") return divert::EngineChoice::packet;
  return name == "redirect" ? divert::EngineChoice::redirect : divert::EngineChoice::best;
}

/// For whoever waited in vain: where we looked, and what to try.
std::string nothing_seen(std::string_view what, const pfctl::Ruleset& rules) {
  const std::string of = what.empty() ? "" : fmt::format(" of {}", what);
  const std::string where = rules.ports.empty() ? "any TCP port" : pfctl::describe_ports(rules);
  std::vector<std::string_view> more;
  if (!rules.ports.empty()) more.emplace_back("other ports (--ports)");
  if (pfctl::redirects_ipv6_apart(rules))
    more.emplace_back("IPv6 on other ports than those that are redirected");
  if (!rules.loopback) more.emplace_back("connections to this machine itself (--loopback)");
  return fmt::format("no connection{} was seen on {}{}{}", of, where,
                     more.empty() ? "" : "; not looked at: ", fmt::join(more, ", "));
}

std::string what_is_captured(const RunSettings& settings, const Invocation& invocation) {
  const std::string& filter = settings.policy.filter.text();
  if (invocation.command == "exec") return invocation.positional.front();
  return filter.empty() ? "every program" : filter;
}

/// Every connection of the machine takes a place in conntrack's table as long as we run.
std::string conntrack_text() {
  const auto use = pfctl::conntrack_use();
  if (!use) return {};
  return fmt::format("; conntrack {} of {}{}", use->count, use->limit,
                     use->nearly_full() ? ", nearly full: raise net.netfilter.nf_conntrack_max" : "");
}

/// A run in the making; what has been set up is undone when a later step fails.
class Run {
 public:
  Run(const Invocation& invocation, Prepared prepared, divert::User user)
      : invocation_(invocation),
        prepared_(std::move(prepared)),
        user_(std::move(user)),
        descriptors_(raise_descriptor_limit()) {}
  Run(const Run&) = delete;
  Run& operator=(const Run&) = delete;
  ~Run() {
    if (journalled_) divert::undo(journal_);
  }

  Result<int> go() {
    if (const auto left = divert::remove_leftovers(); !left.empty())
      say(fmt::format("of an earlier run that was killed: {}", fmt::join(left, ", ")));
    if (auto landed = make_landing(); !landed) return landed.error();
    if (auto made = make_ca(); !made) return made.error();
    warn_when_mistyped(invocation_);
    // What exec starts is given the CA; who does not look at it there has its own.
    ca_trusted_ = is_exec() || warn_when_untrusted(settings(), user_);
    auto gid = divert::choose_exempt_group(settings().group);
    if (!gid) return gid.error();
    const pfctl::Landing& landing = *setup_.landing;
    auto listeners = divert::bind_listeners(static_cast<unsigned>(settings().threads),
                                            !landing.v4().is_unspecified(), !landing.v6().is_unspecified(),
                                            settings().listen_port, {landing.v4(), landing.v6()});
    if (!listeners) return listeners.error();
    setup_.policy = settings().policy;
    setup_.engine = engine_choice(settings().engine);
    setup_.packet_ports = settings().packet_ports();
    setup_.mark_bit = settings().mark_bit;
    setup_.block_quic = settings().block_quic;
    setup_.first_line = [what = what_is_captured(settings(), invocation_)](const pfctl::Ruleset& rules,
                                                                           std::string_view engine) {
      return fmt::format("capturing {} on {} (engine {}{})", what, pfctl::describe_ports(rules), engine,
                         conntrack_text());
    };
    setup_.nothing_seen = [what = is_exec() ? invocation_.positional.front()
                                            : settings().policy.filter.text()](const pfctl::Ruleset& rules) {
      return nothing_seen(what, rules);
    };
    setup_.wait_for_descendants = settings().wait;
    auto rules = ruleset_for(settings(), *gid, listeners->port_v4, listeners->port_v6);
    if (!rules) return rules.error();
    setup_.rules = std::move(*rules);
    setup_.rules.alias_v4 = landing.v4();
    setup_.rules.alias_v6 = landing.v6();
    exempt_gid_ = *gid;
    if (auto forked = fork_worker(std::move(*listeners), *gid); !forked) return forked.error();
    if (auto ready = prepare_command(); !ready) return ready.error();
    if (auto guarded = start_guard(); !guarded) return guarded.error();
    setup_.make_intermediate = [directory = settings().ca_dir] {
      return tls::issue_intermediate_in_child(directory);
    };
    setup_.say = say;
    say_without_waiting();
    const divert::Ending ending = divert::Broker{std::move(setup_)}.run();
    if (!ending.error.empty()) say(ending.error);
    finish_saying();
    return ending.status;
  }

 private:
  [[nodiscard]] const RunSettings& settings() const { return prepared_.settings; }
  [[nodiscard]] bool is_exec() const { return invocation_.command == "exec"; }

  Result<> make_landing() {
    auto landing = pfctl::Landing::prepare(settings().ipv4, settings().ipv6);
    if (!landing) return landing.error();
    for (const auto& line : landing->cleaned()) say("of an earlier run: " + line);
    setup_.landing = std::move(*landing);
    return {};
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
      setup_.landing->abandon();
      divert::use_source_ports(pfctl::native_source_ports(setup_.rules));
      setup_.links.clear();
      setup_.control = {};
      plan.sockets.listeners = std::move(listeners);
      plan.sockets.control = std::move(control->theirs);
      plan.prepared = std::move(prepared_);
      plan.user = worker_user(user_);
      plan.exempt_gid = gid;
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
    auto bundle =
        tls::write_combined_bundle(settings().ca_dir, root_certificate_path(settings()), store_user(user_));
    if (!bundle) return bundle.error();
    auto cgroup = divert::make_cgroup(::getpid(), exempt_gid_);
    if (!cgroup) return cgroup.error();
    const auto caution = divert::caution_on_services(invocation_.positional, pfctl::native_dialect_name());
    if (!caution.empty()) say(caution);
    if (!cgroup->why.empty()) say(cgroup->why + "; the command's processes are told by their descent");
    if (!cgroup->name.empty())
      setup_.rules.cgroup = pfctl::CgroupMatch{cgroup->name, cgroup->id, cgroup->level};
    setup_.rules.capture_gid = cgroup->gid;
    journal_.cgroup = cgroup->name;
    setup_.command = divert::Command{
        invocation_.positional, user_,
        tls::trust_variables(*bundle, root_certificate_path(settings()), user_.home), *cgroup, descriptors_};
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
  divert::User user_;
  rlimit descriptors_;  ///< as it was
  divert::BrokerSetup setup_;
  divert::Journal journal_;
  gid_t exempt_gid_ = 0;
  bool journalled_ = false;
  bool ca_trusted_ = false;
};

}  // namespace

Result<pfctl::Ruleset> ruleset_for(const RunSettings& settings, gid_t exempt_gid, std::uint16_t port_v4,
                                   std::uint16_t port_v6) {
  pfctl::Ruleset rules;
  rules.ports = settings.redirect_ports();
  rules.excluded = settings.excluded;
  rules.ipv4 = settings.ipv4 && port_v4 != 0;
  rules.ipv6 = settings.ipv6 && port_v6 != 0;
  rules.exempt_gid = exempt_gid;
  rules.listener_v4 = port_v4;
  rules.listener_v6 = port_v6;
  rules.loopback = settings.loopback;
  rules.block_quic = settings.block_quic;
  return pfctl::validated(std::move(rules));
}

Result<int> run_command(const Invocation& invocation) {
  if (const auto root = need_root(invocation, "to load packet-filter rules"); !root) return root.error();
  close_inherited();
  const auto user = divert::invoking_user();
  if (!user) return user.error();
  auto prepared = prepare(invocation, *user);
  if (!prepared) return prepared.error();
  return Run{invocation, std::move(*prepared), *user}.go();
}

}  // namespace mitm::cli
