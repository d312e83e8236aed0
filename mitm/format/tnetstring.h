// Typed netstrings, as mitmproxy writes them: "<length>:<payload><tag>", with a tag of its own for
// text in UTF-8.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"

namespace mitm::format {

// Each appends one value.
void append_tnet_bytes(std::string& out, std::string_view bytes);
/// Bytes that are not UTF-8 become U+FFFD: readers refuse them.
void append_tnet_text(std::string& out, std::string_view text);
void append_tnet_integer(std::string& out, std::int64_t number);
void append_tnet_real(std::string& out, double number);
void append_tnet_boolean(std::string& out, bool truth);
void append_tnet_null(std::string& out);

/// A list, or the base of a dictionary: what is appended between constructor and end() is inside.
class TnetList {
 public:
  explicit TnetList(std::string& out) : TnetList(out, ']') {}
  void end();

 protected:
  TnetList(std::string& out, char tag) : out_(out), begin_(out.size()), tag_(tag) {}
  std::string& out_;

 private:
  std::size_t begin_;
  char tag_;
};

/// A dictionary; each call adds one member.
class TnetDict : public TnetList {
 public:
  explicit TnetDict(std::string& out) : TnetList(out, '}') {}

  /// Writes the key; the caller appends the value to the returned string.
  std::string& key(std::string_view name);
  void bytes(std::string_view name, std::string_view value) { append_tnet_bytes(key(name), value); }
  void text(std::string_view name, std::string_view value) { append_tnet_text(key(name), value); }
  void text_or_null(std::string_view name, std::string_view value);
  void integer(std::string_view name, std::int64_t value) { append_tnet_integer(key(name), value); }
  void real(std::string_view name, double value) { append_tnet_real(key(name), value); }
  void real(std::string_view name, const std::optional<double>& value);
  void boolean(std::string_view name, bool value) { append_tnet_boolean(key(name), value); }
  void null(std::string_view name) { append_tnet_null(key(name)); }
  void empty_list(std::string_view name) { TnetList(key(name)).end(); }
};

/// A value that was read. Bytes and text point into what was parsed.
struct TnetValue {
  enum class Kind : std::uint8_t { null, bytes, text, integer, real, boolean, list, dict };

  Kind kind = Kind::null;
  bool truth = false;
  std::int64_t number = 0;
  double real = 0;
  std::string_view payload;      ///< of bytes and text
  std::vector<TnetValue> items;  ///< of a dictionary: key, value, key, value ...

  /// Null: not a dictionary, or it has no such key.
  [[nodiscard]] const TnetValue* find(std::string_view key) const;
  [[nodiscard]] bool is_null() const { return kind == Kind::null; }
  /// Bytes or text; else empty.
  [[nodiscard]] std::string_view string() const;
  /// A number of either kind; empty: it is none.
  [[nodiscard]] std::optional<double> as_real() const;
};

/// The payload of a value with this tag. The error does not say where.
[[nodiscard]] base::Result<TnetValue> parse_tnet(std::string_view payload, char tag);

/// The longest length prefix that mitmproxy reads, in digits.
inline constexpr std::size_t kTnetMaxDigits = 12;

}  // namespace mitm::format
