// What the broker does so that rules of others hold for what is sent in a program's place, and ours stay in
// force.
#include <algorithm>
#include <future>
#include <memory>
#include <system_error>
#include <thread>

#include "base/signals_blocked.h"
#include "divert/answers.h"
#include "divert/broker.h"
#include "divert/program_socket.h"
#include "pfctl/changes.h"

namespace divert {
namespace {

/// On a thread of its own: with tens of thousands of rules of others it takes a while, and legacy iptables
/// waits for whoever changes its tables.
std::future<OthersWatch::Looked> look_on_a_thread(std::function<base::Result<pfctl::Standing>()> look) {
  auto promise = std::make_shared<std::promise<OthersWatch::Looked>>();
  auto looked = promise->get_future();
  const base::SignalsBlocked inherited_by_the_thread;
  try {
    std::thread{[promise, look = std::move(look)] {
      const auto began = OthersWatch::Clock::now();
      auto standing = look();
      promise->set_value({std::move(standing), OthersWatch::Clock::now() - began});
    }}.detach();
  } catch (const std::system_error& error) {
    promise->set_value({base::os_error("cannot start a thread", error.code().value()), {}});
  }
  return looked;
}

}  // namespace

Broker::Message Broker::message_about(const FlowKey& key, const Ruling& ruling, wire::Answer::Kind kind,
                                      std::uint64_t id, const Link& link, std::uint64_t upstream) {
  const auto* process = ruling.owner.process.get();
  const bool own = process && std::ranges::find(own_pids_, process->id.pid) != own_pids_.end();
  const bool blocked = ruling.verdict.action == Action::block && ruling.verdict.by_host.empty();
  const auto maker = own || blocked || setup_.rules.own_mark == 0 ? std::nullopt : maker_of(ruling.owner);
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
  others_.emplace(OthersWatch::Asks{[shared] { return shared->take(); }, look}, told, Clock::now());
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
