// The broker's part in packet-filter rules: ours are loaded, put out of use and kept in force, and
// rules of others hold for what is sent in a program's place.
#include <algorithm>
#include <future>
#include <memory>
#include <system_error>
#include <thread>

#include <unistd.h>

#include "base/signals_blocked.h"
#include "divert/broker/answers.h"
#include "divert/broker/broker.h"
#include "divert/broker/probe.h"
#include "divert/broker/program_socket.h"
#include "divert/process/thread_priority.h"
#include "pfctl/changes.h"

namespace divert {
namespace {

/// On a thread of its own: with tens of thousands of rules of others it takes a while, and legacy
/// iptables waits for whoever changes its tables.
std::future<ForeignRulesWatch::Looked> look_on_a_thread(
    std::function<base::Result<pfctl::Standing>()> look) {
  auto promise = std::make_shared<std::promise<ForeignRulesWatch::Looked>>();
  auto looked = promise->get_future();
  const base::SignalsBlocked inherited_by_the_thread;
  try {
    std::thread{[promise, look = std::move(look)] {
      const auto began = ForeignRulesWatch::Clock::now();
      auto standing = look();
      promise->set_value({std::move(standing), ForeignRulesWatch::Clock::now() - began});
    }}.detach();
  } catch (const std::system_error& error) {
    promise->set_value({base::os_error("cannot start a thread", error.code().value()), {}});
  }
  return looked;
}

}  // namespace

Broker::Message Broker::message_about(const FlowKey& key, const Ruling& ruling,
                                      wire::Answer::Kind kind, std::uint64_t id, const Link& link,
                                      std::uint64_t upstream) {
  const auto* process = ruling.owner.process.get();
  const bool own = process && std::ranges::find(own_pids_, process->id.pid) != own_pids_.end();
  const bool blocked = ruling.verdict.action == Action::block && ruling.verdict.by_host.empty();
  const auto maker =
      own || blocked || setup_.rules.own_mark == 0 ? std::nullopt : maker_of(ruling.owner);
  Message message{answer_about(key, ruling, own_pids_, kind, id, upstream, maker.has_value()), {}};
  if (!maker || upstream != 0 || !link.unsent.takes_descriptor()) return message;
  // Through a proxy it goes by a socket of the worker's; if it does not after all, the worker asks.
  const bool order = kind != wire::Answer::Kind::answer;
  if (order && !setup_.policy.goes_straight(ruling.verdict)) return message;
  auto socket = open_program_socket(*maker, key.source, setup_.rules.own_mark);
  if (socket) {
    message.with = std::move(*socket);
  } else if (const auto line = no_sockets_.about(socket.error())) {
    log(*line);
  }
  return message;
}

/// Loads the rules of the best engine that this machine has, or of the one that was asked for; says
/// which.
base::Result<std::string> Broker::choose_engine() {
  std::string why = "as asked for";
  if (setup_.engine != EngineChoice::redirect) {
    const auto started = start_packet_engine();
    if (started) return "packet: the verdict falls at the first packet" + without_dns();
    engine_.reset();
    if (setup_.engine == EngineChoice::packet)
      return base::failure("--engine packet: {}", started.error().text);
    why = started.error().text;
  }
  if (auto loaded = load(); !loaded) return loaded.error();
  return fmt::format("redirect: connections are sorted at accept; {}", why);
}

/// What the first line says of copies of DNS that are not to be had.
std::string Broker::without_dns() const {
  return dns_tap_error_.empty() ? "" : fmt::format("; DNS is not seen: {}", dns_tap_error_);
}

/// First with nft's own `queue`, then with the xtables target that does the same.
base::Result<> Broker::start_packet_engine() {
  auto engine = PacketEngine::open(queue_count());
  if (!engine) return engine.error();
  engine_ = std::move(*engine);
  stay_in_memory();
  if (auto started = engine_->start(setup_.policy, own_pids_, setup_.mark_bit); !started)
    return started.error();
  const pfctl::Ruleset of_redirect = setup_.rules;
  pfctl::Queueing queueing = engine_->queueing();
  queueing.mark_bit = setup_.mark_bit;
  queueing.quic = setup_.block_quic;
  pfctl::Ruleset of_packet = of_redirect;
  of_packet.ports = setup_.packet_ports;
  // What is not held is redirected, whoever's it is: no more of it than by the redirect engine.
  if (!queueing.ipv6 && !of_packet.capture_gid) of_packet.ports_v6 = of_redirect.ports;
  auto good = pfctl::validated(std::move(of_packet));
  if (!good) return good.error();
  setup_.rules = std::move(*good);
  const auto groups = queueing.dns_groups;
  dns_tap_error_ = engine_->dns_tap_error();
  base::Result<> loaded;
  // The copies of DNS are the first thing that a poorer kernel goes without.
  for (const bool copies : {true, false}) {
    if (copies && groups.empty()) continue;
    queueing.dns_groups = copies ? groups : std::vector<std::uint16_t>();
    for (const bool native : {true, false}) {
      queueing.native = native;
      setup_.rules.queueing = queueing;
      loaded = load();
      if (loaded) return {};
    }
    dns_tap_error_ = loaded.error().text;
  }
  setup_.rules = of_redirect;
  return loaded.error();
}

base::Result<> Broker::load() {
  auto loaded = load(setup_.rules);
  if (!loaded && setup_.rules.cgroup) {
    // A kernel that cannot match cgroups: then the policy sorts CMD's connections out.
    pfctl::Ruleset without = setup_.rules;
    without.cgroup.reset();
    auto second = load(without);
    if (second) {
      setup_.rules = std::move(without);
      loaded = std::move(second);
    }
  }
  if (!loaded) return loaded.error();
  loaded_ = std::move(*loaded);
  for (const auto& note : loaded_->notes()) log(note);
  watch_rules();
  return {};
}

void Broker::watch_rules() {
  auto watch = pfctl::RulesWatch::start(*loaded_);
  if (!watch)
    return log("changes that others make to the packet filter go unnoticed: " + watch.error().text);
  watch_ = std::move(*watch);
}

/// Others have changed the packet filter. That takes other programs, too.
void Broker::look_at_rules() {
  setup_.guard.pause();
  const auto lines = watch_->look();
  setup_.guard.beat();
  for (const auto& line : lines) log(line);
}

/// pf is changed by other programs, which may take longer than the guard's patience.
base::Result<pfctl::LoadedRules> Broker::load(const pfctl::Ruleset& rules) {
  setup_.guard.pause();
  auto loaded =
      pfctl::load_rules(rules, *setup_.target, [this](bool ipv6) { return try_rules(ipv6); });
  setup_.guard.beat();
  return loaded;
}

void Broker::unload() {
  setup_.guard.pause();
  watch_.reset();
  loaded_.reset();
  setup_.guard.beat();
}

base::Result<pfctl::ProbeResult> Broker::try_rules(bool ipv6) {
  const auto to = probe_destination(setup_.rules, ipv6);
  if (!to) return pfctl::ProbeResult::no_route;
  tried_.push_back(*to);
  return try_connection(*to, setup_.rules.capture_gid,
                        [&](std::chrono::milliseconds limit) { return has_arrived(*to, limit); });
}

/// The worker asks about whatever its listeners accept.
bool Broker::has_arrived(const base::Endpoint& to, Clock::duration limit) {
  arrived_.reset();
  for (const auto deadline = Clock::now() + limit; arrived_ != to && Clock::now() < deadline;) {
    for (auto& link : links_) serve(link);
    ::usleep(2'000);
  }
  return arrived_ == to;
}

/// When the kernel refuses the small change the whole table goes: better cut connections than lost
/// ones.
void Broker::stop_diverting() {
  setup_.guard.pause();
  if (loaded_ && !loaded_->stop_diverting()) {
    watch_.reset();
    loaded_.reset();
  }
  setup_.guard.beat();
  if (engine_) engine_->release_all();
}

base::Result<> Broker::divert_again() {
  if (!is_intercepting()) return {};
  if (!loaded_) return load();
  setup_.guard.pause();
  auto diverts = loaded_->divert_again();
  setup_.guard.beat();
  return diverts;
}

/// What stands in the way of the rules from the beginning, for the first line.
std::vector<std::string> Broker::start_watching_others() {
  auto changes = pfctl::Changes::open();
  if (!changes || !loaded_) return {};
  const auto shared = std::make_shared<pfctl::Changes>(std::move(*changes));
  setup_.guard.pause();
  const auto first = loaded_->look();
  setup_.guard.beat();
  const auto look = [this] { return look_on_a_thread(loaded_->look_elsewhere()); };
  if (!first) return {};  // on pf: others are watched by pfctl::RulesWatch
  std::vector<std::string> told = first->conflicts;
  others_.emplace(ForeignRulesWatch::Asks{[shared] { return shared->take(); }, look}, told,
                  Clock::now());
  return told;
}

void Broker::watch_others() {
  if (!others_ || !loaded_ || ending_) return;
  const auto news = others_->tick(Clock::now());
  for (const auto& line : news.lines) log(line);
  if (!news.lost) return;
  unload();
  const auto loaded = load();
  if (!loaded)
    return end({1, fmt::format("osproxy's rules cannot be loaded again: {}", loaded.error().text)});
  log("osproxy's rules are in force again");
}

}  // namespace divert
