// pf is changed by other programs, and tables of tens of thousands of rules are slow to list:
// around all of that the guard expects no heartbeat.
#include "divert/broker/rule_loader.h"

#include <algorithm>
#include <future>
#include <memory>
#include <system_error>
#include <thread>

#include <unistd.h>

#include "base/signals_blocked.h"
#include "divert/broker/probe.h"
#include "divert/process/thread_priority.h"
#include "pfctl/changes.h"

namespace divert {
namespace {

using namespace std::chrono_literals;

/// On a thread of its own: with tens of thousands of rules of others it takes a while, and legacy
/// iptables waits for programs that change its tables.
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

RuleLoader::RuleLoader(RuleLoaderSetup setup, const Policy& policy, RuleLoaderHooks hooks)
    : setup_(std::move(setup)),
      policy_(policy),
      hooks_(std::move(hooks)),
      rules_(setup_.rules),
      target_(std::move(setup_.target)) {}

base::Result<StartedEngine> RuleLoader::start() {
  StartedEngine redirect{"redirect", {}};
  if (setup_.engine != EngineChoice::redirect) {
    const auto started = start_packet_engine();
    if (started) return StartedEngine{"packet", without_dns()};
    engine_.reset();
    if (setup_.engine == EngineChoice::packet) return started.error();
    redirect.notes.push_back("redirect engine: " + started.error().text);
  }
  if (auto loaded = load(); !loaded) return loaded.error();
  return redirect;
}

std::vector<std::string> RuleLoader::without_dns() const {
  if (dns_tap_error_.empty()) return {};
  return {fmt::format("DNS is not seen: {}", dns_tap_error_)};
}

base::Result<> RuleLoader::start_packet_engine() {
  auto engine = PacketEngine::open(setup_.queues);
  if (!engine) return engine.error();
  engine_ = std::move(*engine);
  pfctl::Queueing queueing = engine_->queueing();
  if (setup_.mark_bit != 0) queueing.mark_bit = setup_.mark_bit;
  queueing.quic = setup_.block_quic;
  stay_in_memory();
  if (auto started = engine_->start(policy_, setup_.own_pids, queueing.mark_bit); !started)
    return started.error();
  pfctl::Ruleset held = setup_.rules;
  held.ports = setup_.packet_ports;
  // What is not held is redirected, whichever program's it is: no more of it than by the redirect
  // engine.
  if (!queueing.ipv6 && !held.capture_gid) held.ports_v6 = setup_.rules.ports;
  auto good = pfctl::validated(std::move(held));
  if (!good) return good.error();
  rules_ = std::move(*good);
  const auto groups = setup_.copy_dns ? queueing.dns_groups : std::vector<std::uint16_t>();
  dns_tap_error_ = engine_->dns_tap_error();
  auto loaded = load_held(std::move(queueing), groups);
  if (!loaded) rules_ = setup_.rules;
  return loaded;
}

/// First with nft's own `queue`, then with the xtables target that does the same. The copies of DNS
/// are the first thing that a poorer kernel goes without.
base::Result<> RuleLoader::load_held(pfctl::Queueing queueing,
                                     const std::vector<std::uint16_t>& groups) {
  base::Result<> loaded;
  for (const bool copies : {true, false}) {
    if (copies && groups.empty()) continue;
    queueing.dns_groups = copies ? groups : std::vector<std::uint16_t>();
    for (const bool native : {true, false}) {
      queueing.native = native;
      rules_.queueing = queueing;
      loaded = load();
      if (loaded) return {};
    }
    dns_tap_error_ = loaded.error().text;
  }
  return loaded;
}

base::Result<> RuleLoader::load() {
  auto loaded = load(rules_);
  if (!loaded && rules_.cgroup) {
    // A kernel that cannot match cgroups: then the policy sorts CMD's connections out.
    pfctl::Ruleset without = rules_;
    without.cgroup.reset();
    auto second = load(without);
    if (second) {
      rules_ = std::move(without);
      loaded = std::move(second);
    }
  }
  if (!loaded) return loaded.error();
  loaded_ = std::move(*loaded);
  for (const auto& note : loaded_->notes()) hooks_.log(note);
  if (setup_.watch) start_watch();
  return {};
}

base::Result<pfctl::LoadedRules> RuleLoader::load(const pfctl::Ruleset& rules) {
  pfctl::Probe probes;
  if (hooks_.serve) probes = [this](bool ipv6) { return probe(ipv6); };
  hooks_.pause();
  auto loaded = pfctl::load_rules(rules, *target_, probes);
  hooks_.resume();
  return loaded;
}

void RuleLoader::start_watch() {
  auto watch = pfctl::RulesWatch::start(*loaded_);
  if (!watch)
    return hooks_.log("changes that others make to the packet filter go unnoticed: " +
                      watch.error().text);
  watch_ = std::move(*watch);
}

void RuleLoader::look_at_changes() {
  hooks_.pause();
  const auto lines = watch_->look();
  hooks_.resume();
  for (const auto& line : lines) hooks_.log(line);
}

void RuleLoader::unload() {
  hooks_.pause();
  watch_.reset();
  loaded_.reset();
  hooks_.resume();
}

void RuleLoader::close() {
  hooks_.pause();
  watch_.reset();
  loaded_.reset();
  engine_.reset();
  target_.reset();
}

base::Result<pfctl::ProbeResult> RuleLoader::probe(bool ipv6) {
  const auto to = probe_destination(rules_, ipv6);
  if (!to) return pfctl::ProbeResult::no_route;
  tried_.push_back(*to);
  return try_connection(*to, rules_.capture_gid,
                        [&](std::chrono::milliseconds limit) { return has_arrived(*to, limit); });
}

/// The worker asks about all that its listeners accept.
bool RuleLoader::has_arrived(const base::Endpoint& to, Clock::duration limit) {
  arrived_.reset();
  for (const auto deadline = Clock::now() + limit; arrived_ != to && Clock::now() < deadline;) {
    hooks_.serve();
    std::this_thread::sleep_for(2ms);
  }
  return arrived_ == to;
}

bool RuleLoader::is_probe(const base::Endpoint& destination) {
  if (std::ranges::find(tried_, destination) == tried_.end()) return false;
  arrived_ = destination;
  return true;
}

ListeningAt RuleLoader::listening() const {
  return {target_->v4(), target_->v6(), rules_.listener_v4, rules_.listener_v6};
}

void RuleLoader::stop_diverting() {
  hooks_.pause();
  if (loaded_ && !loaded_->stop_diverting()) {
    watch_.reset();
    loaded_.reset();
  }
  hooks_.resume();
  if (engine_) engine_->release_all();
}

base::Result<> RuleLoader::divert_again() {
  if (!is_open()) return {};
  if (!loaded_) return load();
  hooks_.pause();
  auto diverts = loaded_->divert_again();
  hooks_.resume();
  return diverts;
}

std::vector<std::string> RuleLoader::watch_others() {
  auto changes = pfctl::Changes::open();
  if (!changes || !loaded_) return {};
  const auto shared = std::make_shared<pfctl::Changes>(std::move(*changes));
  hooks_.pause();
  const auto first = loaded_->look();
  hooks_.resume();
  if (!first) return {};  // on pf: others are watched by pfctl::RulesWatch
  const auto look = [this] { return look_on_a_thread(loaded_->look_elsewhere()); };
  std::vector<std::string> told = first->conflicts;
  others_.emplace(ForeignRulesWatch::Asks{[shared] { return shared->take(); }, look}, told,
                  Clock::now());
  return told;
}

base::Result<> RuleLoader::check_others() {
  if (!others_ || !loaded_) return {};
  const auto news = others_->tick(Clock::now());
  for (const auto& line : news.lines) hooks_.log(line);
  if (!news.lost) return {};
  unload();
  if (const auto loaded = load(); !loaded)
    return base::failure("osproxy's rules cannot be loaded again: {}", loaded.error().text);
  hooks_.log("osproxy's rules are in force again");
  return {};
}

}  // namespace divert
