// What filters match. Every field and operator has a flow that it matches and one that it does not.
#include <set>

#include "mitm/query/filter.h"
#include "tests/mitm/query_flows.h"
#include "tests/test.h"

namespace mitm::query {
namespace {

enum class Sample { http, websocket, tcp, dns, bare };

const flow::Flow& sample(Sample which) {
  static const flow::Flow flows[] = {test::http_flow(), test::websocket_flow(), test::tcp_flow(),
                                     test::dns_flow(), test::bare_flow()};
  return flows[static_cast<std::size_t>(which)];
}

bool matches(std::string_view text, const flow::Flow& flow, bool case_sensitive = false) {
  const auto filter = Filter::parse(text, {case_sensitive, test::sample_time()});
  INFO(text);
  REQUIRE_MESSAGE(filter, filter.error().message());
  return filter->matches(flow);
}

/// `field`: whose row of the table this covers.
struct Pair {
  std::string_view field;
  std::string_view text;
  Sample yes;
  Sample no;
};

constexpr Pair kPairs[] = {
    {"http", "~http", Sample::websocket, Sample::dns},
    {"tcp", "~tcp", Sample::tcp, Sample::http},
    {"dns", "~dns", Sample::dns, Sample::tcp},
    {"websocket", "~websocket", Sample::websocket, Sample::http},
    {"type", "type in {tcp, tls_error}", Sample::tcp, Sample::http},
    {"unanswered", "~q", Sample::bare, Sample::http},
    {"unanswered", "~q", Sample::bare, Sample::tcp},
    {"answered", "~s", Sample::dns, Sample::bare},
    {"failed", "~e", Sample::http, Sample::dns},
    {"error", "error contains closed", Sample::http, Sample::dns},
    {"live", "live", Sample::websocket, Sample::http},
    {"interrupted", "interrupted", Sample::tcp, Sample::http},
    {"failed", "failed", Sample::tcp, Sample::dns},
    {"error", "error startswith interrupted:", Sample::tcp, Sample::http},
    {"id", "id == 42", Sample::http, Sample::dns},
    {"process", "~p ^CURL$", Sample::http, Sample::bare},
    {"process", "~p /bin/", Sample::dns, Sample::bare},
    {"process.name", "process.name == curl", Sample::http, Sample::bare},
    {"process.path", "process.path startswith /usr/", Sample::http, Sample::bare},
    {"process.pid", "~pid 1234", Sample::http, Sample::bare},
    {"process.ppid", "ppid > 999", Sample::http, Sample::bare},
    {"process.uid", "uid == 1001", Sample::http, Sample::bare},
    {"process.gid", "gid == 33", Sample::http, Sample::bare},
    {"process.user", "~user alice", Sample::http, Sample::bare},
    {"process.group", "group == staff", Sample::http, Sample::bare},
    {"process.cmdline", "cmdline contains \"curl -s https\"", Sample::http, Sample::bare},
    {"process.cgroup", "cgroup startswith /user.slice/", Sample::http, Sample::bare},
    {"process.started", "process.started >= 2026-11-30T09:05Z", Sample::http, Sample::bare},
    {"parent.name", "parent.name == bash", Sample::http, Sample::bare},
    {"parent.path", "parent.path == /bin/bash", Sample::http, Sample::bare},
    {"parent.pid", "parent.pid == 1000", Sample::http, Sample::bare},
    {"ancestor.name", "ancestor == make", Sample::http, Sample::bare},
    {"ancestor.path", "ancestor.path endswith bin/make", Sample::http, Sample::bare},
    {"ancestor.pid", "ancestor.pid == 900", Sample::http, Sample::bare},
    {"host", "~d ^www", Sample::http, Sample::websocket},
    {"host", "~d api", Sample::http, Sample::tcp},
    {"domain", "domain == example.co.uk", Sample::http, Sample::tcp},
    {"ip", "ip == 93.184.0.0/16", Sample::http, Sample::tcp},
    {"port", "port == 25", Sample::tcp, Sample::http},
    {"ipv6", "ipv6", Sample::tcp, Sample::http},
    {"client.ip", "client.ip in 10.0.0.0/8", Sample::http, Sample::bare},
    {"client.port", "client.port == 41000", Sample::http, Sample::bare},
    {"source", "~src ^10.0.0.1:41000$", Sample::http, Sample::bare},
    {"destination", "~dst ^www.example.org:443$", Sample::http, Sample::tcp},
    {"destination", "~dst ^2001:db8::1:25$", Sample::tcp, Sample::http},
    {"conn", "conn == 7", Sample::http, Sample::tcp},
    {"decision", "decision == intercept", Sample::http, Sample::bare},
    {"reason", "reason contains filter", Sample::http, Sample::bare},
    {"starttls", "starttls == smtp", Sample::tcp, Sample::http},
    {"tls", "tls", Sample::http, Sample::bare},
    {"tls.version", "tls.version == 1.3", Sample::http, Sample::bare},
    {"tls.version", "tls.version == TLSv1.3", Sample::http, Sample::bare},
    {"tls.cipher", "tls.cipher contains AES", Sample::http, Sample::bare},
    {"tls.alpn", "tls.alpn == h2", Sample::http, Sample::bare},
    {"tls.sni", "sni endswith .example.org", Sample::http, Sample::bare},
    {"tls.time", "tls.time == 80ms", Sample::http, Sample::bare},
    {"connect.time", "connect.time == 20ms", Sample::http, Sample::bare},
    {"upstream.tls.version", "upstream.tls.version == TLSv1.2", Sample::http, Sample::bare},
    {"upstream.tls.cipher", "upstream.tls.cipher contains ECDHE", Sample::http, Sample::bare},
    {"upstream.tls.alpn", "upstream.tls.alpn == h2", Sample::http, Sample::bare},
    {"cert.subject", "cert.subject contains Example", Sample::http, Sample::bare},
    {"cert.issuer", "cert.issuer contains \"Let's Encrypt\"", Sample::http, Sample::bare},
    {"cert.san", "cert.san == *.example.net", Sample::http, Sample::bare},
    {"cert.expires", "cert.expires < 2027-01-01", Sample::http, Sample::bare},
    {"cert.sha256", "cert.sha256 startswith AB:CD", Sample::http, Sample::bare},
    {"client_cert", "client_cert != none", Sample::http, Sample::bare},
    {"url", "SayHello", Sample::http, Sample::websocket},
    {"url", "~u ^db.example", Sample::dns, Sample::http},
    {"scheme", "scheme == wss", Sample::websocket, Sample::http},
    {"path", "path == /graphql/pkg.Greeter/SayHello", Sample::http, Sample::websocket},
    {"query", "query[\"q\"] == \"a b\"", Sample::http, Sample::websocket},
    {"query", "query contains page=2", Sample::http, Sample::websocket},
    {"method", "~m post", Sample::http, Sample::websocket},
    {"edited", "edited", Sample::http, Sample::websocket},
    {"edited.by", "edited.by == mock", Sample::http, Sample::websocket},
    {"status", "~c 5xx", Sample::http, Sample::websocket},
    {"http.version", "http.version == 1.1", Sample::http, Sample::bare},
    {"header", "~h \"^set-cookie: token\"", Sample::http, Sample::websocket},
    {"header", "~h one$", Sample::http, Sample::websocket},
    {"req.header", "req.header[\"x-tag\"] == two", Sample::http, Sample::websocket},
    {"req.header", "~hq ^x-tag", Sample::http, Sample::websocket},
    {"resp.header", "~hs ^upgrade", Sample::websocket, Sample::http},
    {"resp.header", "resp.header[Upgrade] == websocket", Sample::websocket, Sample::http},
    {"req.cookie", "req.cookie[\"theme\"] == dark", Sample::http, Sample::websocket},
    {"req.cookie", "req.cookie == session=a1b2", Sample::http, Sample::websocket},
    {"resp.setcookie", "resp.setcookie[\"token\"] == xyz", Sample::http, Sample::websocket},
    {"resp.setcookie", "resp.setcookie contains httponly", Sample::http, Sample::websocket},
    {"content_type", "~t grpc", Sample::http, Sample::websocket},
    {"content_type", "~t css", Sample::http, Sample::websocket},
    {"req.type", "~tq grpc", Sample::http, Sample::websocket},
    {"resp.type", "~ts css", Sample::http, Sample::websocket},
    {"asset", "~a", Sample::http, Sample::websocket},
    {"resp.encoding", "resp.encoding == identity", Sample::http, Sample::websocket},
    {"req.size", "req.size > 10k", Sample::http, Sample::tcp},
    {"resp.size", "resp.size == 90", Sample::dns, Sample::http},
    {"size", "size == 24k-25k", Sample::http, Sample::tcp},
    {"duration", "~dur >300ms", Sample::http, Sample::dns},
    {"ttfb", "ttfb == 120ms", Sample::http, Sample::websocket},
    {"time", "time > 2026-11-30T10:00Z", Sample::tcp, Sample::http},
    {"time", "since 10m", Sample::http, Sample::bare},
    {"body", "~b \"out of stock\"", Sample::http, Sample::websocket},
    {"body", "~b subscribe", Sample::websocket, Sample::http},
    {"body", "~b EHLO", Sample::tcp, Sample::http},
    {"body", "~b alias.example.net", Sample::dns, Sample::http},
    {"req.body", "~bq setname", Sample::http, Sample::websocket},
    {"req.body", "~bq EHLO", Sample::tcp, Sample::http},
    {"req.body", "~bq ^db.example", Sample::dns, Sample::tcp},
    {"resp.body", "~bs \"stock.*second\"", Sample::http, Sample::websocket},
    {"resp.body", "~bs ^250", Sample::tcp, Sample::http},
    {"json", "json[\"$.items[*].price\"] > 100", Sample::http, Sample::websocket},
    {"json", "json[\"items[1].name\"] == lamp", Sample::http, Sample::websocket},
    {"graphql.operation", "graphql.operation == mutation", Sample::http, Sample::websocket},
    {"graphql.name", "~gql ^SetName$", Sample::http, Sample::websocket},
    {"ws.count", "ws.count == 2", Sample::websocket, Sample::http},
    {"ws.message", "ws.message contains price", Sample::websocket, Sample::http},
    {"ws.client.message", "~wq subscribe", Sample::websocket, Sample::http},
    {"ws.server.message", "~ws price", Sample::websocket, Sample::http},
    {"ws.opcode", "ws.opcode == binary", Sample::websocket, Sample::http},
    {"sse.event", "sse.event == progress", Sample::websocket, Sample::http},
    {"sse.data", "sse.data == [DONE]", Sample::websocket, Sample::http},
    {"grpc.service", "grpc.service endswith pkg.Greeter", Sample::http, Sample::websocket},
    {"grpc.method", "~g sayhello", Sample::http, Sample::websocket},
    {"grpc.status", "grpc.status == NOT_FOUND", Sample::http, Sample::websocket},
    {"grpc.status", "grpc.status == 5", Sample::http, Sample::websocket},
    {"dns.name", "dns.name endswith .example.org", Sample::dns, Sample::http},
    {"dns.type", "dns.type == AAAA", Sample::dns, Sample::http},
    {"dns.rcode", "dns.rcode == NXDOMAIN", Sample::dns, Sample::http},
    {"dns.answer", "dns.answer == alias.example.net", Sample::dns, Sample::http},
    {"marked", "~marked", Sample::http, Sample::websocket},
    {"mark", "~marker red", Sample::http, Sample::websocket},
    {"comment", "~comment ^later$", Sample::http, Sample::websocket},
    {"tag", "~tag ^slow$", Sample::http, Sample::websocket},
};

TEST_CASE("query: each filter matches one flow and not another") {
  for (const Pair& pair : kPairs) {
    CAPTURE(pair.text);
    CHECK(matches(pair.text, sample(pair.yes)));
    CHECK_FALSE(matches(pair.text, sample(pair.no)));
    // The printed tree means the same.
    const auto again =
        Filter::parse(Filter::parse(pair.text, {false, test::sample_time()})->canonical());
    REQUIRE_MESSAGE(again, again.error().message());
    CHECK(again->matches(sample(pair.yes)));
    CHECK_FALSE(again->matches(sample(pair.no)));
  }
}

TEST_CASE("query: the table of fields has no row without such a pair, and each example is right") {
  std::set<std::string_view> covered{"all"};
  for (const Pair& pair : kPairs) covered.insert(pair.field);
  std::set<std::string_view> letters;
  for (const Field* const field : all_fields()) {
    CAPTURE(field->name);
    CHECK((covered.contains(field->name) || !field->never.empty()));
    CHECK_FALSE(field->help.empty());
    const auto example = Filter::parse(field->example);
    REQUIRE_MESSAGE(example, example.error().message());
    CHECK(example->cost() == field->cost);
    CHECK(example->warnings().empty() == field->never.empty());
    if (!field->letter.empty()) CHECK(letters.insert(field->letter).second);
    if (!field->letter.empty() && field->type == ValueType::flag)
      CHECK(Filter::parse("~" + std::string(field->letter)));
  }
}

TEST_CASE("query: what mitmproxy has and osproxy does not never matches") {
  for (const std::string_view text : {"~udp", "~replay", "~replayq", "~replays", "~meta ."})
    for (const Sample which : {Sample::http, Sample::tcp, Sample::dns})
      CHECK_FALSE(matches(text, sample(which)));
  CHECK(matches("~all", sample(Sample::bare)));
  CHECK(matches("", sample(Sample::bare)));
}

TEST_CASE("query: an absent value makes every comparison false, != too") {
  for (const std::string_view text :
       {"host == x", "host != x", "host ~= .", "host contains x", "host in {x}", "status == 200",
        "status != 200", "status < 999", "status >= 0", "ip == 10.0.0.0/8", "ip != 10.0.0.0/8",
        "duration != 1s", "req.header[\"x\"] != y", "req.body != y", "json[\"a\"] != 3", "tag != x",
        "ancestor.name != x", "cert.san != x"}) {
    CAPTURE(text);
    CHECK_FALSE(matches(text, sample(Sample::bare)));
    CHECK(matches("!" + std::string(text), sample(Sample::bare)));
  }
}

TEST_CASE("query: of many values one is enough, and for != none may be equal") {
  const flow::Flow& flow = sample(Sample::http);
  CHECK(matches("req.header[\"x-tag\"] == one", flow));
  CHECK(matches("req.header[\"x-tag\"] == two", flow));
  CHECK_FALSE(matches("req.header[\"x-tag\"] != one", flow));
  CHECK(matches("req.header[\"x-tag\"] != three", flow));
  CHECK(matches("ancestor.name != zsh", flow));
  CHECK_FALSE(matches("ancestor.name != bash", flow));
  CHECK(matches("json[\"items[*].price\"] != 6", flow));
  CHECK_FALSE(matches("json[\"items[*].price\"] != 5", flow));
}

TEST_CASE("query: case does not count unless it is said") {
  const flow::Flow& flow = sample(Sample::http);
  CHECK(matches("~m post", flow));
  CHECK_FALSE(matches("~m (?-i)post", flow));
  CHECK_FALSE(matches("~m post", flow, true));
  CHECK(matches("~m POST", flow, true));
  CHECK(matches("~m (?i)post", flow, true));
  CHECK(matches("method == post", flow));
  CHECK_FALSE(matches("method == post", flow, true));
  CHECK(matches("method contains OS", flow, true));
  CHECK_FALSE(matches("method contains os", flow, true));
  CHECK_FALSE(matches("method startswith po", flow, true));
  CHECK(matches("method endswith st", flow));
}

flow::Flow with_response(std::string coding, std::string type, std::string body) {
  flow::HttpFlow flow;
  flow.response.status = 200;
  if (!coding.empty()) flow.response.fields.add("Content-Encoding", coding);
  if (!type.empty()) flow.response.fields.add("Content-Type", type);
  flow.response.body = flow::Body(std::move(body));
  return test::FlowMaker().flow_of(std::move(flow));
}

TEST_CASE("query: bodies are decoded; what cannot be decoded is searched as it is") {
  // printf 'needle in a haystack' | gzip -n
  constexpr unsigned char kGzip[] = {0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00,
                                     0x00, 0x03, 0xcb, 0x4b, 0x4d, 0x4d, 0xc9, 0x49,
                                     0x55, 0xc8, 0xcc, 0x53, 0x48, 0x54, 0xc8, 0x48,
                                     0xac, 0x2c, 0x2e, 0x49, 0x4c, 0xce, 0x06, 0x00};
  const std::string coded(reinterpret_cast<const char*>(kGzip), sizeof kGzip);
  CHECK(matches("~bs needle", with_response("gzip", "", coded)));
  CHECK_FALSE(matches("~bs needle", with_response("", "", coded)));
  CHECK(matches("~bs needle", with_response("gzip", "", "a needle")));
  CHECK(matches("~bs needle", with_response("unheard-of", "", "a needle")));
  CHECK(matches("~bs \\x00\\xff", with_response("", "", std::string("a\0\xff", 3))));
  CHECK(matches("~bs grün", with_response("", "text/plain; charset=iso-8859-1", "gr\xfcn")));
  CHECK(matches("~bs GRÜN", with_response("", "", "grün")));
  CHECK(matches("resp.body == GRÜN", with_response("", "", "grün")));
}

TEST_CASE("query: JSON of both sides, its numbers, texts and structures") {
  const auto of = [](std::string body) { return with_response("", "", std::move(body)); };
  CHECK(matches("json[\"$.a\"] == 1.5", of(R"({"a": 1.5})")));
  CHECK(matches("json[\"$.a\"] < 2", of(R"({"a": -3})")));
  CHECK(matches("json[\"$.a\"] in {x, 3}", of(R"({"a": 3.0})")));
  CHECK(matches("json[\"$.a\"] == true", of(R"({"a": true})")));
  CHECK(matches("json[\"$.a\"] contains \"[1,2\"", of(R"({"a": [1, 2, 3]})")));
  CHECK(matches("json[\"$['a b'][1]\"] == x", of(R"({"a b": [0, "x"]})")));
  CHECK(matches("json[\"$.*.id\"] == 2", of(R"({"x": {"id": 1}, "y": {"id": 2}})")));
  CHECK_FALSE(matches("json[\"$.a\"] == 1", of("{\"a\": 1")));
  CHECK_FALSE(matches("json[\"$\"] ~= .", of(std::string(100'000, '['))));
}

TEST_CASE("query: GraphQL in JSON, batches, persisted queries, documents and URLs") {
  const auto of = [](std::string type, std::string body, std::string url = {}) {
    flow::HttpFlow flow;
    flow.url = std::move(url);
    flow.request.fields.add("Content-Type", type);
    flow.request.body = flow::Body(std::move(body));
    return test::FlowMaker().flow_of(std::move(flow));
  };
  CHECK(matches("~gql GetUser",
                of("application/json", R"({"query": "# c\nquery GetUser($i: ID = \"{\") {a}"})")));
  CHECK(matches("graphql.operation == query",
                of("application/json", R"({"query": "{ me { id } }"})")));
  CHECK(matches(
      "~gql ^B$",
      of("application/json", R"({"query": "query A {a} mutation B {b}", "operationName": "B"})")));
  CHECK_FALSE(matches(
      "~gql ^A$",
      of("application/json", R"({"query": "query A {a} mutation B {b}", "operationName": "B"})")));
  CHECK(matches("~gql ^B$",
                of("application/json", R"([{"query": "query A {a}"}, {"query": "query B {b}"}])")));
  CHECK(matches("~gql P", of("application/json", R"({"operationName": "P", "extensions": {}})")));
  CHECK(matches("~gql D", of("application/graphql", "subscription D { d }")));
  CHECK(matches("~gql U", of("", "", "https://a/?query=query%20U%20%7Bu%7D")));
  CHECK_FALSE(matches("graphql.name ~= \"\"", of("application/json", R"({"query": "select 1"})")));
}

TEST_CASE("query: a process has the name of the script that it runs, too") {
  test::FlowMaker maker;
  maker.process->name = "node";
  maker.process->exe = "/usr/bin/node";
  maker.process->other_names = {"npm", "/usr/lib/node_modules/npm/bin/npm-cli.js"};
  const flow::Flow flow = maker.flow_of(flow::TcpFlow{});
  for (const char* filter :
       {"~p npm", "~p ^npm$", "~p node_modules", "process == npm-cli.js", "process.name == node",
        "process.name == npm", "process.name == npm-cli.js"})
    CHECK_MESSAGE(matches(filter, flow), filter);
  for (const char* filter : {"process.name ~= node_modules", "process.name != npm", "~p yarn"})
    CHECK_FALSE_MESSAGE(matches(filter, flow), filter);
}

TEST_CASE("query: domains") {
  const auto of = [](std::string host) {
    flow::TcpFlow flow;
    flow.host = std::move(host);
    return test::FlowMaker().flow_of(std::move(flow));
  };
  CHECK(matches("domain == example.org", of("a.b.example.org")));
  CHECK(matches("domain == example.org", of("example.org")));
  CHECK(matches("domain == example.co.uk", of("www.example.co.uk.")));
  CHECK(matches("domain == example.de", of("www.example.de")));
  CHECK(matches("domain == co.uk", of("co.uk")));
  CHECK_FALSE(matches("domain ~= .", of("192.0.2.1")));
  CHECK_FALSE(matches("domain ~= .", of("localhost")));
}

TEST_CASE("query: nothing is decoded unless the cheap parts leave it open") {
  // The expensive part stands first and would be asked last.
  CHECK_FALSE(matches("~b . & ~c 404", sample(Sample::http)));
  CHECK(matches("~b nowhere | ~c 503", sample(Sample::http)));
}

}  // namespace
}  // namespace mitm::query
