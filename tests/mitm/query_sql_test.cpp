// Rows and records give the same answer: for each field, and for generated flows and filters.
#include <algorithm>
#include <random>

#include "mitm/query/syntax.h"
#include "tests/mitm/query_flows.h"
#include "tests/mitm/query_session.h"
#include "tests/test.h"

namespace mitm::query {
namespace {

using namespace std::chrono_literals;
using Ids = std::set<std::int64_t>;

class Random {
 public:
  explicit Random(unsigned seed) : engine_(seed) {}

  std::size_t below(std::size_t limit) { return engine_() % limit; }
  bool once_in(std::size_t count) { return below(count) == 0; }
  template <std::size_t count>
  std::string_view one_of(const std::string_view (&pool)[count]) {
    return pool[below(count)];
  }
  template <class Range>
  auto element_of(const Range& range) {
    return range[below(range.size())];
  }

 private:
  std::mt19937 engine_;
};

constexpr std::string_view kTexts[] = {
    "",        "curl",      "Curl",     "/usr/bin/curl", "a",    "A",           "bash",
    "/bin/sh", "make",      "example",  "EXAMPLE.org",   "h2",   "x y",         "grün",
    "GRÜN",    "a\nb",      "TLSv1.3",  "pass",          "none", "www.a.co.uk", "q\"u'o\\te",
    "100%",    "b.example", "a.b.c.de", "192.0.2.1",     "[::1]"};
constexpr std::string_view kUrls[] = {"",
                                      "https://example.org/",
                                      "http://EXAMPLE.org:8080/a?x=1&y=a%20b#f",
                                      "example.org:443",
                                      "https://user@[2001:db8::1]:8443/path/x?x=2&x=3",
                                      "wss://www.a.co.uk",
                                      "?",
                                      "://",
                                      "https://192.0.2.1/?q"};
constexpr std::string_view kTypes[] = {"",
                                       "text/html",
                                       "image/png",
                                       "application/json",
                                       "TEXT/CSS",
                                       "text/css; charset=utf-8",
                                       "application/grpc"};
constexpr std::string_view kAddresses[] = {
    "0.0.0.0", "::", "10.0.0.1", "10.1.2.3", "2001:db8::1", "::ffff:10.0.0.9", "192.168.0.1"};
constexpr std::string_view kNetworks[] = {"10.0.0.0/8",    "10.0.0.1",  "::/0",
                                          "2001:db8::/32", "0.0.0.0/0", "192.168.0.0/24"};
constexpr std::string_view kNumbers[] = {"0", "1", "2", "80", "443", "100", "1-90", "404", "1000"};
constexpr std::string_view kStatuses[] = {"200", "404", "4xx", "5xx", "200-404", "101"};
constexpr std::string_view kDurations[] = {"1us", "1ms", "2ms", "1s", "1ms-1s"};
constexpr std::string_view kTimes[] = {"2026-11-30T09:15:00Z", "10m", "2026-11-30T00:00Z",
                                       "2026-11-30T09:15:00.000001Z"};
constexpr std::string_view kExpressions[] = {".",      "^",      "a",      "[a-c]",
                                             "url",    "^curl$", "\\.org", "(?-i)A",
                                             "grün|x", "^b$",    "ex.*e",  "\\d\\d"};

flow::Offset offset(Random& random) {
  constexpr std::chrono::microseconds kOffsets[] = {0us, 1us, 1ms, 2ms, 1s};
  return random.once_in(4) ? flow::Offset() : flow::Offset(kOffsets[random.below(5)]);
}

std::optional<std::uint64_t> bytes(Random& random) {
  constexpr std::uint64_t kBytes[] = {0, 1, 80, 1000, 1'000'000};
  return random.once_in(4) ? std::nullopt : std::optional(kBytes[random.below(5)]);
}

std::string text(Random& random) {
  return std::string(random.one_of(kTexts));
}

base::Endpoint endpoint(Random& random) {
  const std::string address(random.one_of(kAddresses));
  constexpr std::uint16_t kPorts[] = {0, 80, 443};
  return {boost::asio::ip::make_address(address), kPorts[random.below(3)]};
}

std::shared_ptr<const flow::TlsFacts> tls(Random& random, bool with_chain) {
  if (random.once_in(4)) return nullptr;
  auto facts = std::make_shared<flow::TlsFacts>();
  facts->version = text(random);
  facts->cipher = text(random);
  facts->alpn = text(random);
  if (!with_chain) return facts;
  facts->client_certificate = text(random);
  if (random.once_in(3)) return facts;
  flow::CertificateFacts certificate;
  certificate.subject = text(random);
  certificate.issuer = text(random);
  certificate.sha256 = text(random);
  certificate.not_after = test::sample_time() + std::chrono::minutes(random.below(3));
  for (std::size_t i = random.below(3); i > 0; --i)
    certificate.names.emplace_back("n" + text(random));
  std::erase_if(certificate.names, [](auto& name) { return name.find('\n') != name.npos; });
  facts->certificates = std::make_shared<flow::CertificateChain>(1, certificate);
  return facts;
}

std::shared_ptr<const procmap::ProcessFacts> process(Random& random) {
  if (random.once_in(5)) return nullptr;
  auto facts = std::make_shared<procmap::ProcessFacts>();
  facts->id = {static_cast<pid_t>(random.below(3)), 1};
  facts->ppid = static_cast<pid_t>(random.below(3));
  facts->uid = static_cast<uid_t>(random.below(3));
  facts->gid = static_cast<gid_t>(random.below(3));
  facts->name = text(random);
  facts->exe = text(random);
  for (std::size_t i = random.below(3); i > 0; --i) facts->argv.push_back(text(random));
  for (std::size_t i = random.below(3); i > 0; --i) facts->other_names.push_back(text(random));
  facts->user = text(random);
  facts->group = text(random);
  facts->cgroup = text(random);
  if (!random.once_in(3)) facts->start_time = test::sample_time() - 10min;
  for (std::size_t i = random.below(3); i > 0; --i)
    facts->ancestors.push_back({{static_cast<pid_t>(random.below(3)), 1}, text(random)});
  return facts;
}

std::shared_ptr<const flow::ConnectionRecord> connection(Random& random, std::uint64_t id) {
  if (random.once_in(10)) return nullptr;
  auto record = std::make_shared<flow::ConnectionRecord>();
  record->id = id;
  record->opened = test::sample_time();
  record->process = process(random);
  record->client = endpoint(random);
  record->server = endpoint(random);
  record->host = text(random);
  record->sni = text(random);
  record->tls = tls(random, false);
  record->upstream_tls = tls(random, true);
  record->decision = text(random);
  record->reason = text(random);
  record->times = {offset(random), offset(random), offset(random), offset(random)};
  return record;
}

flow::HttpFlow http(Random& random) {
  constexpr int kAnswers[] = {0, 101, 200, 404, 503};
  flow::HttpFlow flow;
  flow.host = text(random);
  flow.url = random.one_of(kUrls);
  flow.request.method = text(random);
  flow.request.version = text(random);
  flow.request.body_bytes = bytes(random);
  if (random.once_in(2)) flow.request.fields.add("Cookie", "a=curl; b=" + text(random));
  if (random.once_in(2)) flow.request.fields.add("Content-Type", random.one_of(kTypes));
  if (random.once_in(2)) flow.request.body = flow::Body("{\"a\": [1, 80, \"curl\"]}");
  flow.response.status = kAnswers[random.below(5)];
  flow.response.body_bytes = bytes(random);
  flow.response.began = offset(random);
  if (random.once_in(2)) flow.response.fields.add("Content-Type", random.one_of(kTypes));
  if (random.once_in(2)) flow.response.body = flow::Body(text(random));
  return flow;
}

flow::DnsFlow dns(Random& random) {
  flow::DnsFlow flow;
  flow.name = text(random);
  flow.type = text(random);
  flow.rcode = random.once_in(2) ? "" : "NXDOMAIN";
  if (random.once_in(2)) flow.answers.push_back({text(random), "A", 1, text(random)});
  flow.request_bytes = bytes(random);
  flow.response_bytes = bytes(random);
  return flow;
}

flow::TcpFlow tcp(Random& random) {
  flow::TcpFlow flow;
  flow.kind = static_cast<flow::TcpFlow::Kind>(random.below(4));
  flow.host = text(random);
  flow.request_bytes = bytes(random);
  flow.response_bytes = bytes(random);
  flow.starttls = text(random);
  return flow;
}

template <class Record>
void set_facts(Random& random, std::uint64_t id, Record record, flow::Flow& flow) {
  record.id = id;
  record.connection = connection(random, id);
  record.began = test::sample_time() - std::chrono::minutes(10 * random.below(3));
  record.duration = offset(random);
  record.error = text(random);
  flow.record = std::make_shared<const Record>(std::move(record));
}

flow::Flow generated_flow(Random& random, std::uint64_t id) {
  flow::Flow flow;
  const std::size_t kind = random.below(4);
  if (kind < 2) set_facts(random, id, http(random), flow);
  if (kind == 2) set_facts(random, id, tcp(random), flow);
  if (kind == 3) set_facts(random, id, dns(random), flow);
  flow.state = static_cast<flow::Flow::State>(random.below(3));
  flow.notes.mark = text(random);
  flow.notes.comment = text(random);
  if (random.once_in(2)) flow.notes.tags = {"curl", "a b"};
  for (std::size_t i = random.below(4); i > 1; --i) {
    auto message = std::make_shared<flow::StreamMessage>();
    message->kind = static_cast<flow::StreamMessage::Kind>(random.below(4));
    message->direction = random.once_in(2) ? flow::Direction::request : flow::Direction::response;
    message->what.payload = text(random);
    message->what.name = text(random);
    flow.messages.push_back(std::move(message));
  }
  return flow;
}

std::string_view number_for(Random& random, ValueType type) {
  switch (type) {
    case ValueType::status:
      return random.one_of(kStatuses);
    case ValueType::duration:
      return random.one_of(kDurations);
    case ValueType::time:
      return random.one_of(kTimes);
    case ValueType::address:
      return random.one_of(kNetworks);
    default:
      return random.one_of(kNumbers);
  }
}

std::string in_quotes(std::string_view raw) {
  std::string out = "\"";
  for (const char c : raw) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

std::string text_value(Random& random) {
  const auto pool = random.below(8);
  if (pool == 0) return in_quotes(random.one_of(kUrls));
  if (pool == 1) return in_quotes(random.one_of(kTypes));
  return in_quotes(random.one_of(kTexts));
}

std::string generated_test(Random& random) {
  const Field& field = *random.element_of(all_fields());
  if (!field.never.empty()) return "~all";
  std::string text(field.name);
  if (field.type == ValueType::flag) return text;
  const bool key =
      field.keyed == Keyed::required || (field.keyed == Keyed::optional && random.once_in(2));
  if (key) text += field.type == ValueType::json ? "[\"$.a[*]\"]" : "[\"x\"]";
  const bool is_text = field.type == ValueType::text || field.type == ValueType::json;
  if (!is_text) {
    constexpr std::string_view kOrders[] = {"==", "!=", "in", "<", "<=", ">", ">="};
    const bool address = field.type == ValueType::address;
    const auto order = kOrders[random.below(address ? 3 : 7)];
    return text + ' ' + std::string(order) + ' ' + std::string(number_for(random, field.type));
  }
  constexpr std::string_view kComparisons[] = {"==", "!=", "contains", "startswith", "endswith"};
  if (random.once_in(3)) return text + " ~= " + in_quotes(random.one_of(kExpressions));
  if (random.once_in(6)) return text + " in {" + text_value(random) + ", curl}";
  return text + ' ' + std::string(random.one_of(kComparisons)) + ' ' + text_value(random);
}

std::string generated_filter(Random& random, int depth) {
  if (depth == 0 || random.once_in(3)) return generated_test(random);
  if (random.once_in(3)) return "!(" + generated_filter(random, depth - 1) + ")";
  const std::string_view joint = random.once_in(2) ? " & " : " | ";
  std::string text = "(" + generated_filter(random, depth - 1);
  for (std::size_t i = random.below(2) + 1; i > 0; --i)
    text.append(joint).append(generated_filter(random, depth - 1));
  return text + ")";
}

Filter parsed(const std::string& text, bool case_sensitive = false) {
  auto filter = Filter::parse(text, {case_sensitive, test::sample_time()});
  REQUIRE_MESSAGE(filter, text << ": " << filter.error().message());
  return *filter;
}

/// What records say lies between the bounds that rows give, and is both if those are exact. True:
/// some flows match, and some do not.
bool check_agreement(const Filter& filter, const std::vector<flow::Flow>& flows,
                     const test::Session& session) {
  Ids matching;
  for (const flow::Flow& flow : flows)
    if (filter.matches(flow)) matching.insert(static_cast<std::int64_t>(flow.facts().id));
  const SqlFilter sql = filter.sql();
  const Ids upper = session.select(sql, sql.where);
  const Ids lower = session.select(sql, sql.certain);
  CAPTURE(filter.text());
  CAPTURE(sql.where);
  CHECK(std::ranges::includes(upper, matching));
  CHECK(std::ranges::includes(matching, lower));
  if (sql.exact) CHECK(upper == lower);
  return !matching.empty() && matching.size() < flows.size();
}

TEST_CASE("query: matches() and SQL agree on generated flows and filters") {
  constexpr std::size_t kFlows = 150, kFilters = 500;
  Random random(20261130);
  test::Session session;
  std::vector<flow::Flow> flows;
  for (std::size_t i = 0; i < kFlows; ++i) {
    flows.push_back(generated_flow(random, i + 1));
    session.add(flows.back());
  }
  std::size_t telling = 0;
  for (std::size_t i = 0; i < kFilters; ++i) {
    const auto filter = parsed(generated_filter(random, 3), random.once_in(4));
    if (check_agreement(filter, flows, session)) ++telling;
  }
  CHECK(telling > kFilters / 2);
}

TEST_CASE("query: of every field, matches() and SQL agree on single comparisons") {
  Random random(7);
  test::Session session;
  std::vector<flow::Flow> flows;
  for (std::size_t i = 0; i < 60; ++i) {
    flows.push_back(generated_flow(random, i + 1));
    session.add(flows.back());
  }
  std::size_t telling = 0;
  for (std::size_t i = 0; i < 1500; ++i)
    if (check_agreement(parsed(generated_test(random)), flows, session)) ++telling;
  CHECK(telling > 500);
}

TEST_CASE("query: SQL is exact where rows have all that is asked") {
  const auto exact = [](std::string_view text) { return parsed(std::string(text)).sql().exact; };
  for (const Field* const field : all_fields()) {
    CAPTURE(field->name);
    const bool rows = field->columns.table != Columns::Table::none;
    CHECK(exact(field->example) == rows);
    // What is not in rows costs more, but for two that nearly are.
    if (field->name != "unanswered" && field->name != "answered")
      CHECK((field->cost == Cost::row) == rows);
  }
  CHECK(exact("~p curl & ~c 5xx"));
  CHECK_FALSE(exact("~p curl & ~b x"));
}

TEST_CASE("query: a deep filter is shallow in SQL") {
  std::string text;
  for (std::size_t i = 0; i < kMaxTests; ++i) text += "~c " + std::to_string(i) + " | ";
  text += "~q";
  text = text.substr(text.find('|') + 1);
  test::Session session;
  const auto sql = parsed(text).sql();
  CHECK(session.select(sql, sql.where).empty());
}

TEST_CASE("query: parameters have names, beside others, and outlive the filter") {
  test::Session session;
  session.add(test::http_flow());
  sqlite3_stmt* statement = nullptr;
  {
    const auto sql = parsed("host contains example & host contains www").sql();
    const std::string text = "SELECT count(*) FROM " + sql.from + " WHERE flow.id > :after AND " +
                             sql.where + " AND " + sql.certain + " LIMIT :limit";
    REQUIRE(sqlite3_prepare_v2(session.database(), text.c_str(), -1, &statement, nullptr) ==
            SQLITE_OK);
    REQUIRE(sql.bind(statement) == SQLITE_OK);
  }
  sqlite3_bind_int(statement, sqlite3_bind_parameter_index(statement, ":after"), 0);
  sqlite3_bind_int(statement, sqlite3_bind_parameter_index(statement, ":limit"), 10);
  REQUIRE(sqlite3_step(statement) == SQLITE_ROW);
  CHECK(sqlite3_column_int(statement, 0) == 1);
  sqlite3_finalize(statement);
  // Without the parameters it is an error, not a wrong answer.
  REQUIRE(sqlite3_prepare_v2(session.database(), "SELECT osproxy_test(:filter1, 'x')", -1,
                             &statement, nullptr) == SQLITE_OK);
  CHECK(sqlite3_step(statement) == SQLITE_ERROR);
  sqlite3_finalize(statement);
}

}  // namespace
}  // namespace mitm::query
