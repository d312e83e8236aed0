#include "divert/broker/answers.h"

#include <algorithm>

namespace divert {
namespace {

/// The arguments of a program whose connections pass without being shown do not concern the worker.
std::shared_ptr<const procmap::ProcessFacts> without_arguments(
    const std::shared_ptr<const procmap::ProcessFacts>& process) {
  if (!process || process->argv.empty()) return process;
  auto facts = std::make_shared<procmap::ProcessFacts>(*process);
  facts->argv.clear();
  return facts;
}

}  // namespace

wire::ConnectionFacts facts_of(const FlowKey& key, const Ruling& ruling,
                               const std::vector<pid_t>& own, bool as_program) {
  wire::ConnectionFacts facts;
  facts.source = key.source;
  facts.destination = key.destination;
  facts.process =
      passes_unseen(ruling) ? without_arguments(ruling.owner.process) : ruling.owner.process;
  facts.own = facts.process && std::ranges::find(own, facts.process->id.pid) != own.end();
  facts.as_program = as_program;
  facts.verdict = ruling.verdict;
  return facts;
}

wire::DnsCopy copy_of(const DnsDatagram& datagram) {
  wire::DnsCopy copy;
  copy.connection.source = datagram.key.source;
  copy.connection.destination = datagram.key.destination;
  copy.connection.process = datagram.ruling.owner.process;
  copy.connection.verdict = datagram.ruling.verdict;
  copy.from_server = datagram.from_server;
  copy.payload = datagram.payload;
  copy.came = datagram.came;
  return copy;
}

}  // namespace divert
