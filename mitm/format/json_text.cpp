// Escaping looks at eight bytes at a time: nearly all of what flows hold is plain ASCII.
#include "mitm/format/json_text.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "base/base64.h"
#include "base/text.h"

namespace mitm::format {
namespace {

bool is_plain(unsigned char c) {
  return c >= 0x20 && c < 0x7f && c != '"' && c != '\\';
}

/// Whether all eight bytes are plain. May say no to some that are.
bool are_plain(const char* bytes) {
  constexpr std::uint64_t kOnes = 0x0101010101010101U;
  constexpr std::uint64_t kHighs = 0x80 * kOnes;
  std::uint64_t word = 0;
  std::memcpy(&word, bytes, sizeof word);
  const auto has_zero = [](std::uint64_t w) { return (w - kOnes) & ~w; };
  const std::uint64_t low = word - 0x20 * kOnes;
  const std::uint64_t delete_or_high = word | (word + kOnes);
  const std::uint64_t special = has_zero(word ^ ('"' * kOnes)) | has_zero(word ^ ('\\' * kOnes));
  return ((low | delete_or_high | special) & kHighs) == 0;
}

std::size_t plain_prefix(std::string_view bytes) {
  std::size_t n = 0;
  while (n + 8 <= bytes.size() && are_plain(bytes.data() + n)) n += 8;
  while (n < bytes.size() && is_plain(static_cast<unsigned char>(bytes[n]))) ++n;
  return n;
}

void append_escape(std::string& out, unsigned char c) {
  constexpr std::string_view kLetters = "\"\"\\\\\bb\ff\nn\rr\tt";
  for (std::size_t i = 0; i < kLetters.size(); i += 2) {
    if (kLetters[i] != static_cast<char>(c)) continue;
    out += '\\';
    out += kLetters[i + 1];
    return;
  }
  fmt::format_to(std::back_inserter(out), "\\u{:04x}", c);
}

/// As two halves (RFC 8259, section 7) when it does not fit into four digits.
void append_code(std::string& out, std::uint32_t code) {
  if (code <= 0xffff) {
    fmt::format_to(std::back_inserter(out), "\\u{:04x}", code);
    return;
  }
  code -= 0x10000;
  fmt::format_to(std::back_inserter(out), "\\u{:04x}\\u{:04x}", 0xd800 + (code >> 10U),
                 0xdc00 + (code & 0x3ffU));
}

/// A run of bytes from 0x80 on: no sequence of UTF-8 reaches beyond it.
void append_wide(std::string& out, std::string_view run) {
  while (!run.empty()) {
    const auto [code, length] = base::first_character(run);
    if (length == 0) {
      out += "\xef\xbf\xbd";
    } else if (code < 0xa0 || base::is_invisible(code)) {
      append_code(out, code);
    } else {
      out.append(run.substr(0, length));
    }
    run.remove_prefix(std::max<std::size_t>(length, 1));
  }
}

}  // namespace

void append_json_string(std::string& out, std::string_view bytes) {
  out += '"';
  for (;;) {
    const std::size_t plain = plain_prefix(bytes);
    out.append(bytes.data(), plain);
    bytes.remove_prefix(plain);
    if (bytes.empty()) break;
    const auto wide_end =
        std::find_if(bytes.begin(), bytes.end(), [](char c) { return (c & 0x80) == 0; });
    const auto wide = static_cast<std::size_t>(wide_end - bytes.begin());
    if (wide > 0) {
      append_wide(out, bytes.substr(0, wide));
    } else {
      append_escape(out, static_cast<unsigned char>(bytes[0]));
    }
    bytes.remove_prefix(std::max<std::size_t>(wide, 1));
  }
  out += '"';
}

void append_json_base64(std::string& out, std::string_view bytes) {
  out += '"';
  base::append_base64(out, bytes);
  out += '"';
}

std::string& JsonObject::name(std::string_view name) {
  if (!std::exchange(first_, false)) out_ += ',';
  out_ += '"';
  out_.append(name).append("\":");
  return out_;
}

void JsonObject::text_or_null(std::string_view name, std::string_view bytes) {
  bytes.empty() ? token(name, "null") : text(name, bytes);
}

void JsonObject::integer(std::string_view name, std::int64_t value) {
  const fmt::format_int digits(value);
  token(name, {digits.data(), digits.size()});
}

void JsonObject::integer(std::string_view name, const std::optional<std::uint64_t>& value) {
  if (!value) return token(name, "null");
  const fmt::format_int digits(*value);
  token(name, {digits.data(), digits.size()});
}

}  // namespace mitm::format
