// JSON tokens appended to a string. Used instead of a library's writer because every recorded flow
// pays for it and the bytes come from the network: not UTF-8, and not to be shown raw on a
// terminal.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace mitm::format {

/// Quoted. Bytes that are not UTF-8 become U+FFFD; control characters (C0, DEL, C1) and what
/// base::is_invisible() are escaped, which is the same text for a program that reads it.
void append_json_string(std::string& out, std::string_view bytes);

/// Quoted, RFC 4648 with padding.
void append_json_base64(std::string& out, std::string_view bytes);

/// Members of one object, in the order of the calls. Names are ours: they are not escaped.
class JsonObject {
 public:
  explicit JsonObject(std::string& out) : out_(out) { out_ += '{'; }
  void end() { out_ += '}'; }

  /// Writes the name; the caller appends the value to the returned string.
  std::string& name(std::string_view name);
  void token(std::string_view name, std::string_view value) { this->name(name).append(value); }
  void text(std::string_view name, std::string_view bytes) {
    append_json_string(this->name(name), bytes);
  }
  void text_or_null(std::string_view name, std::string_view bytes);
  void integer(std::string_view name, std::int64_t value);
  void integer(std::string_view name, const std::optional<std::uint64_t>& value);
  void boolean(std::string_view name, bool value) { token(name, value ? "true" : "false"); }

 private:
  std::string& out_;
  bool first_ = true;
};

/// Values of one array, in the order of the calls.
class JsonArray {
 public:
  explicit JsonArray(std::string& out) : out_(out) { out_ += '['; }
  void end() { out_ += ']'; }

  /// The caller appends the next value to the returned string.
  std::string& item() {
    if (!first_) out_ += ',';
    first_ = false;
    return out_;
  }

 private:
  std::string& out_;
  bool first_ = true;
};

}  // namespace mitm::format
