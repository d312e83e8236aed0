// conf/osproxy.json and conf/osproxy.schema.json. Tests compare the files with this.
#include "mitm/cli/generate.h"

#include "mitm/cli/options.h"
#include "mitm/cli/rule_schema.h"

namespace mitm::cli {
namespace {

using Json = nlohmann::ordered_json;

Json strings_or_one(Json one) {
  return {{"anyOf", Json::array({one, {{"type", "array"}, {"items", one}, {"minItems", 1}}})}};
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
  return {{"type", {"string", "integer"}},
          {"minimum", option.type.smallest},
          {"maximum", option.type.largest}};
}

Json value_schema(const Option& option) {
  switch (option.type.kind) {
    case Kind::flag:
      return {{"type", "boolean"}};
    case Kind::number:
      return {
          {"type", "integer"}, {"minimum", option.type.smallest}, {"maximum", option.type.largest}};
    case Kind::list:
      return strings_or_one(text_schema(option));
    case Kind::objects:
      return {{"type", "array"},
              {"items", option.name == "rules" ? rule_schema() : client_cert_schema()}};
    case Kind::text:
      break;
  }
  return option.type.choices.empty() ? text_schema(option) : Json{{"enum", option.type.choices}};
}

}  // namespace

std::string sample_config() {
  Json sample{{"$schema", "./osproxy.schema.json"}};
  for (const auto& option : option_table()) {
    if (!option.in_config()) continue;
    if (option.name == "filter") {
      sample["filter"] = "";
    } else if (option.name == "rules") {
      sample["rules"] = Json::array(
          {{{"host", Json::array({"*.bank.example", "login.example.org"})}, {"action", "pass"}},
           {{"process", "=wget"}, {"port", 8080}, {"action", "block"}},
           {{"name", "mark requests"},
            {"match", "~d api.example.org"},
            {"request", {{"set_header", {{"X-Test", "1"}}}}}}});
    } else if (const auto value = default_of(option); !value.is_null()) {
      sample[std::string(option.name)] = value;
    }
  }
  return sample.dump(2) + "\n";
}

std::string config_schema() {
  Json properties{{"$schema", {{"type", "string"}}}};
  for (const auto& option : option_table()) {
    if (!option.in_config()) continue;
    Json schema = value_schema(option);
    schema["description"] = option.help;
    if (const auto value = default_of(option); !value.is_null()) schema["default"] = value;
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
