#include "mitm/format/har.h"
#include "mitm/format/har_flow.h"
#include "mitm/format/json_slices.h"
#include "mitm/format/json_value.h"
#include "mitm/format/jsonl_record.h"

namespace mitm::format {
namespace {

class HarReader final : public FlowReader {
 public:
  explicit HarReader(ByteSource source) : slices_(std::move(source)) {}

  base::Result<std::optional<flow::Flow>> next() override {
    while (goes_on_) {
      const auto slice = slices_.next();
      goes_on_ = slice && !slice->key.empty();
      if (!slice) return slice.error();
      if (!goes_on_) break;
      const bool entry = slice->key == "entries";
      if (!entry && slice->key != "_flows") continue;
      auto flow = entry ? read_entry(slice->text) : read_other(slice->text);
      if (!flow) {
        return base::failure("byte {}: {} {}: {}", slice->offset, entry ? "entry" : "flow", number_,
                             flow.error().text);
      }
      if (*flow) return flow;
    }
    return std::optional<flow::Flow>();
  }

  [[nodiscard]] bool goes_on() const override { return goes_on_; }

 private:
  /// Empty: it is one of a connection that was refused, which stands among the other flows.
  base::Result<std::optional<flow::Flow>> read_entry(std::string_view text) {
    ++number_;
    const auto json = parse_json(text);
    if (!json) return base::failure("malformed JSON");
    if (!json_text(json_member(*json, "_osproxy"), "type").empty())
      return std::optional<flow::Flow>();
    auto flow = read_har_entry(*json, number_);
    if (!flow) return flow.error();
    return std::optional<flow::Flow>(std::move(*flow));
  }

  base::Result<std::optional<flow::Flow>> read_other(std::string_view text) {
    ++number_;
    const auto json = parse_json(text);
    if (!json) return base::failure("malformed JSON");
    auto event = read_event(*json);
    if (!event) return event.error();
    if (event->kind != JsonEvent::Kind::end) return base::failure("expected the end of a flow");
    return std::optional<flow::Flow>(std::move(event->flow));
  }

  JsonSlices slices_;
  std::uint64_t number_ = 0;
  bool goes_on_ = true;
};

}  // namespace

std::unique_ptr<FlowReader> make_har_reader(ByteSource source) {
  return std::make_unique<HarReader>(std::move(source));
}

}  // namespace mitm::format
