#include "mitm/cli/view_filter.h"

#include <unordered_map>
#include <utility>
#include <vector>

namespace mitm::cli {
namespace {

using base::Result;

/// Of the body of a flow that has not ended, and of its messages together.
constexpr std::size_t kLookedAt = 1 << 20;
/// Flows under way of which something is remembered; beyond that, flows are decided at their end.
constexpr std::size_t kMostFlows = 100'000;

class View final : public flow::Subscriber {
 public:
  View(std::unique_ptr<flow::Subscriber> inner, query::Filter filter)
      : inner_(std::move(inner)),
        filter_(std::move(filter)),
        keeps_messages_(filter_.cost() == query::Cost::bodies) {}

  Result<> write(const flow::Event& event) override {
    return is_shown(event) ? inner_->write(event) : Result<>{};
  }
  Result<> flush() override { return inner_->flush(); }
  [[nodiscard]] std::optional<std::chrono::milliseconds> flush_again() const override {
    return inner_->flush_again();
  }
  [[nodiscard]] flow::EventSet wants() const override { return inner_->wants(); }
  [[nodiscard]] flow::Delivery delivery() const override { return inner_->delivery(); }
  [[nodiscard]] const std::string& name() const override { return inner_->name(); }

 private:
  using Messages = std::vector<std::shared_ptr<const flow::StreamMessage>>;
  /// A flow that is under way.
  struct UnderWay {
    std::optional<bool> shown;
    Messages messages;  ///< while it is not decided, if the filter looks at them
    std::size_t bytes = 0;
  };

  bool is_shown(const flow::Event& event) {
    return std::visit(
        [&]<class Kind>(const Kind& it) {
          if constexpr (std::is_same_v<Kind, flow::HttpUnderWay> ||
                        std::is_same_v<Kind, flow::TcpBegin>) {
            return is_begun(it.flow);
          } else if constexpr (std::is_same_v<Kind, flow::HttpEnd> ||
                               std::is_same_v<Kind, flow::TcpEnd> ||
                               std::is_same_v<Kind, flow::DnsEnd>) {
            return has_ended(it.flow);
          } else if constexpr (std::is_same_v<Kind, flow::Message>) {
            return is_said(it.message);
          } else {
            return true;  // lines about osproxy itself
          }
        },
        event);
  }

  bool is_begun(const auto& record) {
    flow::Flow flow{record};
    flow.state = flow::Flow::State::live;
    const auto shown = filter_.will_match(flow);
    if (under_way_.size() < kMostFlows) under_way_[record->id].shown = shown;
    return shown.value_or(false);
  }

  bool is_said(const std::shared_ptr<const flow::StreamMessage>& message) {
    const auto found = under_way_.find(message->flow);
    if (found == under_way_.end() && under_way_.size() >= kMostFlows) return false;
    UnderWay& flow = found == under_way_.end() ? under_way_[message->flow] : found->second;
    if (flow.shown) return *flow.shown;
    if (keeps_messages_ && flow.bytes < kLookedAt) {
      flow.bytes += message->what.payload.size() + sizeof *message;
      flow.messages.push_back(message);
    }
    return false;
  }

  bool has_ended(const auto& record) {
    flow::Flow flow{record};
    if (const auto found = under_way_.find(record->id); found != under_way_.end()) {
      const auto shown = found->second.shown;
      flow.messages = std::move(found->second.messages);
      under_way_.erase(found);
      if (shown) return *shown;
    }
    return filter_.matches(flow);
  }

  std::unique_ptr<flow::Subscriber> inner_;
  query::Filter filter_;
  bool keeps_messages_;
  std::unordered_map<std::uint64_t, UnderWay> under_way_;
};

}  // namespace

std::unique_ptr<flow::Subscriber> with_view(std::unique_ptr<flow::Subscriber> subscriber,
                                            query::Filter filter) {
  return std::make_unique<View>(std::move(subscriber), std::move(filter));
}

std::size_t bytes_looked_at(const query::Filter& filter) {
  return filter.cost() == query::Cost::bodies ? kLookedAt : 0;
}

}  // namespace mitm::cli
