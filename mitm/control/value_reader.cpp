// One reader for each key; the table is at the end.
#include "mitm/control/value_reader.h"

#include <algorithm>

#include <re2/re2.h>

#include "base/text.h"
#include "mitm/control/answer_reader.h"

namespace mitm::control {
namespace {

using base::failure;
using base::Result;
using nlohmann::json;
using Actions = Result<std::vector<Action>>;

/// A string, or {"file": PATH}.
Result<Text> read_text(const json& value, const Places& places) {
  if (value.is_string()) return Text{.text = value.get<std::string>()};
  if (value.is_object() && value.size() == 1 && value.contains("file") &&
      value["file"].is_string() && !value["file"].get_ref<const std::string&>().empty())
    return Text{.file = places.absolute(value["file"].get_ref<const std::string&>())};
  return unexpected(R"(a string or {"file": PATH})", value);
}

Result<Text> read_field_value(const json& value, const Places& places) {
  auto text = read_text(value, places);
  if (!text) return text;
  if (const auto good = check_field_value(text->text); !good) return good.error();
  return text;
}

/// Calls `make(name, value)` for each member of an object, which has at least one.
template <class Make>
Actions each_member(const json& value, std::string_view expected, const Make& make) {
  if (!value.is_object() || value.empty()) return unexpected(expected, value);
  std::vector<Action> actions;
  for (const auto& [name, one] : value.items()) {
    auto made = make(name, one, actions);
    if (!made) return failure("{}: {}", base::printable(name.substr(0, 40)), made.error().text);
  }
  return actions;
}

/// Likewise for a string or each of a list of them.
template <class Make>
Actions each_string(const json& value, std::string_view expected, const Make& make) {
  const json list = value.is_array() ? value : json::array({value});
  const auto is_name = [](const json& one) { return one.is_string() && one != ""; };
  if (list.empty() || !std::ranges::all_of(list, is_name)) return unexpected(expected, value);
  std::vector<Action> actions;
  for (const json& one : list) {
    auto action = make(one.get_ref<const std::string&>());
    if (!action) return action.error();
    actions.push_back(std::move(*action));
  }
  return actions;
}

constexpr std::string_view kFields = R"(an object of header fields: {"NAME": "VALUE"})";
constexpr std::string_view kNames = "a name or a list of names";

Actions read_set_header(const json& value, const Places& places) {
  return each_member(
      value, kFields,
      [&](const std::string& name, const json& one, std::vector<Action>& actions) -> Result<> {
        if (const auto good = check_field_name(name); !good) return good;
        if (one.is_null()) return failure("a value is needed; remove_header removes the field");
        SetField field{name, {}};
        for (const json& each : one.is_array() ? one : json::array({one})) {
          auto text = read_field_value(each, places);
          if (!text) return text.error();
          field.values.push_back(std::move(*text));
        }
        if (field.values.empty()) return unexpected("at least one value", one);
        actions.emplace_back(std::move(field));
        return {};
      });
}

Actions read_add_header(const json& value, const Places& places) {
  return each_member(
      value, kFields,
      [&](const std::string& name, const json& one, std::vector<Action>& actions) -> Result<> {
        if (const auto good = check_field_name(name); !good) return good;
        if (one.is_array() && one.empty()) return unexpected("at least one value", one);
        for (const json& each : one.is_array() ? one : json::array({one})) {
          auto text = read_field_value(each, places);
          if (!text) return text.error();
          actions.emplace_back(AddField{name, std::move(*text)});
        }
        return {};
      });
}

Actions read_remove_header(const json& value, const Places&) {
  return each_string(value, kNames, [](const std::string& name) -> Result<Action> {
    if (const auto good = check_field_name(name); !good) return good.error();
    return Action{RemoveField{name}};
  });
}

/// RFC 6265: a cookie's name is a token. In a response attributes may follow its value.
Actions read_set_cookie(const json& value, const Places&) {
  return each_member(
      value, R"(an object of cookies: {"NAME": "VALUE"})",
      [](const std::string& name, const json& one, std::vector<Action>& actions) -> Result<> {
        if (const auto good = check_field_name(name); !good) return good;
        if (!one.is_string()) return unexpected("a string", one);
        if (const auto good = check_field_value(one.get_ref<const std::string&>()); !good)
          return good;
        actions.emplace_back(SetCookie{name, one.get<std::string>()});
        return {};
      });
}

Actions read_remove_cookie(const json& value, const Places&) {
  return each_string(value, kNames, [](const std::string& name) -> Result<Action> {
    return Action{RemoveCookie{name}};
  });
}

Actions read_set_query(const json& value, const Places&) {
  return each_member(
      value, R"(an object of parameters: {"NAME": "VALUE"})",
      [](const std::string& name, const json& one, std::vector<Action>& actions) -> Result<> {
        if (!one.is_string()) return unexpected("a string", one);
        actions.emplace_back(SetParameter{name, one.get<std::string>()});
        return {};
      });
}

Actions read_remove_query(const json& value, const Places&) {
  return each_string(value, kNames, [](const std::string& name) -> Result<Action> {
    return Action{RemoveParameter{name}};
  });
}

/// The answers to CONNECT and HEAD end elsewhere than others do.
Actions read_method(const json& value, const Places&) {
  if (value == "HEAD")
    return failure("HEAD is not possible: its answer has no body, and the program waits for one");
  const bool good = value.is_string() && value != "" && value != "CONNECT" &&
                    check_field_name(value.get_ref<const std::string&>());
  if (!good) return unexpected("a method such as GET", value);
  return std::vector<Action>{SetMethod{value.get<std::string>()}};
}

Actions read_path(const json& value, const Places&) {
  if (!value.is_string() || !value.get_ref<const std::string&>().starts_with('/'))
    return unexpected("a path that begins with /, with its query", value);
  return std::vector<Action>{SetPath{value.get<std::string>()}};
}

/// Another server needs another connection.
Actions refuse_other_server(const json&, const Places&) {
  return failure(
      "a request cannot be sent to another server yet; path and replace_path change what its own "
      "server is asked for");
}

/// What is looked for: {"regex": ...} or {"text": ...}, and "with".
struct Replacement {
  Regex regex;
  json with;
  bool groups = false;
};
Result<Replacement> read_replacement(const json& value) {
  constexpr std::string_view kExpected =
      R"({"regex": EXPRESSION, "with": TEXT} or {"text": TEXT, "with": TEXT})";
  if (!value.is_object()) return unexpected(kExpected, value);
  for (const auto& [key, one] : value.items()) {
    if (key != "regex" && key != "text" && key != "with")
      return failure("'{}': {}", base::printable(key.substr(0, 40)),
                     unknown_key(key, {"regex", "text", "with"}));
  }
  const bool is_regex = value.contains("regex");
  if (is_regex == value.contains("text") || !value.contains("with"))
    return unexpected(kExpected, value);
  const json& what = value[is_regex ? "regex" : "text"];
  if (!what.is_string() || what == "") return unexpected(kExpected, value);
  const auto& text = what.get_ref<const std::string&>();
  auto regex = parse_regex(is_regex ? text : RE2::QuoteMeta(text));
  if (!regex) return regex.error();
  return Replacement{std::move(*regex), value["with"], is_regex};
}

Result<> check_groups(const RE2& regex, const std::string& with) {
  std::string problem;
  if (!regex.CheckRewriteString(re2::StringPiece(with.data(), with.size()), &problem))
    return failure("with: {} (a backslash is written as \\\\)", problem);
  return {};
}

Actions read_replace_path(const json& value, const Places&) {
  std::vector<Action> actions;
  for (const json& one : value.is_array() ? value : json::array({value})) {
    auto read = read_replacement(one);
    if (!read) return read.error();
    if (!read->with.is_string()) return unexpected("a string as with", read->with);
    std::string with = read->with.get<std::string>();
    if (!read->groups) {
      for (std::size_t i = 0; (i = with.find('\\', i)) != with.npos; i += 2) with.insert(i, "\\");
    }
    if (const auto good = check_groups(*read->regex, with); !good) return good.error();
    actions.emplace_back(ReplaceInPath{std::move(read->regex), std::move(with)});
  }
  if (actions.empty()) return unexpected("at least one replacement", value);
  return actions;
}

Actions read_replace_body(const json& value, const Places& places) {
  std::vector<Action> actions;
  for (const json& one : value.is_array() ? value : json::array({value})) {
    auto read = read_replacement(one);
    if (!read) return read.error();
    auto with = read_text(read->with, places);
    if (!with) return failure("with: {}", with.error().text);
    if (read->groups && with->file.empty()) {
      if (const auto good = check_groups(*read->regex, with->text); !good) return good.error();
    }
    const bool groups = read->groups && with->file.empty();
    actions.emplace_back(ReplaceInBody{std::move(read->regex), std::move(*with), groups});
  }
  if (actions.empty()) return unexpected("at least one replacement", value);
  return actions;
}

/// A text, a file, or {"json": anything}.
Actions read_body(const json& value, const Places& places) {
  if (value.is_object() && value.size() == 1 && value.contains("json"))
    return std::vector<Action>{SetBody{{.text = value["json"].dump()}, "application/json"}};
  auto text = read_text(value, places);
  if (!text) return unexpected(R"(a string, {"file": PATH} or {"json": VALUE})", value);
  const std::string type(content_type_of(text->file));
  return std::vector<Action>{SetBody{std::move(*text), type}};
}

/// Its form is checked on what no operation fits.
Actions read_json_patch(const json& value, const Places&) {
  constexpr std::string_view kExpected =
      R"(a list of operations (RFC 6902): {"op": "replace", "path": "/a", "value": 1})";
  if (!value.is_array() || value.empty()) return unexpected(kExpected, value);
  for (const json& operation : value) {
    try {
      (void)json::object().patch(json::array({operation}));
    } catch (const json::parse_error& error) {
      const std::string_view text = error.what();
      return failure("expected {}: {}", kExpected,
                     text.substr(std::min(text.rfind(": ") + 2, text.size())));
    } catch (const json::exception&) {
      // It does not fit an empty object.
    }
  }
  return std::vector<Action>{PatchJson{value}};
}

Actions read_json_merge(const json& value, const Places&) {
  if (!value.is_object()) return unexpected("an object (RFC 7396)", value);
  return std::vector<Action>{MergeJson{value}};
}

Actions read_status(const json& value, const Places&) {
  const auto status = read_status_number(value);
  if (!status) return status.error();
  return std::vector<Action>{SetStatus{*status, {}}};
}

template <class One>
Actions read_flag(const json& value, const Places&) {
  if (value != true) return unexpected("true", value);
  return std::vector<Action>{One{}};
}

Actions read_delay(const json& value, const Places&) {
  if (!value.is_string()) return unexpected("a time such as \"300ms\" or \"2s\"", value);
  const auto time = parse_delay(value.get_ref<const std::string&>());
  if (!time) return time.error();
  return std::vector<Action>{Delay{*time}};
}

constexpr ActionKey kActions[] = {
    {"delay", Side::request, read_delay},
    {"block", Side::request, read_block},
    {"anticache", Side::request, read_flag<DropConditions>},
    {"anticomp", Side::request, read_flag<AcceptIdentity>},
    {"method", Side::request, read_method},
    {"path", Side::request, read_path},
    {"replace_path", Side::request, read_replace_path},
    {"url", Side::request, refuse_other_server},
    {"redirect", Side::request, refuse_other_server},
    {"remove_query", Side::request, read_remove_query},
    {"set_query", Side::request, read_set_query},
    {"status", Side::response, read_status},
    {"remove_header", Side::both, read_remove_header},
    {"set_header", Side::both, read_set_header},
    {"add_header", Side::both, read_add_header},
    {"remove_cookie", Side::both, read_remove_cookie},
    {"set_cookie", Side::both, read_set_cookie},
    {"body", Side::both, read_body},
    {"replace_body", Side::both, read_replace_body},
    {"json_patch", Side::both, read_json_patch},
    {"json_merge", Side::both, read_json_merge},
    {"respond", Side::request, read_respond},
};

}  // namespace

std::span<const ActionKey> action_keys() {
  return kActions;
}

}  // namespace mitm::control
