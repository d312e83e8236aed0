// Flows for programs: one JSON object a line.
#include "mitm/format/json_renderer.h"
#include "mitm/format/output.h"
#include "mitm/format/sinks.h"

namespace mitm::format {
namespace {

class JsonlSink final : public flow::Sink {
 public:
  JsonlSink(base::UniqueFd out, std::string name, bool bodies)
      : out_(std::move(out)), name_(std::move(name)), bodies_(bodies) {}

  using Sink::write;
  base::Result<> write(const flow::Flow& flow) override {
    renderer_.render(flow, bodies_, out_.buffer());
    out_.buffer() += '\n';
    return out_.write_if_large();
  }
  base::Result<> flush() override { return out_.flush(); }
  [[nodiscard]] const std::string& name() const override { return name_; }

 private:
  Output out_;
  std::string name_;
  bool bodies_;
  JsonRenderer renderer_;
};

}  // namespace

std::unique_ptr<flow::Sink> make_jsonl_sink(base::UniqueFd out, std::string name, bool bodies) {
  return std::make_unique<JsonlSink>(std::move(out), std::move(name), bodies);
}

}  // namespace mitm::format
