// Flows for programs: one JSON object a line.
#include "mitm/format/json_renderer.h"
#include "mitm/format/output.h"
#include "mitm/format/sinks.h"

namespace mitm::format {
namespace {

class JsonlSink final : public flow::Subscriber {
 public:
  JsonlSink(base::UniqueFd out, std::string name, JsonStyle style)
      : out_(std::move(out)), name_(std::move(name)), style_(style) {}

  base::Result<> write(const flow::Event& event) override {
    renderer_.render(event, style_.bodies, out_.buffer());
    out_.buffer() += '\n';
    return out_.write_if_large();
  }
  base::Result<> flush() override { return out_.flush(); }
  [[nodiscard]] flow::EventSet wants() const override {
    using flow::EventSet;
    if (!style_.starts) return kShownEvents;
    return EventSet::of<flow::RequestHead, flow::HttpEnd, flow::Message, flow::TcpBegin,
                        flow::TcpEnd, flow::DnsEnd>();
  }
  [[nodiscard]] const std::string& name() const override { return name_; }

 private:
  Output out_;
  std::string name_;
  JsonStyle style_;
  JsonRenderer renderer_;
};

}  // namespace

std::unique_ptr<flow::Subscriber> make_jsonl_sink(base::UniqueFd out, std::string name,
                                                  JsonStyle style) {
  return std::make_unique<JsonlSink>(std::move(out), std::move(name), style);
}

}  // namespace mitm::format
