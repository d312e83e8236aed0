// conf/osproxy.json and conf/osproxy.schema.json. Tests compare the files with this.
#include "mitm/cli/generate.h"

#include <charconv>

#include "mitm/cli/options.h"

namespace mitm::cli {
namespace {

using Json = nlohmann::ordered_json;

Json default_of(const Option& option) {
  if (option.kind == Kind::flag) return false;
  if (option.kind == Kind::objects) return Json::array();
  const std::string text(option.default_text);
  if (option.kind == Kind::number) return std::stoll(text);
  return text;
}

Json strings_or_one(Json one) {
  return {{"anyOf", Json::array({one, {{"type", "array"}, {"items", one}, {"minItems", 1}}})}};
}

Json rule_schema() {
  const Json text{{"type", "string"}};
  const Json port{
      {"anyOf", Json::array({{{"type", "integer"}, {"minimum", 1}, {"maximum", 65535}}, text})}};
  Json properties{{"process", strings_or_one(text)},
                  {"host", strings_or_one(text)},
                  {"port", strings_or_one(port)},
                  {"network", strings_or_one(text)},
                  {"user", {{"type", {"string", "integer"}}, {"minimum", 0}}},
                  {"upstream", text},
                  {"action", {{"enum", {"intercept", "pass", "block"}}}}};
  return {{"type", "object"},
          {"additionalProperties", false},
          {"required", {"action"}},
          {"properties", std::move(properties)}};
}

Json client_cert_schema() {
  const Json text{{"type", "string"}};
  return {{"type", "object"},
          {"additionalProperties", false},
          {"required", {"host", "cert"}},
          {"properties", {{"host", text}, {"cert", text}, {"key", text}}}};
}

Json text_schema(const Option& option) {
  if (!option.takes_numbers()) return {{"type", "string"}};
  return {
      {"type", {"string", "integer"}}, {"minimum", option.smallest}, {"maximum", option.largest}};
}

Json choices_of(std::string_view choices) {
  Json list = Json::array();
  while (!choices.empty()) {
    const auto bar = std::min(choices.find('|'), choices.size());
    list.push_back(std::string(choices.substr(0, bar)));
    choices.remove_prefix(std::min(bar + 1, choices.size()));
  }
  return list;
}

Json value_schema(const Option& option) {
  switch (option.kind) {
    case Kind::flag:
      return {{"type", "boolean"}};
    case Kind::number:
      return {{"type", "integer"}, {"minimum", option.smallest}, {"maximum", option.largest}};
    case Kind::list:
      return strings_or_one(text_schema(option));
    case Kind::objects:
      return {{"type", "array"},
              {"items", option.name == "rules" ? rule_schema() : client_cert_schema()}};
    case Kind::text:
      break;
  }
  return option.choices.empty() ? text_schema(option) : Json{{"enum", choices_of(option.choices)}};
}

}  // namespace

std::string sample_config() {
  Json sample{{"$schema", "./osproxy.schema.json"}};
  for (const auto& option : option_table()) {
    if (!option.in_config) continue;
    if (option.name == "filter") {
      sample["filter"] = "";
    } else if (option.name == "rules") {
      sample["rules"] = Json::array(
          {{{"host", Json::array({"*.bank.example", "login.example.org"})}, {"action", "pass"}},
           {{"process", "=wget"}, {"port", 8080}, {"action", "block"}}});
    } else if (option.kind == Kind::flag || !option.default_text.empty()) {
      sample[std::string(option.name)] = default_of(option);
    }
  }
  return sample.dump(2) + "\n";
}

std::string config_schema() {
  Json properties{{"$schema", {{"type", "string"}}}};
  for (const auto& option : option_table()) {
    if (!option.in_config) continue;
    Json schema = value_schema(option);
    schema["description"] = option.help;
    if (option.kind == Kind::flag || !option.default_text.empty())
      schema["default"] = default_of(option);
    properties[std::string(option.name)] = std::move(schema);
  }
  const Json schema{{"$schema", "https://json-schema.org/draft/2020-12/schema"},
                    {"title", "osproxy configuration"},
                    {"type", "object"},
                    {"additionalProperties", false},
                    {"properties", std::move(properties)}};
  return schema.dump(2) + "\n";
}

}  // namespace mitm::cli
