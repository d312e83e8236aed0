// A head is read line by line. What breaks the grammar passes as long as all readers of it, the
// generous ones and the strict ones, agree on where the message ends; the program or the server
// decides about the rest.
#include "mitm/http/http1_head.h"

#include <algorithm>
#include <charconv>

#include "base/ascii.h"

namespace mitm::http {
namespace {

using base::is_digit;
using base::is_letter;
using base::lower;
using base::next_line;
using base::trimmed;

constexpr std::string_view kBlanks = " \t";
constexpr std::string_view kHttp = "HTTP/";
constexpr std::string_view kIcy = "ICY ";  // SHOUTcast

bool is_token(char c) {
  constexpr std::string_view kOthers = "!#$%&'*+-.^_`|~";
  return is_letter(c) || is_digit(c) || kOthers.find(c) != kOthers.npos;
}
/// In the value of a field (RFC 9110 section 5.5).
bool is_text(char c) {
  return (static_cast<unsigned char>(c) >= 0x20 && c != 0x7f) || c == '\t';
}
bool is_graphic(char c) {
  return c > 0x20 && c < 0x7f;
}
bool starts_with_blank(std::string_view text) {
  return text.starts_with(' ') || text.starts_with('\t');
}

std::string_view without_blanks_behind(std::string_view text) {
  return text.substr(0, text.find_last_not_of(kBlanks) + 1);
}

// What a generous reader may see.

/// The letters of `text` alone, in lower case.
std::string letters_of(std::string_view text) {
  std::string letters;
  for (const char c : text) {
    if (is_letter(c)) letters += lower(c);
  }
  return letters;
}

/// Whether all of `part` is in `whole`, in that order.
bool is_subsequence(std::string_view part, std::string_view whole) {
  for (const char c : whole) {
    if (!part.empty() && part.front() == c) part.remove_prefix(1);
  }
  return part.empty();
}

/// Whether some reader might take `text`, a malformed line or the beginning of one, for a field
/// that says where the message ends: readers trim, drop control characters, fold bytes outside
/// ASCII into letters.
bool resembles_framing(std::string_view text) {
  constexpr std::string_view kNames[] = {"contentlength", "transferencoding"};
  constexpr std::size_t kFolded = 2;  // letters that may stand outside ASCII
  const std::string letters = letters_of(text);
  const std::string name = letters_of(text.substr(0, text.find(':')));
  return std::ranges::any_of(kNames, [&](std::string_view framing) {
    return letters.find(framing) != letters.npos ||
           (name.size() + kFolded >= framing.size() && is_subsequence(name, framing));
  });
}

// Facts for the framing.

/// What the fields say that matters to framing, gathered in one pass.
struct Facts {
  int lengths = 0;
  int hosts = 0;
  bool coded = false;        ///< there is a Transfer-Encoding
  bool only_chunked = true;  ///< and all of it is one "chunked"
  bool ends_chunked = false;
  bool identity = true;
  bool odd_chunked = false;  ///< "xchunked", "chunked;a": some take that for chunked
  bool connection_upgrade = false;
  bool has_upgrade = false;
  bool length_is_list = false;
  bool length_is_bad = false;
  bool length_contradicted = false;
  std::uint64_t length = 0;
  bool icy =
      false;  ///< not HTTP by its first line: what its fields say of an end holds for few readers
};

template <class Use>
void each_token(std::string_view list, Use use) {
  while (!list.empty()) {
    const auto comma = std::min(list.find(','), list.size());
    if (const auto token = trimmed(list.substr(0, comma)); !token.empty()) use(token);
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
}

void note_coding(std::string_view value, Facts& facts) {
  if (facts.coded || !iequals(value, "chunked")) facts.only_chunked = false;
  facts.coded = true;
  each_token(value, [&](std::string_view token) {
    facts.ends_chunked = iequals(token, "chunked");
    if (!iequals(token, "identity")) facts.identity = false;
    if (!facts.ends_chunked && letters_of(token).find("chunked") != std::string::npos)
      facts.odd_chunked = true;
  });
}

void note_length(std::string_view list, Facts& facts) {
  facts.length_is_list |= list.find(',') != list.npos;
  for (bool more = true; more;) {
    const auto comma = std::min(list.find(','), list.size());
    const auto digits = trimmed(list.substr(0, comma));
    more = comma < list.size();
    list.remove_prefix(more ? comma + 1 : comma);
    std::uint64_t length = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), length);
    if (error != std::errc{} || end != digits.data() + digits.size()) facts.length_is_bad = true;
    if (facts.lengths++ > 0 && length != facts.length) facts.length_contradicted = true;
    facts.length = length;
  }
}

bool is_framing(std::string_view name) {
  return iequals(name, "content-length") || iequals(name, "transfer-encoding");
}

void note(std::string_view name, std::string_view value, Facts& facts) {
  switch (name.size()) {
    case 4:
      facts.hosts += iequals(name, "host");
      break;
    case 7:
      facts.has_upgrade |= iequals(name, "upgrade");
      break;
    case 10:
      if (iequals(name, "connection")) {
        each_token(value,
                   [&](auto token) { facts.connection_upgrade |= iequals(token, "upgrade"); });
      }
      break;
    case 14:
      if (iequals(name, "content-length")) note_length(value, facts);
      break;
    case 17:
      if (iequals(name, "transfer-encoding")) note_coding(value, facts);
      break;
    default:
      break;
  }
}

// First lines.

/// "1.1" and the like as a number of two digits; 0: not a version.
int version_of(std::string_view text) {
  const bool one_digit = text.size() == 1 && is_digit(text[0]);
  if (one_digit) return (text[0] - '0') * 10;
  const bool two = text.size() == 3 && is_digit(text[0]) && text[1] == '.' && is_digit(text[2]);
  return two ? (text[0] - '0') * 10 + (text[2] - '0') : 0;
}

/// Method and version stand at the ends; what is between them is the server's to judge.
const char* read_request_line(std::string_view line, Head& head) {
  const auto first = line.find(' '), last = line.rfind(' ');
  head.method = line.substr(0, first);
  if (head.method.empty() || !std::ranges::all_of(head.method, is_token))
    return "the request method is malformed";
  if (first == line.npos || first == last)
    return "the request target or the HTTP version is missing";
  head.target = line.substr(first + 1, last - first - 1);
  if (head.target.empty()) return "the request target is missing";
  const auto version = line.substr(last + 1);
  head.version = version.starts_with(kHttp) ? version_of(version.substr(kHttp.size())) : 0;
  return head.version < 10 ? "the HTTP version is malformed or unknown" : nullptr;
}

/// "HTTP/1.1 200 OK", "ICY 200 OK".
const char* read_status_line(std::string_view line, Head& head) {
  const auto space = line.find(' ');
  const auto name = line.substr(0, space);
  head.version = line.starts_with(kIcy)    ? 10
                 : name.starts_with(kHttp) ? version_of(name.substr(kHttp.size()))
                                           : 0;
  if (space == line.npos || head.version == 0) return "the HTTP version is malformed";
  const auto rest = line.substr(std::min(line.find_first_not_of(kBlanks, space), line.size()));
  const auto digits = rest.substr(0, rest.find_first_of(kBlanks));
  const auto words = rest.substr(digits.size());
  head.reason = words.substr(std::min(words.find_first_not_of(kBlanks), words.size()));
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), head.status);
  const bool good = !digits.empty() && digits.size() <= 3 &&
                    std::ranges::all_of(digits, is_digit) && error == std::errc{} &&
                    end == digits.data() + digits.size();
  return good ? nullptr : "the status code is malformed";
}

