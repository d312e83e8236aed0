// Lines may end in LF, CR or CRLF, and may be cut anywhere: each part is put where it belongs as it
// comes.
#include "mitm/http/event_stream.h"

#include <algorithm>
#include <utility>

#include "mitm/http/fields.h"

namespace mitm::http {
namespace {

constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";
constexpr std::size_t kLongestName = 16;  ///< no known name is longer

void append_word(std::string& word, std::string_view part) {
  const std::size_t room =
      EventStreamReader::kWord - std::min(EventStreamReader::kWord, word.size());
  word.append(part.substr(0, room));
}

}  // namespace

bool is_event_stream(std::string_view content_type) {
  constexpr std::string_view kType = "text/event-stream";
  return iequals(content_type.substr(0, kType.size()), kType);
}

void EventStreamReader::feed(std::string_view bytes, Handler& handler) {
  while (!bytes.empty()) {
    if (std::exchange(after_cr_, false) && bytes.front() == '\n') {
      bytes.remove_prefix(1);
      ++wire_bytes_;
      continue;
    }
    const std::size_t end = std::min(bytes.find_first_of("\r\n"), bytes.size());
    wire_bytes_ += end;
    if (end > 0) take(bytes.substr(0, end));
    if (end == bytes.size()) return;
    after_cr_ = bytes[end] == '\r';
    ++wire_bytes_;
    bytes.remove_prefix(end + 1);
    end_line(handler);
  }
}

/// Part of a line.
void EventStreamReader::take(std::string_view part) {
  line_empty_ = false;
  if (state_ == State::name) {
    const std::size_t colon = std::min(part.find(':'), part.size());
    take_name(part.substr(0, colon));
    if (colon == part.size()) return;
    part.remove_prefix(colon + 1);
    begin_value();
  }
  if (state_ == State::space && !part.empty()) {
    if (part.front() == ' ') part.remove_prefix(1);
    state_ = State::value;
  }
  if (!part.empty()) take_value(part);
}

void EventStreamReader::take_name(std::string_view part) {
  name_.append(part.substr(0, kLongestName - std::min(kLongestName, name_.size())));
}

void EventStreamReader::begin_value() {
  state_ = State::space;
  if (first_line_ && name_.starts_with(kByteOrderMark)) name_.erase(0, kByteOrderMark.size());
  if (name_ == "event") message_.name.clear();
  if (name_ == "id") message_.id.clear();
  if (name_ != "data") return;
  if (!message_.bytes) message_.bytes = 0;
  if (!has_data_) limit_ = next_limit_;
  if (has_data_) take_value("\n");
  has_data_ = true;
}

void EventStreamReader::take_value(std::string_view part) {
  if (name_ == "event") append_word(message_.name, part);
  if (name_ == "id") append_word(message_.id, part);
  if (name_ != "data") return;
  keep(part, limit_, message_);
  *message_.bytes += part.size();
}

void EventStreamReader::end_line(Handler& handler) {
  if (line_empty_) {
    end_event(handler);
  } else if (state_ == State::name) {
    begin_value();  // a field without a colon has an empty value
  }
  state_ = State::name;
  name_.clear();
  line_empty_ = true;
  first_line_ = false;
}

void EventStreamReader::end_event(Handler& handler) {
  message_.kind = Message::Kind::event;
  message_.wire_bytes = std::exchange(wire_bytes_, 0);
  if (std::exchange(has_data_, false)) handler.message(message_);
  message_ = {};
}

}  // namespace mitm::http
