#include "mitm/control/spec.h"

#include <algorithm>
#include <charconv>
#include <optional>

#include <re2/re2.h>

#include "base/ascii.h"
#include "base/text.h"
#include "mitm/control/sticky.h"
#include "mitm/control/value_reader.h"

namespace mitm::control {
namespace {

using base::failure;
using base::Result;

struct Parts {
  query::Filter filter;
  std::string subject;
  std::string replacement;
};

std::string quoted(std::string_view text) {
  constexpr std::size_t kLongest = 60;
  return "'" + base::printable(text.substr(0, kLongest)) + (text.size() > kLongest ? "..." : "") +
         "'";
}

std::string name_of(std::string_view option, std::string_view spec) {
  constexpr std::size_t kLongest = 80;
  return base::printable(fmt::format("--{} {}", option, spec.substr(0, kLongest)));
}

Result<query::Filter> read_filter(std::string_view text) {
  auto filter = parse_match(text);
  if (!filter) return failure("filter {}: {}", quoted(text), filter.error().text);
  return filter;
}

/// What the separator divides: at most `most` parts, the last of which may contain it.
std::vector<std::string_view> split(std::string_view spec, std::size_t most) {
  std::vector<std::string_view> parts;
  if (spec.empty()) return parts;
  const char separator = spec.front();
  spec.remove_prefix(1);
  while (parts.size() + 1 < most) {
    const auto end = spec.find(separator);
    if (end == spec.npos) break;
    parts.push_back(spec.substr(0, end));
    spec.remove_prefix(end + 1);
  }
  parts.push_back(spec);
  return parts;
}

/// "[/FILTER]/SUBJECT/REPLACEMENT".
Result<Parts> parse_spec(std::string_view spec, std::string_view form) {
  const auto parts = split(spec, 3);
  if (parts.size() < 2)
    return failure("expected {}, whose first character is the separator, found {}", form,
                   quoted(spec));
  auto filter = read_filter(parts.size() == 3 ? parts[0] : std::string_view());
  if (!filter) return filter.error();
  return Parts{std::move(*filter), std::string(parts[parts.size() - 2]), std::string(parts.back())};
}

/// "@PATH" is a file, which must be readable now and is read when it is needed.
Result<Text> read_replacement(const std::string& text, const Places& places) {
  if (!text.starts_with('@')) {
    auto bytes = unescaped(text);
    if (!bytes) return bytes.error();
    return Text{.text = std::move(*bytes)};
  }
  Text file{.file = places.absolute(std::string_view(text).substr(1))};
  if (!places.looks_at_files) return file;
  if (const auto read = control::read(file); !read) return read.error();
  return file;
}

std::optional<int> hex_digit(char c) {
  c = base::lower(c);
  if (base::is_digit(c)) return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return {};
}

/// Python's letters behind a backslash, and what they stand for.
constexpr std::string_view kEscapes = "abfnrtv\\'\"";
constexpr std::string_view kEscaped = "\a\b\f\n\r\t\v\\'\"";

}  // namespace

Result<std::string> unescaped(std::string_view text) {
  std::string bytes;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '\\') {
      bytes += text[i];
      continue;
    }
    if (++i == text.size()) return failure("a backslash at the end is written as \\\\");
    const char c = text[i];
    if (const auto known = kEscapes.find(c); known != kEscapes.npos) {
      bytes += kEscaped[known];
    } else if (c == '\n') {
      continue;
    } else if (c == 'x') {
      const auto high = i + 1 < text.size() ? hex_digit(text[i + 1]) : std::nullopt;
      const auto low = i + 2 < text.size() ? hex_digit(text[i + 2]) : std::nullopt;
      if (!high || !low) return failure("expected two hexadecimal digits behind \\x");
      bytes += static_cast<char>(*high * 16 + *low);
      i += 2;
    } else if (c >= '0' && c <= '7') {
      unsigned value = 0;
      std::size_t digits = 0;
      for (; digits < 3 && i + digits < text.size(); ++digits) {
        const char digit = text[i + digits];
        if (digit < '0' || digit > '7') break;
        value = value * 8 + static_cast<unsigned>(digit - '0');
      }
      bytes += static_cast<char>(value & 0xFFU);
      i += digits - 1;
    } else {
      bytes += {'\\', c};
    }
  }
  return bytes;
}

