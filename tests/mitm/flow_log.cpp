// A log line is behind everything that was published before it: that is how the log is drained.
#include "tests/mitm/flow_log.h"

#include <csignal>

#include "mitm/format/sinks.h"
#include "tests/test.h"

namespace test {

class FlowLog::Sink final : public mitm::flow::Subscriber {
 public:
  Sink(FlowLog& log, bool want_data) : log_(log), want_data_(want_data) {}
  base::Result<> write(const mitm::flow::Event& event) override {
    const std::lock_guard lock{log_.mutex_};
    if (std::holds_alternative<mitm::flow::LogLine>(event)) {
      ++log_.lines_;
    } else {
      note(event);
    }
    log_.changed_.notify_all();
    return {};
  }
  base::Result<> flush() override { return {}; }
  [[nodiscard]] mitm::flow::EventSet wants() const override {
    using namespace mitm::flow;
    const auto data = want_data_ ? EventSet::of<TcpData>() : EventSet();
    return mitm::format::kShownEvents | data |
           EventSet::of<ConnectionOpened, RequestHead, RequestEnd, ResponseHead, ConnectionEnd,
                        LogLine>();
  }
  [[nodiscard]] const std::string& name() const override { return name_; }

 private:
  void note(const mitm::flow::Event& event) {
    log_.kinds_.push_back(event.index());
    if (const auto* data = std::get_if<mitm::flow::TcpData>(&event)) {
      log_.data_.push_back(*data->data);
      return;
    }
    const auto flow = flatten(event);
    if (!flow) return;
    using Kind = FlatFlow::Event;
    auto& list = flow->event == Kind::start ? log_.starts_
                 : flow->event == Kind::end ? log_.ends_
                                            : log_.messages_;
    list.push_back(*flow);
  }

  FlowLog& log_;
  bool want_data_;
  std::string name_ = "log";
};

FlowLog::FlowLog(bool want_data)
    : bus_(
          [&] {
            std::vector<std::unique_ptr<mitm::flow::Subscriber>> sinks;
            sinks.push_back(std::make_unique<Sink>(*this, want_data));
            return sinks;
          }(),
          [](void*, const mitm::flow::Subscriber&, const base::Error&) {}, nullptr) {
  std::signal(SIGPIPE, SIG_IGN);
  bus_.start();
}

void FlowLog::drain() {
  bus_.publish(mitm::flow::LogLine{});
  ++asked_;
  std::unique_lock lock{mutex_};
  REQUIRE(changed_.wait_for(lock, kLimit, [&] { return lines_ >= asked_; }));
}

}  // namespace test
