// Actions on bodies.
#include <optional>
#include <vector>

#include <re2/re2.h>

#include "base/text.h"
#include "mitm/control/apply.h"

namespace mitm::control {
namespace {

using base::Result;
using nlohmann::json;

constexpr std::size_t kDeepest = 200;

re2::StringPiece piece(std::string_view text) {
  return {text.data(), text.size()};
}

/// Appends the character of `text` at `at`, and returns where the next one begins.
std::size_t copy_character(const std::string& text, std::size_t at, bool utf8, std::string& to) {
  do {
    if (at < text.size()) to += text[at];
    ++at;
  } while (utf8 && at < text.size() && (static_cast<unsigned char>(text[at]) & 0xC0U) == 0x80U);
  return at;
}

/// What takes the place of matches.
class Replacement {
 public:
  /// `groups`: whether \1 in `with` is the first group of `regex`.
  Replacement(const RE2& regex, std::string_view with, bool groups)
      : regex_(regex), with_(with), groups_(groups ? 1 + RE2::MaxSubmatch(piece(with)) : 1) {
    is_rewritten_ = groups;
  }

  /// `text` with every match replaced. Empty: it would be longer than kLargestBody. Behind a match
  /// an empty one counts (Python's rule), but not with groups (RE2's).
  [[nodiscard]] std::optional<std::string> in(const std::string& text) {
    const bool utf8 = regex_.options().encoding() == RE2::Options::EncodingUTF8;
    std::string result;
    std::size_t at = 0;
    auto last = std::string::npos;
    const auto count = static_cast<int>(groups_.size());
    while (at <= text.size() &&
           regex_.Match(piece(text), at, text.size(), RE2::UNANCHORED, groups_.data(), count)) {
      const re2::StringPiece match = groups_.front();
      const auto begin = static_cast<std::size_t>(match.data() - text.data());
      result.append(text, at, begin - at);
      const bool counts = !is_rewritten_ || !match.empty() || begin != last;
      if (counts) append_to(result);
      last = at = begin + match.size();
      if (match.empty()) at = copy_character(text, at, utf8, result);
      if (result.size() > kLargestBody) return {};
    }
    if (at < text.size()) result.append(text, at);
    if (result.size() > kLargestBody) return {};
    return result;
  }

 private:
  void append_to(std::string& result) {
    if (is_rewritten_) {
      regex_.Rewrite(&result, piece(with_), groups_.data(), static_cast<int>(groups_.size()));
    } else {
      result.append(with_);
    }
  }

  const RE2& regex_;
  std::string_view with_;
  std::vector<re2::StringPiece> groups_;
  bool is_rewritten_ = false;
};

/// What is known of a JSON text before it is parsed.
struct Shape {
  bool is_too_deep = false;
  /// Comparisons of names that an object in the order of its text takes, whose members are looked
  /// for one after the other.
  std::uint64_t comparisons = 0;
};

Shape shape_of(std::string_view text) {
  Shape shape;
  std::vector<std::uint64_t> commas;  // of each container around
  bool in_string = false;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string && c == '\\') {
      ++i;
    } else if (c == '"') {
      in_string = !in_string;
    } else if (in_string) {
      continue;
    } else if (c == '{' || c == '[') {
      commas.push_back(0);
      shape.is_too_deep = shape.is_too_deep || commas.size() > kDeepest;
    } else if (c == ',' && !commas.empty()) {
      ++commas.back();
    } else if ((c == '}' || c == ']') && !commas.empty()) {
      if (c == '}') shape.comparisons += commas.back() * commas.back() / 2;
      commas.pop_back();
    }
    if (shape.is_too_deep) return shape;
  }
  return shape;
}

/// RFC 6902 adds members to objects and elements to arrays; nlohmann's library takes for granted
/// that the place is in one of them.
template <class Json>
Result<> check_place(const Json& document, const json& operation) {
  const auto& op = operation["op"].get_ref<const std::string&>();
  if (op != "add" && op != "copy" && op != "move") return {};
  const typename Json::json_pointer place{operation["path"].get_ref<const std::string&>()};
  if (place.empty()) return {};
  const Json& parent = document.at(place.parent_pointer());
  if (parent.is_structured() || parent.is_null()) return {};
  return base::failure("there is no object or array at '{}'",
                       base::printable(place.parent_pointer().to_string()));
}

template <class Json>
Result<> change(Json& document, const PatchJson& action) {
  try {
    for (const json& operation : action.operations) {
      if (const auto good = check_place(document, operation); !good)
        return base::failure("the JSON patch does not fit: {}", good.error().text);
      document.patch_inplace(Json::array({Json(operation)}));
    }
  } catch (const json::exception& error) {
    const std::string_view text = error.what();  // "[json.exception.out_of_range.403] key ..."
    return base::failure("the JSON patch does not fit: {}",
                         text.substr(std::min(text.find("] ") + 2, text.size())));
  }
  return {};
}

template <class Json>
Result<> change(Json& document, const MergeJson& action) {
  document.merge_patch(Json(action.patch));
  return {};
}

template <class Json, class Action>
Result<> change_body(const std::string& body, const Action& action, Message& message) {
  const Json came = Json::parse(body, nullptr, false);
  if (came.is_discarded()) return base::failure("it is not JSON");
  Json changed = came;
  if (const auto done = change(changed, action); !done) return done;
  if (changed != came)
    message.set_body(changed.dump(-1, ' ', false, Json::error_handler_t::replace));
  return {};
}

/// Members keep their order, unless a great object makes that expensive.
template <class Action>
Result<> change_json(const Action& action, Message& message) {
  constexpr std::uint64_t kMostComparisons = 20'000'000;
  const auto body = message.body();
  if (!body) return body.error();
  const Shape shape = shape_of(**body);
  if (shape.is_too_deep) return base::failure("its JSON is nested more than {} deep", kDeepest);
  return shape.comparisons > kMostComparisons
             ? change_body<json>(**body, action, message)
             : change_body<nlohmann::ordered_json>(**body, action, message);
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
  auto changed = Replacement(*action.regex, *with, action.groups).in(**body);
  if (!changed) return base::failure("the result would be longer than {} MiB", kLargestBody >> 20);
  message.set_body(std::move(*changed));
  return {};
}

Result<> apply(const PatchJson& action, Message& message) {
  return change_json(action, message);
}

Result<> apply(const MergeJson& action, Message& message) {
  return change_json(action, message);
}

}  // namespace mitm::control
