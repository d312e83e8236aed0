// Messages stand between the start and the end of their flow, among those of others: what has not
// ended waits.
#include "mitm/format/jsonl_reader.h"

#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "base/ascii.h"
#include "mitm/flow/event.h"
#include "mitm/format/json_value.h"
#include "mitm/format/jsonl_record.h"
#include "mitm/format/source_buffer.h"

namespace mitm::format {
namespace {

/// Bytes of one line: a file without line ends must not fill the memory.
constexpr std::size_t kLongestLine = 1U << 30U;

class JsonlReader final : public FlowReader {
 public:
  explicit JsonlReader(ByteSource source) : buffer_(std::move(source)) {}

  base::Result<std::optional<flow::Flow>> next() override {
    while (!stopped_) {
      auto line = next_line();
      if (!line) {
        stopped_ = true;
        return line.error();
      }
      if (!*line) break;
      ++number_;
      const std::string_view text = base::trimmed(**line, " \t\r\n");
      if (text.empty()) continue;
      auto event = read_line(text);
      if (!event) {
        return base::failure("line {}, byte {}: {}", number_, buffer_.offset(), event.error().text);
      }
      if (auto flow = take(std::move(*event))) return flow;
    }
    return rest();
  }

  [[nodiscard]] bool goes_on() const override { return !stopped_ || !waiting_.empty(); }

 private:
  struct Waiting {
    std::optional<flow::Flow> begun;
    std::vector<std::shared_ptr<const flow::StreamMessage>> messages;
  };

  /// Empty: the file has ended. Valid until the next call.
  base::Result<std::optional<std::string_view>> next_line() {
    buffer_.consume(std::exchange(used_, 0));
    std::size_t searched = 0;
    for (;;) {
      const std::string_view view = buffer_.view();
      const std::size_t end = view.find('\n', searched);
      if (end != view.npos) {
        used_ = end + 1;
        return std::optional(view.substr(0, end));
      }
      searched = view.size();
      if (searched > kLongestLine)
        return base::failure("line {}, byte {}: longer than {} bytes", number_ + 1,
                             buffer_.offset(), kLongestLine);
      auto more = buffer_.more();
      if (!more) return more.error();
      if (*more) continue;
      if (buffer_.view().empty()) return std::optional<std::string_view>();
      used_ = buffer_.view().size();
      return std::optional(buffer_.view());
    }
  }

  base::Result<JsonEvent> read_line(std::string_view text) const {
    const auto json = parse_json(text);
    if (json) return read_event(*json);
    const bool last = buffer_.ended() && used_ == buffer_.view().size();
    return base::failure("{}", last ? "the file ends inside a line" : "malformed JSON");
  }

  std::optional<flow::Flow> take(JsonEvent event) {
    if (event.kind == JsonEvent::Kind::message) {
      waiting_[event.id].messages.push_back(std::move(event.message));
      return std::nullopt;
    }
    if (event.kind == JsonEvent::Kind::start) {
      waiting_[event.id].begun = std::move(event.flow);
      return std::nullopt;
    }
    const auto found = waiting_.find(event.id);
    if (found == waiting_.end()) return std::move(event.flow);
    event.flow.messages = std::move(found->second.messages);
    waiting_.erase(found);
    return std::move(event.flow);
  }

  /// What has not ended when the file does.
  std::optional<flow::Flow> rest() {
    if (waiting_.empty()) return std::nullopt;
    Waiting waiting = std::move(waiting_.begin()->second);
    waiting_.erase(waiting_.begin());
    flow::Flow flow =
        waiting.begun ? std::move(*waiting.begun) : made_of(*waiting.messages.front());
    flow.messages = std::move(waiting.messages);
    flow.state = flow::Flow::State::interrupted;
    return flow;
  }

  /// The flow of messages whose start is not in the file.
  static flow::Flow made_of(const flow::StreamMessage& message) {
    auto http = std::make_shared<flow::HttpFlow>();
    http->id = message.flow;
    http->connection = message.connection;
    http->began = message.time;
    http->host = message.host;
    http->url = message.url;
    flow::Flow flow;
    flow.record = std::move(http);
    return flow;
  }

  SourceBuffer buffer_;
  std::size_t used_ = 0;
  std::uint64_t number_ = 0;
  std::map<std::uint64_t, Waiting> waiting_;
  bool stopped_ = false;  ///< the file cannot be read any further
};

}  // namespace

std::unique_ptr<FlowReader> make_jsonl_reader(ByteSource source) {
  return std::make_unique<JsonlReader>(std::move(source));
}

}  // namespace mitm::format
