#include "mitm/flow/flow.h"

#include "mitm/flow/event.h"

namespace mitm::flow {
namespace {

template <class Kind>
const Kind* as(const Flow& flow) {
  const auto* const held = std::get_if<std::shared_ptr<const Kind>>(&flow.record);
  return held == nullptr ? nullptr : held->get();
}

}  // namespace

const FlowFacts& Flow::facts() const {
  return std::visit([](const auto& held) -> const FlowFacts& { return *held; }, record);
}

const HttpFlow* Flow::http() const {
  return as<HttpFlow>(*this);
}
const TcpFlow* Flow::tcp() const {
  return as<TcpFlow>(*this);
}
const DnsFlow* Flow::dns() const {
  return as<DnsFlow>(*this);
}

std::string_view Flow::error() const {
  const std::string& known = facts().error;
  return known.empty() && state == State::interrupted ? kInterrupted : known;
}

std::string_view Flow::type() const {
  if (http() != nullptr) return "http";
  return tcp() == nullptr ? "dns" : to_string(tcp()->kind);
}

}  // namespace mitm::flow
