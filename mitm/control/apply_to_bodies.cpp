// Actions on bodies.
#include <re2/re2.h>

#include "mitm/control/apply.h"

namespace mitm::control {
namespace {

using base::Result;
using nlohmann::json;

constexpr auto kDeepest = 200;

re2::StringPiece piece(std::string_view text) {
  return {text.data(), text.size()};
}

/// Every match of `regex` becomes `with` as it is.
std::string replaced_literally(const std::string& text, const RE2& regex, std::string_view with) {
  std::string result;
  std::size_t at = 0;
  re2::StringPiece match;
  while (at <= text.size() &&
         regex.Match(piece(text), at, text.size(), RE2::UNANCHORED, &match, 1)) {
    const auto begin = static_cast<std::size_t>(match.data() - text.data());
    result.append(text, at, begin - at).append(with);
    at = begin + match.size();
    if (!match.empty()) continue;
    if (at < text.size()) result += text[at];
    ++at;
  }
  if (at < text.size()) result.append(text, at);
  return result;
}

bool is_too_deep(std::string_view text) {
  int depth = 0;
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string && c == '\\') {
      ++i;
    } else if (c == '"') {
      in_string = !in_string;
    } else if (!in_string && (c == '{' || c == '[')) {
      if (++depth > kDeepest) return true;
    } else if (!in_string && (c == '}' || c == ']')) {
      --depth;
    }
  }
  return false;
}

Result<json> document_of(Message& message) {
  const auto body = message.body();
  if (!body) return body.error();
  if (is_too_deep(**body)) return base::failure("its JSON is nested more than {} deep", kDeepest);
  json document = json::parse(**body, nullptr, false);
  if (document.is_discarded()) return base::failure("it is not JSON");
  return document;
}

void set_document(const json& changed, const json& came, Message& message) {
  if (changed != came)
    message.set_body(changed.dump(-1, ' ', false, json::error_handler_t::replace));
}

}  // namespace

Result<> apply(const SetBody& action, Message& message) {
  if (const auto whole = message.check_whole(); !whole) return whole.error();
  auto body = read(action.body);
  if (!body) return body.error();
  message.set_body(std::move(*body));
  if (action.type.empty()) return {};
  http::Fields fields = message.fields();
  fields.set("Content-Type", action.type);
  message.set_fields(std::move(fields));
  return {};
}

Result<> apply(const ReplaceInBody& action, Message& message) {
  const auto body = message.body();
  if (!body) return body.error();
  const auto with = read(action.with);
  if (!with) return with.error();
  std::string changed;
  if (action.groups) {
    changed = **body;
    RE2::GlobalReplace(&changed, *action.regex, piece(*with));
  } else {
    changed = replaced_literally(**body, *action.regex, *with);
  }
  message.set_body(std::move(changed));
  return {};
}

Result<> apply(const PatchJson& action, Message& message) {
  const auto came = document_of(message);
  if (!came) return came.error();
  try {
    set_document(came->patch(action.operations), *came, message);
  } catch (const json::exception& error) {
    const std::string_view text = error.what();  // "[json.exception.out_of_range.403] key ..."
    return base::failure("the JSON patch does not fit: {}",
                         text.substr(std::min(text.find("] ") + 2, text.size())));
  }
  return {};
}

Result<> apply(const MergeJson& action, Message& message) {
  const auto came = document_of(message);
  if (!came) return came.error();
  json changed = *came;
  changed.merge_patch(action.patch);
  set_document(changed, *came, message);
  return {};
}

}  // namespace mitm::control
