// Bodies decoded on demand.
#include "mitm/query/subject.h"

#include <optional>

#include "mitm/http/charset.h"
#include "mitm/http/content_coding.h"
#include "mitm/query/graphql.h"
#include "mitm/query/json_document.h"
#include "mitm/query/url_parts.h"

namespace mitm::query {
namespace {

using flow::Direction;
using Graphql = Subject::Graphql;

/// One element of a request: {"query": ..., "operationName": ...}.
void add_operation(const nlohmann::json& request, std::vector<Graphql>& out) {
  if (!request.is_object()) return;
  const auto text = [&](const char* key) {
    const auto member = request.find(key);
    return member != request.end() && member->is_string() ? member->get<std::string>()
                                                          : std::string();
  };
  const std::string document = text("query"), chosen = text("operationName");
  const auto operations = graphql_operations(document);
  for (const auto& operation : operations) {
    if (chosen.empty() || operation.name == chosen)
      out.push_back({std::string(operation.kind), std::string(operation.name)});
  }
  // A persisted query: its text is known to the server.
  if (document.empty() && !chosen.empty() && request.contains("extensions"))
    out.push_back({"query", chosen});
}

}  // namespace

struct Subject::Decoded {
  std::string scratch;
  std::string undone;
  std::string_view bytes;
  std::optional<std::string> converted;  ///< empty text: it needs no conversion
  std::optional<nlohmann::json> json;
};

Subject::Subject(const flow::Flow& asked)
    : flow(asked),
      facts(asked.facts()),
      http(asked.http()),
      tcp(asked.tcp()),
      dns(asked.dns()),
      connection(facts.connection.get()),
      process(connection == nullptr ? nullptr : connection->process.get()) {}

Subject::~Subject() = default;

Subject::Decoded& Subject::decoded(Direction direction) {
  auto& slot = decoded_[direction == Direction::response ? 1 : 0];
  if (slot) return *slot;
  slot = std::make_unique<Decoded>();
  if (http == nullptr) return *slot;
  const bool response = direction == Direction::response;
  const flow::Body& body = response ? http->response.body : http->request.body;
  const http::Fields& fields = response ? http->response.fields : http->request.fields;
  slot->bytes = body.bytes(slot->scratch);
  const auto coding = fields.find("content-encoding");
  if (coding.empty() || body.empty()) return *slot;
  if (auto undone = http::decode_content(coding, slot->bytes, kLargestBody)) {
    slot->undone = std::move(undone->bytes);
    slot->bytes = slot->undone;
  }
  return *slot;
}

std::string_view Subject::body(Direction direction) {
  return decoded(direction).bytes;
}

std::string_view Subject::converted_body(Direction direction) {
  Decoded& it = decoded(direction);
  if (!it.converted) {
    const http::Fields& fields =
        direction == Direction::response ? http->response.fields : http->request.fields;
    it.converted = http::to_utf8(fields.find("content-type"), it.bytes).value_or(std::string());
  }
  return *it.converted;
}

const nlohmann::json* Subject::document(Direction direction) {
  Decoded& it = decoded(direction);
  if (!it.json) {
    const auto blank = it.bytes.find_first_not_of(" \t\r\n");
    const bool candidate =
        blank != it.bytes.npos &&
        std::string_view("{[\"-0123456789tfn").find(it.bytes[blank]) != std::string_view::npos;
    it.json =
        candidate ? parse_document(it.bytes) : nlohmann::json(nlohmann::json::value_t::discarded);
  }
  return it.json->is_discarded() ? nullptr : &*it.json;
}

const std::vector<Graphql>& Subject::graphql() {
  if (graphql_) return *graphql_;
  graphql_ = std::make_unique<std::vector<Graphql>>();
  if (http == nullptr) return *graphql_;
  if (http::iequals(http->request.fields.find("content-type").substr(0, 19),
                    "application/graphql")) {
    for (const auto& operation : graphql_operations(body(Direction::request)))
      graphql_->push_back({std::string(operation.kind), std::string(operation.name)});
  }
  if (const auto* const document = this->document(Direction::request)) {
    if (document->is_array()) {
      for (const auto& request : *document) add_operation(request, *graphql_);
    } else {
      add_operation(*document, *graphql_);
    }
  }
  nlohmann::json parameters = nlohmann::json::object();
  visit_parameters(url_parts(http->url).query, [&](std::string name, std::string value) {
    if (name == "query" || name == "operationName" || name == "extensions")
      parameters[name] = std::move(value);
  });
  add_operation(parameters, *graphql_);
  return *graphql_;
}

}  // namespace mitm::query
