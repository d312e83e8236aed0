// Bodies come from anywhere: text keeps its lines and nothing else that a terminal would act on,
// everything else is shown in hex.
#include "mitm/format/body_text.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/text.h"
#include "mitm/format/units.h"
#include "mitm/http/charset.h"
#include "mitm/http/content_coding.h"
#include "mitm/http/fields.h"

namespace mitm::format {
namespace {

/// `bytes` without a UTF-8 sequence that was cut off at the end.
std::string_view whole_sequences(std::string_view bytes) {
  for (std::size_t tail = 1; tail <= 3 && tail <= bytes.size(); ++tail) {
    const auto lead = static_cast<unsigned char>(bytes[bytes.size() - tail]);
    if ((lead & 0xc0U) == 0x80U) continue;
    const bool cut_off =
        (lead >= 0xc2 && tail < 2) || (lead >= 0xe0 && tail < 3) || (lead >= 0xf0 && tail < 4);
    if (lead < 0xf5 && cut_off) bytes.remove_suffix(tail);
    break;
  }
  return bytes;
}

bool is_text(std::string_view bytes) {
  const auto control = [](char c) {
    return (static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\r' && c != '\t') ||
           c == 0x7f;
  };
  return base::is_utf8(bytes) && std::none_of(bytes.begin(), bytes.end(), control);
}

void append_prefix(std::string& out, std::string_view mark) {
  out += kIndent;
  if (!mark.empty()) out.append(mark) += ' ';
}

void append_line(std::string& out, std::string_view line, std::string_view mark) {
  append_prefix(out, mark);
  if (line.ends_with('\r')) line.remove_suffix(1);
  for (std::size_t tab = line.find('\t'); tab != line.npos; tab = line.find('\t')) {
    out.append(base::printable(line.substr(0, tab))) += '\t';
    line.remove_prefix(tab + 1);
  }
  out.append(base::printable(line)) += '\n';
}

void append_left_out(std::string& out, std::size_t bytes) {
  fmt::format_to(std::back_inserter(out), "{}… {} more bytes\n", kIndent, bytes);
}

/// The lines that begin in the first 1 MiB of what is written: an empty one takes five characters.
void append_text(std::string& out, std::string_view text, std::string_view mark) {
  constexpr std::size_t kMost = 1 << 20;
  const std::size_t before = out.size();
  if (text.ends_with('\n')) text.remove_suffix(1);
  for (;;) {
    if (out.size() - before >= kMost) return append_left_out(out, text.size());
    const std::size_t end = std::min(text.find('\n'), text.size());
    append_line(out, text.substr(0, end), mark);
    if (end == text.size()) return;
    text.remove_prefix(end + 1);
  }
}

/// The first bytes, in at most 4 KiB of lines: each byte takes five characters, and a small coded
/// body can be a large one decoded.
void append_hex(std::string& out, std::string_view bytes, std::string_view mark) {
  constexpr std::size_t kRow = 16, kLine = 80, kMostText = 4 << 10;
  constexpr std::size_t kMost = kMostText / kLine * kRow;
  const std::size_t left_out = bytes.size() - std::min(bytes.size(), kMost);
  bytes.remove_suffix(left_out);
  for (std::size_t offset = 0; offset < bytes.size(); offset += kRow) {
    std::string hex;
    std::string ascii;
    for (const char c : bytes.substr(offset, kRow)) {
      fmt::format_to(std::back_inserter(hex), "{:02x} ", static_cast<unsigned char>(c));
      ascii += c >= 0x20 && c < 0x7f ? c : '.';
    }
    append_prefix(out, mark);
    fmt::format_to(std::back_inserter(out), "{:08x}  {:<48} {}\n", offset, hex, ascii);
  }
  if (left_out > 0) append_left_out(out, left_out);
}

/// `cut`: something follows `shown` that is not shown. Only then a character that is cut off at its
/// end is left out.
void append_shown(std::string& out, std::string_view shown, std::string_view type, bool cut,
                  std::string_view mark) {
  const auto last = cut ? http::CutOff::left_out : http::CutOff::escaped;
  const auto converted = http::to_utf8(type, shown, last);
  if (converted && is_text(*converted)) return append_text(out, *converted, mark);
  const auto whole = cut ? whole_sequences(shown) : shown;
  if (is_text(whole)) return append_text(out, whole, mark);
  const auto forced = http::forced_to_utf8(type, shown);
  if (forced && is_text(*forced)) return append_text(out, *forced, mark);
  append_hex(out, shown, mark);
}

/// As on the wire.
void append_as_received(std::string& out, const Body& body, std::uint64_t total,
                        const BodyStyle& style) {
  const std::string_view shown = body.kept.substr(0, style.limit);
  append_shown(out, shown, body.type, shown.size() < total, style.mark);
  if (shown.size() == total) return;
  const std::string_view why = shown.size() == body.kept.size() ? ", the limit of --bodies" : "";
  fmt::format_to(std::back_inserter(out), "{}... {} of {}{}\n", kIndent, size_text(shown.size()),
                 size_text(total), why);
}

/// False when it cannot be decoded.
bool append_decoded(std::string& out, const Body& body, std::uint64_t total,
                    const BodyStyle& style) {
  constexpr std::size_t kMost = 1 << 20;
  const auto decoded = http::decode_content(body.coding, body.kept, std::min(style.limit, kMost));
  // A decoder may take the first bytes of what was never coded for its own.
  if (!decoded || (decoded->damaged && is_text(whole_sequences(body.kept)))) return false;
  const bool whole = decoded->whole && body.kept.size() == total;
  append_shown(out, decoded->bytes, body.type, !whole && !decoded->damaged, style.mark);
  fmt::format_to(std::back_inserter(out), "{}{}({}, {}{} on the wire{})\n", kIndent,
                 whole ? "" : "... ", base::printable(body.coding),
                 decoded->damaged ? "damaged from here on, " : "", size_text(total),
                 decoded->trailing > 0 ? "; what follows its end:" : "");
  if (decoded->trailing == 0) return true;
  const auto rest = body.kept.substr(body.kept.size() - decoded->trailing);
  append_shown(out, rest.substr(0, style.limit), {}, true, style.mark);
  return true;
}

}  // namespace

void append_body(std::string& out, const Body& body, const BodyStyle& style) {
  const std::uint64_t total = std::max<std::uint64_t>(body.total.value_or(0), body.kept.size());
  if (total == 0) return;
  if (body.kept.empty()) {
    fmt::format_to(std::back_inserter(out), "{}{}, not recorded (see --bodies)\n", kIndent,
                   size_text(total));
    return;
  }
  if (!body.coding.empty() && !http::iequals(body.coding, "identity")) {
    if (append_decoded(out, body, total, style)) return;
    append_as_received(out, body, total, style);
    fmt::format_to(std::back_inserter(out),
                   "{}({} cannot be decoded: shown as received, {} on the wire)\n", kIndent,
                   base::printable(body.coding), size_text(total));
    return;
  }
  append_as_received(out, body, total, style);
}

}  // namespace mitm::format
