// What is inside of bodies.
#include <array>

#include "mitm/query/field.h"
#include "mitm/query/json_document.h"
#include "mitm/query/subject.h"

namespace mitm::query {
namespace {

using enum Columns::Table;
using enum ValueType;
using flow::Direction;

constexpr std::string_view kMayHaveRequest =
    "(flow.request_body IS NOT NULL OR ifnull(flow.messages, 1) > 0 OR flow.type = 'dns')";
constexpr std::string_view kMayHaveResponse =
    "(flow.response_body IS NOT NULL OR ifnull(flow.messages, 1) > 0 OR flow.type = 'dns')";
constexpr std::string_view kMayHaveEither =
    "(flow.request_body IS NOT NULL OR flow.response_body IS NOT NULL"
    " OR ifnull(flow.messages, 1) > 0 OR flow.type = 'dns')";

void add_body(Subject& it, Direction direction, Values& values) {
  values.known(it.body(direction));
  if (!values.decided()) values.known(it.converted_body(direction));
}

void add_messages(const Subject& it, Direction direction, Values& values) {
  for (const auto& message : it.flow.messages) {
    if (values.decided()) return;
    if (message->direction == direction) values.known(message->what.payload);
  }
}

void add_dns(const flow::DnsFlow& dns, Direction direction, Values& values) {
  if (direction == Direction::request) return values.known(dns.name);
  for (const auto& answer : dns.answers) {
    values.known(answer.name);
    values.known(answer.data);
  }
}

template <Direction... directions>
void bodies(Subject& it, const Test&, Values& values) {
  if (it.http != nullptr) (add_body(it, directions, values), ...);
  if (it.dns != nullptr) (add_dns(*it.dns, directions, values), ...);
  (add_messages(it, directions, values), ...);
}

/// Numbers are compared as such, and searched as text.
void add_json(const nlohmann::json& value, const Predicate& predicate, Values& values) {
  if (value.is_string()) {
    values.text(value.get_ref<const std::string&>());
  } else if (value.is_number() && !predicate.regex) {
    values.number(value.get<double>());
  } else {
    values.text(value.dump());
  }
}

void json_values(Subject& it, const Test& test, Values& values) {
  if (it.http == nullptr) return;
  for (const auto direction : {Direction::request, Direction::response}) {
    if (const auto* const document = it.document(direction))
      visit_json(*document, test.path, 0, [&](const nlohmann::json& value) {
        if (!values.decided()) add_json(value, test.predicate, values);
      });
  }
}

const std::array kFields{
    Field{.name = "body",
          .letter = "b",
          .scan = Scan::bytes,
          .cost = Cost::bodies,
          .bodies = kBothBodies,
          .help = "body of the request or the response, decoded, or a message",
          .example = "~b \"out of stock\"",
          .get = bodies<Direction::request, Direction::response>,
          .columns = {none, kMayHaveEither}},
    Field{.name = "req.body",
          .letter = "bq",
          .scan = Scan::bytes,
          .cost = Cost::bodies,
          .bodies = kRequestBody,
          .help = "body of the request, decoded, or a message of the program",
          .example = "~bq password=",
          .get = bodies<Direction::request>,
          .columns = {none, kMayHaveRequest}},
    Field{.name = "resp.body",
          .letter = "bs",
          .scan = Scan::bytes,
          .cost = Cost::bodies,
          .bodies = kResponseBody,
          .help = "body of the response, decoded, or a message of the server",
          .example = "~bs <title>",
          .get = bodies<Direction::response>,
          .columns = {none, kMayHaveResponse}},
    Field{.name = "json",
          .type = json,
          .keyed = Keyed::required,
          .kinds = kHttp,
          .cost = Cost::bodies,
          .bodies = kBothBodies,
          .help = "value in the JSON of the request or the response, by its path",
          .example = "json[\"$.items[*].price\"] > 100",
          .get = json_values,
          .columns = {none, "(flow.request_body IS NOT NULL OR flow.response_body IS NOT NULL)"}},
    Field{.name = "graphql.operation",
          .kinds = kHttp,
          .cost = Cost::bodies,
          .bodies = kRequestBody,
          .help = "kind of the GraphQL operation",
          .example = "graphql.operation == mutation",
          .get =
              [](Subject& it, const Test&, Values& values) {
                for (const auto& operation : it.graphql()) values.known(operation.kind);
              },
          .candidates = "query mutation subscription"},
    Field{.name = "graphql.name",
          .letter = "gql",
          .kinds = kHttp,
          .cost = Cost::bodies,
          .bodies = kRequestBody,
          .help = "name of the GraphQL operation",
          .example = "~gql GetUser",
          .get =
              [](Subject& it, const Test&, Values& values) {
                for (const auto& operation : it.graphql()) values.known(operation.name);
              }},
};

}  // namespace

std::span<const Field> content_fields() {
  return kFields;
}

}  // namespace mitm::query
