// Answers of our own.
#include <re2/re2.h>

#include "base/ascii.h"
#include "mitm/control/apply.h"

namespace mitm::control {
namespace {

using base::Result;

re2::StringPiece piece(std::string_view text) {
  return {text.data(), text.size()};
}

/// %41 undone.
std::string unquoted(std::string_view text) {
  const auto digit = [](char c) {
    const char l = base::lower(c);
    if (base::is_digit(l)) return l - '0';
    return l >= 'a' && l <= 'f' ? l - 'a' + 10 : -1;
  };
  std::string result;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool escape =
        text[i] == '%' && i + 2 < text.size() && digit(text[i + 1]) >= 0 && digit(text[i + 2]) >= 0;
    result += escape ? static_cast<char>(digit(text[i + 1]) * 16 + digit(text[i + 2])) : text[i];
    if (escape) i += 2;
  }
  return result;
}

/// Odd characters become "_", as mitmproxy's names of saved files have them.
std::string plain_name(const std::string& name) {
  std::string plain = name;
  for (char& c : plain)
    if (!base::is_letter(c) && !base::is_digit(c) &&
        std::string_view("-_.=(),/").find(c) == std::string_view::npos)
      c = '_';
  return plain;
}

/// Whether a name from a URL stays below its directory.
bool is_below(std::string_view name) {
  if (name.find('\0') != name.npos) return false;
  while (!name.empty()) {
    const auto part = name.substr(0, name.find('/'));
    name.remove_prefix(std::min(part.size() + 1, name.size()));
    if (part == "..") return false;
  }
  return true;
}

/// Group 1, or what is behind the match, without its query.
std::string suffix_of(const RE2& regex, const std::string& url) {
  re2::StringPiece groups[2];
  const int count = regex.NumberOfCapturingGroups() > 0 ? 2 : 1;
  if (!regex.Match(piece(url), 0, url.size(), RE2::UNANCHORED, groups, count)) return {};
  if (count == 2) return std::string(groups[1]);
  std::string_view rest = std::string_view(url).substr(
      static_cast<std::size_t>(groups[0].data() - url.data()) + groups[0].size());
  rest = rest.substr(0, rest.find('?'));
  return std::string(base::trimmed(rest, "/"));
}

Result<Outcome::Answer> file_answer(const std::string& path) {
  auto body = read_regular_file(path);
  if (!body) return body.error();
  Outcome::Answer answer{.status = 200, .reason = "OK", .fields = {}, .body = std::move(*body)};
  if (const auto type = content_type_of(path); !type.empty())
    answer.fields.add("Content-Type", type);
  return answer;
}

}  // namespace

Outcome::Answer empty_answer(int status) {
  return {.status = status, .reason = reason_of(status), .fields = {}, .body = {}};
}

bool is_mapped(const MapLocal& action, const std::string& url) {
  return RE2::PartialMatch(piece(url), *action.regex);
}

std::vector<std::string> candidates(const MapLocal& action, const std::string& url) {
  if (is_regular_file(action.path)) return {action.path};
  const std::string suffix = unquoted(suffix_of(*action.regex, url));
  if (suffix.empty()) return {action.path + "/index.html"};
  if (!is_below(suffix)) return {};
  std::vector<std::string> paths;
  const auto add = [&](const std::string& name) {
    paths.push_back(action.path + "/" + name);
    paths.push_back(action.path + "/" + name + "/index.html");
  };
  add(suffix);
  if (const std::string plain = plain_name(suffix); plain != suffix) add(plain);
  return paths;
}

Result<> apply(const Respond& action, const Message& /*message*/, Outcome& outcome) {
  auto body = read(action.body);
  if (!body) {
    outcome.answer = empty_answer(502);
    return body.error();
  }
  Outcome::Answer answer{.status = action.status,
                         .reason = action.reason.empty() ? reason_of(action.status) : action.reason,
                         .fields = {},
                         .body = std::move(*body)};
  for (const auto& [name, value] : action.fields) answer.fields.add(name, value);
  if (!action.type.empty() && answer.fields.find("content-type").empty())
    answer.fields.add("Content-Type", action.type);
  outcome.answer = std::move(answer);
  return {};
}

Result<> apply(const MapLocal& action, const Message& message, Outcome& outcome) {
  const std::string& url = message.flow().url;
  if (!is_mapped(action, url)) return {};
  const auto paths = candidates(action, url);
  for (const std::string& path : paths) {
    if (!is_regular_file(path)) continue;
    auto answer = file_answer(path);
    outcome.answer = answer ? std::move(*answer) : empty_answer(404);
    return answer ? Result<>{} : Result<>{answer.error()};
  }
  outcome.not_found = outcome.not_found || !paths.empty();
  return {};
}

}  // namespace mitm::control