Result<> add_modify_headers(const std::vector<std::string>& specs, const Places& places,
                            std::vector<Rule>& rules) {
  std::vector<Rule> adding;
  for (const std::string& spec : specs) {
    auto parts = parse_spec(spec, "[/FILTER]/NAME/[@]VALUE");
    if (!parts) return parts.error();
    const auto name = unescaped(parts->subject);
    if (!name) return name.error();
    if (const auto good = check_field_name(*name); !good) return good;
    auto value = read_replacement(parts->replacement, places);
    if (!value) return value.error();
    if (const auto good = check_field_value(value->text); !good) return good;
    const bool adds = !value->text.empty() || !value->file.empty();
    const std::string rule = name_of("modify-headers", spec);
    rules.push_back(
        {.name = rule, .match = parts->filter, .steps = {{Side::both, RemoveField{*name}}}});
    if (adds)
      adding.push_back({.name = rule,
                        .match = std::move(parts->filter),
                        .steps = {{Side::both, AddField{*name, std::move(*value)}}}});
  }
  std::ranges::move(adding, std::back_inserter(rules));
  return {};
}

Result<> add_modify_body(std::string_view spec, const Places& places, std::vector<Rule>& rules) {
  auto parts = parse_spec(spec, "[/FILTER]/REGEX/[@]REPLACEMENT");
  if (!parts) return parts.error();
  const auto expression = unescaped(parts->subject);
  if (!expression) return expression.error();
  auto regex = parse_regex(*expression);
  if (!regex) return regex.error();
  auto with = read_replacement(parts->replacement, places);
  if (!with) return with.error();
  rules.push_back({.name = name_of("modify-body", spec),
                   .match = std::move(parts->filter),
                   .steps = {{Side::both, ReplaceInBody{*regex, std::move(*with)}}}});
  return {};
}

Result<> add_map_local(std::string_view spec, const Places& places, std::vector<Rule>& rules) {
  auto parts = parse_spec(spec, "[/FILTER]/URL-REGEX/PATH");
  if (!parts) return parts.error();
  auto regex = parse_regex(parts->subject);
  if (!regex) return regex.error();
  std::string path = places.absolute(parts->replacement);
  while (path.size() > 1 && path.ends_with('/')) path.pop_back();
  if (places.looks_at_files) {
    if (const auto good = check_mapped(path); !good) return good.error();
  }
  rules.push_back({.name = name_of("map-local", spec),
                   .match = std::move(parts->filter),
                   .steps = {{Side::request, MapLocal{*regex, std::move(path)}}}});
  return {};
}

Result<> add_block_list(std::string_view spec, std::vector<Rule>& rules) {
  constexpr int kDrop = 444;
  const auto parts = split(spec, 2);
  if (parts.size() != 2)
    return failure("expected /FILTER/STATUS, whose first character is the separator, found {}",
                   quoted(spec));
  int status = 0;
  const auto [end, problem] =
      std::from_chars(parts[1].data(), parts[1].data() + parts[1].size(), status);
  const bool known = status == kDrop || (is_answer(status) && !reason_of(status).empty());
  if (problem != std::errc() || end != parts[1].data() + parts[1].size() || !known)
    return failure("expected a status of HTTP, or 444 to drop the connection, found {}",
                   quoted(parts[1]));
  auto filter = read_filter(parts[0]);
  if (!filter) return filter.error();
  Action action = status == kDrop ? Action{Reset{}} : Action{Respond{.status = status}};
  rules.push_back({.name = name_of("block-list", spec),
                   .match = std::move(*filter),
                   .steps = {{Side::request, std::move(action)}}});
  return {};
}

Result<> add_sticky_cookies(std::string_view filter, std::vector<Rule>& rules) {
  auto match = read_filter(filter);
  if (!match) return match.error();
  rules.push_back({.name = name_of("stickycookie", filter),
                   .match = std::move(*match),
                   .steps = {{Side::request, SendCookiesAgain{std::make_shared<CookieJar>()}}}});
  return {};
}

Result<> add_sticky_credentials(std::string_view filter, std::vector<Rule>& rules) {
  auto match = read_filter(filter);
  if (!match) return match.error();
  rules.push_back(
      {.name = name_of("stickyauth", filter),
       .match = std::move(*match),
       .steps = {{Side::request, SendCredentialsAgain{std::make_shared<Credentials>()}}}});
  return {};
}

void add_anticache(std::vector<Rule>& rules) {
  rules.push_back({.name = "--anticache",
                   .match = *query::Filter::parse(""),
                   .steps = {{Side::request, DropConditions{}}}});
}

void add_anticomp(std::vector<Rule>& rules) {
  rules.push_back({.name = "--anticomp",
                   .match = *query::Filter::parse(""),
                   .steps = {{Side::request, AcceptIdentity{}}}});
}

}  // namespace mitm::control
