#include "mitm/cli/rule_schema.h"

namespace mitm::cli {
namespace {

using Json = nlohmann::ordered_json;

Json any_of(std::initializer_list<Json> some) {
  return {{"anyOf", Json(some)}};
}

Json one_or_more(const Json& one) {
  return any_of({one, {{"type", "array"}, {"items", one}, {"minItems", 1}}});
}

Json object(Json properties) {
  return {
      {"type", "object"}, {"additionalProperties", false}, {"properties", std::move(properties)}};
}

Json map_of(const Json& values) {
  return {{"type", "object"}, {"minProperties", 1}, {"additionalProperties", values}};
}

const Json& text() {
  static const Json schema{{"type", "string"}};
  return schema;
}

/// A string, or a file that is read when it is needed.
Json text_or_file() {
  return any_of({text(), object({{"file", text()}})});
}

Json status() {
  return {{"type", "integer"}, {"minimum", 200}, {"maximum", 599}};
}

Json connection_rule() {
  const Json port = any_of({{{"type", "integer"}, {"minimum", 1}, {"maximum", 65535}}, text()});
  Json schema = object({{"process", one_or_more(text())},
                        {"host", one_or_more(text())},
                        {"port", one_or_more(port)},
                        {"network", one_or_more(text())},
                        {"user", {{"type", {"string", "integer"}}, {"minimum", 0}}},
                        {"upstream", text()},
                        {"action", {{"enum", {"intercept", "pass", "block"}}}}});
  schema["required"] = {"action"};
  return schema;
}

Json replacement(const Json& with) {
  return one_or_more(object({{"regex", text()}, {"text", text()}, {"with", with}}));
}

/// Of requests and of responses.
Json common_actions() {
  const Json fields = map_of(one_or_more(text_or_file()));
  return {{"set_header", fields},
          {"add_header", fields},
          {"remove_header", one_or_more(text())},
          {"set_cookie", map_of(text())},
          {"remove_cookie", one_or_more(text())},
          {"body", any_of({text_or_file(), object({{"json", Json::object()}})})},
          {"replace_body", replacement(text_or_file())},
          {"json_patch", {{"type", "array"}, {"minItems", 1}, {"items", {{"type", "object"}}}}},
          {"json_merge", {{"type", "object"}}}};
}

Json answer() {
  return object({{"status", status()},
                 {"reason", text()},
                 {"headers", map_of(one_or_more(text()))},
                 {"body", text()},
                 {"json", Json::object()},
                 {"file", text()},
                 {"directory", text()}});
}

Json request_actions() {
  Json actions = common_actions();
  actions.update({{"method", text()},
                  {"path", {{"type", "string"}, {"pattern", "^/"}}},
                  {"replace_path", replacement(text())},
                  {"set_query", map_of(text())},
                  {"remove_query", one_or_more(text())},
                  {"anticache", {{"const", true}}},
                  {"anticomp", {{"const", true}}},
                  {"delay", text()},
                  {"block", any_of({{{"enum", {true, "reset"}}}, status()})},
                  {"respond", answer()}});
  return actions;
}

Json response_actions() {
  Json actions = common_actions();
  actions["status"] = status();
  return actions;
}

Json message_rule() {
  Json actions = request_actions();
  actions.update(response_actions());
  actions["request"] = object(request_actions());
  actions["response"] = object(response_actions());
  Json properties{{"name", text()},
                  {"enabled", {{"type", "boolean"}}},
                  {"match", {{"type", "string"}, {"description", "a filter of flows"}}},
                  {"times", {{"type", "integer"}, {"minimum", 1}}},
                  {"probability", {{"type", "number"}, {"exclusiveMinimum", 0}, {"maximum", 1}}}};
  Json one = object(actions);
  one["minProperties"] = one["maxProperties"] = 1;
  properties["actions"] = {{"type", "array"}, {"minItems", 1}, {"items", std::move(one)}};
  Json has_action = Json::array();
  has_action.push_back({{"required", {"actions"}}});
  for (const auto& [key, schema] : actions.items()) has_action.push_back({{"required", {key}}});
  properties.update(actions);
  Json rule = object(std::move(properties));
  rule["anyOf"] = std::move(has_action);
  return rule;
}

}  // namespace

Json rule_schema() {
  return any_of({connection_rule(), message_rule()});
}

}  // namespace mitm::cli
