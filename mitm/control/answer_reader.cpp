#include "mitm/control/answer_reader.h"

#include <algorithm>
#include <array>

#include "base/ascii.h"
#include "base/text.h"
#include "mitm/control/value_check.h"

namespace mitm::control {
namespace {

using base::failure;
using base::Result;
using nlohmann::json;
using Actions = Result<std::vector<Action>>;

/// A greater number would wrap round in an int.
bool is_status(const json& value) {
  return value.is_number_integer() && value >= 200 && value <= 599 && is_answer(value.get<int>());
}

constexpr std::string_view kFields = R"(an object of header fields: {"NAME": "VALUE"})";

Result<> add_answer_fields(const json& value, Respond& respond) {
  if (!value.is_object()) return unexpected(kFields, value);
  for (const auto& [name, list] : value.items()) {
    if (const auto good = check_field_name(name); !good) return good;
    for (const json& one : list.is_array() ? list : json::array({list})) {
      if (!one.is_string()) return unexpected("a string", one);
      if (const auto good = check_field_value(one.get_ref<const std::string&>()); !good)
        return good;
      respond.fields.emplace_back(name, base::trimmed(one.get_ref<const std::string&>()));
    }
  }
  return {};
}

Result<> add_answer_body(const std::string& key, const json& value, const Places& places,
                         Respond& respond) {
  if (key == "json") {
    respond.body.text = value.dump();
    respond.type = "application/json";
    return {};
  }
  if (!value.is_string()) return unexpected("a string", value);
  if (key == "body") {
    respond.body.text = value.get<std::string>();
    if (!respond.body.text.empty()) respond.type = "text/plain; charset=utf-8";
    return {};
  }
  respond.body.file = places.absolute(value.get_ref<const std::string&>());
  respond.type = content_type_of(respond.body.file);
  return {};
}

constexpr std::array<std::string_view, 7> kAnswerKeys{"status", "reason", "headers",  "body",
                                                      "json",   "file",   "directory"};

/// A directory: what follows the path of the URL is looked for in it.
Actions map_directory(const json& value, const Places& places) {
  if (value.size() != 1)
    return failure("directory stands alone: the files in it decide on status and body");
  if (!value["directory"].is_string()) return unexpected("a path", value["directory"]);
  auto regex = parse_regex("^[^:/]+://[^/?]*");
  if (!regex) return regex.error();
  return std::vector<Action>{
      MapLocal{*regex, places.absolute(value["directory"].get_ref<const std::string&>())}};
}

}  // namespace

Result<int> read_status_number(const json& value) {
  if (!is_status(value)) return unexpected("a status from 200 to 599", value);
  return value.get<int>();
}

Actions read_respond(const json& value, const Places& places) {
  if (!value.is_object())
    return unexpected(R"(an object such as {"status": 200, "body": "hello"})", value);
  for (const auto& [key, one] : value.items()) {
    if (std::ranges::find(kAnswerKeys, key) == kAnswerKeys.end())
      return failure("'{}': {}", base::printable(key.substr(0, 40)),
                     unknown_key(key, {kAnswerKeys.begin(), kAnswerKeys.end()}));
  }
  if (value.contains("directory")) return map_directory(value, places);
  Respond respond;
  if (value.contains("status")) {
    const auto status = read_status_number(value["status"]);
    if (!status) return failure("status: {}", status.error().text);
    respond.status = *status;
  }
  if (value.contains("reason")) {
    if (!value["reason"].is_string()) return unexpected("a string as reason", value["reason"]);
    respond.reason = value["reason"].get<std::string>();
    if (const auto good = check_field_value(respond.reason); !good) return good.error();
  }
  int bodies = 0;
  for (const char* const key : {"body", "json", "file"}) {
    if (!value.contains(key)) continue;
    ++bodies;
    const auto read = add_answer_body(key, value[key], places, respond);
    if (!read) return failure("{}: {}", key, read.error().text);
  }
  if (bodies > 1) return failure("one of body, json and file is possible, not several");
  if (value.contains("headers")) {
    const auto read = add_answer_fields(value["headers"], respond);
    if (!read) return failure("headers: {}", read.error().text);
  }
  return std::vector<Action>{std::move(respond)};
}

/// true and "reset": nothing is answered. A status: an empty answer.
Actions read_block(const json& value, const Places&) {
  if (value == true || value == "reset") return std::vector<Action>{Reset{}};
  if (!is_status(value)) return unexpected("true, \"reset\" or a status from 200 to 599", value);
  return std::vector<Action>{Respond{.status = value.get<int>()}};
}

}  // namespace mitm::control