// Fields.

/// One field, with the lines that continue it.
struct Field {
  std::string_view line;
  std::string_view name;
  std::string_view value;
  std::string joined;  ///< what `value` points to, when it was folded
  bool folded = false;
  bool odd = false;          ///< it breaks the grammar
  bool ends_heads = false;   ///< so that there are readers that take it for the end of the fields
  bool hides_field = false;  ///< a line that continues it may be taken for a field of its own
};

void split(Side side, Field& field) {
  const auto colon = field.line.find(':');
  auto name = field.line.substr(0, colon);
  if (side == Side::response) name = without_blanks_behind(name);
  const bool well_formed =
      colon != field.line.npos && !name.empty() && std::ranges::all_of(name, is_token);
  field.odd = !well_formed;
  field.ends_heads =
      colon == field.line.npos || name.empty() || !std::ranges::all_of(name, is_graphic);
  field.name = field.ends_heads ? trimmed(name) : name;
  field.value =
      colon == field.line.npos ? std::string_view() : trimmed(field.line.substr(colon + 1));
  field.odd |= !std::ranges::all_of(field.value, is_text);
}

/// Obsolete line folding: a line that begins with a blank continues the field before it.
void unfold(std::string_view& text, Field& field) {
  if (!starts_with_blank(text)) return;
  field.folded = true;
  field.joined = field.value;
  while (starts_with_blank(text)) {
    const auto line = next_line(text);
    const auto colon = line.find(':');
    field.hides_field |= colon != line.npos && resembles_framing(line.substr(0, colon + 1));
    field.odd |= !std::ranges::all_of(line, is_text);
    const auto more = trimmed(line);
    if (!field.joined.empty() && !more.empty()) field.joined += ' ';
    field.joined += more;
  }
  field.value = field.joined;
}

/// Null, or why two readers of the field might differ about the end of the message.
const char* judge(const Field& field) {
  if (field.folded && (is_framing(field.name) || field.hides_field))
    return "a field that says where the message ends is folded over several lines";
  if (field.odd && (resembles_framing(field.line) || resembles_framing(field.value)))
    return "a field that may say where the message ends is malformed";
  return nullptr;
}

/// Adds all fields to `head`; null, or why the first one that is refused is.
const char* read_fields(Side side, std::string_view text, Head& head, Facts& facts) {
  const char* refused = nullptr;
  bool may_have_ended = false;
  while (!text.empty()) {
    Field field;
    field.line = next_line(text);
    if (field.line.empty()) break;  // the last one
    split(side, field);
    unfold(text, field);
    const char* why = judge(field);
    if (why == nullptr && side == Side::request && may_have_ended && is_framing(field.name))
      why = "a field that says where the message ends comes after a line that is no field";
    if (refused == nullptr) refused = why;
    may_have_ended |= field.ends_heads;
    note(field.name, field.value, facts);
    head.fields.add(field.name, field.value);
  }
  return refused;
}

