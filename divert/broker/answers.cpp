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

std::string answer_about(const FlowKey& key, const Ruling& ruling, const std::vector<pid_t>& own,
                         wire::Answer::Kind kind, std::uint64_t id, std::uint64_t upstream,
                         bool as_program) {
  wire::Answer answer;
  answer.kind = kind;
  answer.id = id;
  answer.upstream = upstream;
  answer.source = key.source;
  answer.destination = key.destination;
  answer.process =
      passes_unseen(ruling) ? without_arguments(ruling.owner.process) : ruling.owner.process;
  answer.own = answer.process && std::ranges::find(own, answer.process->id.pid) != own.end();
  answer.verdict = ruling.verdict;
  answer.as_program = as_program;
  return wire::encode(answer);
}

std::string answer_of(const DnsDatagram& heard) {
  wire::Answer answer;
  answer.kind = wire::Answer::Kind::heard;
  answer.source = heard.key.source;
  answer.destination = heard.key.destination;
  answer.process = heard.ruling.owner.process;
  answer.verdict = heard.ruling.verdict;
  answer.from_server = heard.from_server;
  answer.payload = heard.payload;
  answer.came = heard.came;
  return wire::encode(answer);
}

std::string answer_of_nobody(std::uint64_t question) {
  wire::Answer unknown;
  unknown.id = question;
  return wire::encode(unknown);
}

}  // namespace divert