/// Whether bytes or lines are in `text` that there are readers to end a line or the head at.
const char* find_false_ends(std::string_view text) {
  if (text.find('\0') != text.npos) return "the head has a NUL";
  for (auto cr = text.find('\r'); cr != text.npos; cr = text.find('\r', cr + 1)) {
    if (text.substr(cr + 1, 1) != "\n") return "a line of the head has a bare CR";
  }
  while (!text.empty()) {
    const auto line = next_line(text);
    const bool seen =
        std::ranges::any_of(line, [](char c) { return is_graphic(c) || (c & 0x80) != 0; });
    if (!line.empty() && !seen) return "a line of the head is blank, but not empty";
  }
  return nullptr;
}

// Framing.

const char* set_length(const Facts& facts, Head& head) {
  if (facts.length_is_bad) return "Content-Length is malformed";
  if (facts.length_contradicted) return "there are several Content-Length fields that differ";
  head.length = facts.length;
  head.framing = head.length > 0 ? Framing::length : Framing::none;
  return nullptr;
}

const char* frame_request(const Facts& facts, Head& head) {
  if (facts.hosts > 1) return "there are several Host fields";
  if (facts.lengths > 1 || facts.length_is_list) return "there are several Content-Length fields";
  if (facts.coded && facts.lengths > 0)
    return "there are both Content-Length and Transfer-Encoding";
  if (facts.coded && head.version != 11) return "Transfer-Encoding is part of HTTP/1.1 only";
  if (facts.coded && head.target.find_first_of(" \t\v\f") != std::string::npos)
    return "the request has blanks in its target, and a Transfer-Encoding, which is part of "
           "HTTP/1.1 only";
  if (facts.coded && !facts.only_chunked) return "Transfer-Encoding is not just 'chunked'";
  if (facts.lengths > 0) return set_length(facts, head);
  if (facts.coded) head.framing = Framing::chunked;
  return nullptr;
}

const char* frame_response(const Facts& facts, Answers answers, Head& head) {
  const bool bodiless = has_no_body(head.status) || answers == Answers::head ||
                        (answers == Answers::connect && head.status / 100 == 2);
  if (bodiless) return nullptr;
  head.framing = Framing::until_close;
  if (facts.icy) return nullptr;
  const bool coded = facts.coded && !facts.identity;
  if (coded && facts.lengths > 0) return "there are both Content-Length and Transfer-Encoding";
  if (facts.odd_chunked) return "Transfer-Encoding is malformed";
  if (coded && facts.ends_chunked) {
    head.framing = Framing::chunked;
  } else if (facts.lengths > 0) {
    return set_length(facts, head);
  }
  return nullptr;
}

}  // namespace

bool may_be_status_line(std::string_view text) {
  return text.starts_with(kHttp.substr(0, text.size())) ||
         text.starts_with(kIcy.substr(0, text.size()));
}

const char* parse_head(Side side, Answers answers, std::string_view text, Head& head) {
  head = {};
  head.fields.reserve(16, text.size());
  const bool is_request = side == Side::request;
  const char* refused = find_false_ends(text);
  const auto keep_first = [&](const char* why) {
    if (refused == nullptr) refused = why;
  };
  const auto first = next_line(text);
  keep_first(is_request ? read_request_line(first, head) : read_status_line(first, head));
  Facts facts;
  facts.icy = first.starts_with(kIcy);
  keep_first(read_fields(side, text, head, facts));
  head.upgrade = facts.connection_upgrade && facts.has_upgrade;
  if (refused != nullptr) return refused;
  return is_request ? frame_request(facts, head) : frame_response(facts, answers, head);
}

void blank_out(std::span<char> head, std::string_view name) {
  const std::string_view text{head.data(), head.size()};
  // Where the text of the line that ends at `newline` ends.
  const auto end_of_text = [&](std::size_t newline) {
    return newline > 0 && text[newline - 1] == '\r' ? newline - 1 : newline;
  };
  // Lines that begin with a blank continue the field before them.
  const auto end_of_field = [&](std::size_t newline) {
    while (newline + 1 < text.size() && (text[newline + 1] == ' ' || text[newline + 1] == '\t')) {
      const std::size_t next = text.find('\n', newline + 1);
      if (next == text.npos) break;
      newline = next;
    }
    return newline;
  };
  std::size_t before = text.find('\n');
  while (before != text.npos) {
    std::size_t end = text.find('\n', before + 1);
    if (end == text.npos) return;
    end = end_of_field(end);
    const auto line = text.substr(before + 1, end - before - 1);
    const auto colon = line.find(':');
    if (colon != line.npos && iequals(without_blanks_behind(line.substr(0, colon)), name))
      std::fill(head.data() + end_of_text(before), head.data() + end_of_text(end), ' ');
    before = end;
  }
}

}  // namespace mitm::http
