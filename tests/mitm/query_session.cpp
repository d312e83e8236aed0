#include "tests/mitm/query_session.h"

#include <optional>
#include <variant>
#include <vector>

#include "mitm/query/sql_functions.h"
#include "procmap/program_names.h"
#include "tests/test.h"

namespace mitm::query::test {
namespace {

/// The tables of a session that filters ask, in version 2 (mitm/store/schema.cpp).
constexpr const char* kSchema = R"(
CREATE TABLE process (id INTEGER PRIMARY KEY, pid INT, ppid INT, uid INT, gid INT, name TEXT,
  path TEXT, user TEXT, grp TEXT, cmdline TEXT, cgroup TEXT, started INT, facts BLOB,
  second_name TEXT, third_name TEXT);
CREATE TABLE ancestor (process INT, depth INT, pid INT, name TEXT, path TEXT,
  PRIMARY KEY (process, depth)) WITHOUT ROWID;
CREATE TABLE conn (id INTEGER PRIMARY KEY, process INT, opened INT, client_ip TEXT,
  client_port INT, server_ip TEXT, server_port INT, host TEXT, sni TEXT, decision TEXT,
  reason TEXT, tls_version TEXT, tls_cipher TEXT, tls_alpn TEXT, upstream_version TEXT,
  upstream_cipher TEXT, upstream_alpn TEXT, client_certificate TEXT, chain INT,
  connect_began INT, connected INT, upstream_tls_done INT, tls_done INT);
CREATE TABLE cert (chain INT, n INT, sha256 TEXT, subject TEXT, issuer TEXT, names TEXT,
  not_before INT, not_after INT, der BLOB, PRIMARY KEY (chain, n)) WITHOUT ROWID;
CREATE TABLE flow (id INTEGER PRIMARY KEY, type TEXT, conn INT, process INT, began INT,
  duration INT, state INT, host TEXT, url TEXT, method TEXT, version TEXT, status INT,
  content_type TEXT, request_bytes INT, response_bytes INT, response_began INT, error TEXT,
  messages INT, mark TEXT, comment TEXT, tags TEXT, request_body INT, response_body INT,
  head BLOB, uuid TEXT);
)";

/// Empty text: NULL.
using Cell = std::variant<std::optional<std::int64_t>, std::string>;

Cell number(const flow::Offset& offset) {
  return offset ? std::optional<std::int64_t>(offset->count()) : std::nullopt;
}
Cell number(const std::optional<std::uint64_t>& bytes) {
  return bytes ? std::optional(static_cast<std::int64_t>(*bytes)) : std::nullopt;
}
Cell number(std::int64_t value) {
  return std::optional(value);
}
Cell number(flow::Time time) {
  return number(
      std::chrono::duration_cast<std::chrono::microseconds>(time.time_since_epoch()).count());
}
Cell absent() {
  return std::optional<std::int64_t>();
}

void insert(sqlite3* database, const char* table, const std::vector<Cell>& cells) {
  std::string text = std::string("INSERT OR IGNORE INTO ") + table + " VALUES (?";
  for (std::size_t i = 1; i < cells.size(); ++i) text += ",?";
  sqlite3_stmt* statement = nullptr;
  REQUIRE(sqlite3_prepare_v2(database, (text + ")").c_str(), -1, &statement, nullptr) == SQLITE_OK);
  int at = 0;
  for (const Cell& cell : cells) {
    ++at;
    if (const auto* const value = std::get_if<std::string>(&cell)) {
      if (!value->empty())
        sqlite3_bind_text(statement, at, value->data(), static_cast<int>(value->size()),
                          SQLITE_STATIC);
    } else if (const auto& whole = std::get<0>(cell)) {
      sqlite3_bind_int64(statement, at, *whole);
    }
  }
  CHECK(sqlite3_step(statement) == SQLITE_DONE);
  sqlite3_finalize(statement);
}

std::string lines(const std::vector<std::string>& all, char between) {
  std::string text;
  for (const std::string& one : all) {
    if (&one != &all.front()) text += between;
    text += one;
  }
  return text;
}

Cell body(const flow::Body& body) {
  return body.empty() ? absent() : number(std::int64_t{1});
}

}  // namespace

Session::Session() {
  REQUIRE(sqlite3_open(":memory:", &database_) == SQLITE_OK);
  run(kSchema);
  REQUIRE(register_sql_functions(database_));
}

Session::~Session() {
  sqlite3_close(database_);
}

void Session::run(const std::string& statement) const {
  char* error = nullptr;
  const int result = sqlite3_exec(database_, statement.c_str(), nullptr, nullptr, &error);
  REQUIRE_MESSAGE(result == SQLITE_OK, statement << ": " << (error == nullptr ? "" : error));
}

void Session::add_process(const flow::ConnectionRecord& connection) {
  if (!connection.process) return;
  const procmap::ProcessFacts& facts = *connection.process;
  // The id of a connection serves as that of its process.
  const auto id = static_cast<std::int64_t>(connection.id);
  insert(database_, "process",
         {number(id), number(std::int64_t{facts.id.pid}), number(std::int64_t{facts.ppid}),
          number(std::int64_t{facts.uid}), number(std::int64_t{facts.gid}), facts.name, facts.exe,
          facts.user, facts.group, lines(facts.argv, ' '), facts.cgroup, number(facts.start_time),
          absent(), facts.other_names.empty() ? std::string() : facts.other_names[0],
          facts.other_names.size() < 2 ? std::string() : facts.other_names[1]});
  std::int64_t depth = 0;
  for (const auto& ancestor : facts.ancestors)
    insert(database_, "ancestor",
           {number(id), number(++depth), number(std::int64_t{ancestor.id.pid}),
            std::string(procmap::base_name(ancestor.exe)), ancestor.exe});
}

void Session::add_connection(const flow::ConnectionRecord& it) {
  const flow::TlsFacts none;
  const flow::TlsFacts& tls = it.tls ? *it.tls : none;
  const flow::TlsFacts& upstream = it.upstream_tls ? *it.upstream_tls : none;
  const bool chain = upstream.certificates && !upstream.certificates->empty();
  const auto id = static_cast<std::int64_t>(it.id);
  insert(database_, "conn",
         {number(id),
          it.process ? number(id) : absent(),
          number(it.opened),
          it.client.address().to_string(),
          number(std::int64_t{it.client.port()}),
          it.server.address().to_string(),
          number(std::int64_t{it.server.port()}),
          it.host,
          it.sni,
          it.decision,
          it.reason,
          tls.version,
          tls.cipher,
          tls.alpn,
          upstream.version,
          upstream.cipher,
          upstream.alpn,
          upstream.client_certificate,
          chain ? number(id) : absent(),
          number(it.times.connect_began),
          number(it.times.connected),
          number(it.times.upstream_tls_done),
          number(it.times.tls_done)});
  if (!chain) return;
  const flow::CertificateFacts& own = upstream.certificates->front();
  insert(database_, "cert",
         {number(id), number(std::int64_t{0}), own.sha256, own.subject, own.issuer,
          lines(own.names, '\n'), number(own.not_before), number(own.not_after), absent()});
}

void Session::add(const flow::Flow& flow) {
  const flow::FlowFacts& facts = flow.facts();
  const auto* const http = flow.http();
  const auto* const tcp = flow.tcp();
  const auto* const dns = flow.dns();
  if (facts.connection) {
    add_process(*facts.connection);
    add_connection(*facts.connection);
  }
  const bool process = facts.connection && facts.connection->process;
  const auto conn =
      facts.connection ? number(static_cast<std::int64_t>(facts.connection->id)) : absent();
  const auto text = [](const std::string* text_or_null) {
    return text_or_null == nullptr ? std::string() : *text_or_null;
  };
  const auto of = [&](auto http_member, auto tcp_member, auto dns_member) {
    return http != nullptr  ? number(http_member(*http))
           : tcp != nullptr ? number(tcp_member(*tcp))
                            : number(dns_member(*dns));
  };
  insert(
      database_, "flow",
      {number(static_cast<std::int64_t>(facts.id)),
       std::string(flow.type()),
       conn,
       process ? conn : absent(),
       number(facts.began),
       number(facts.duration),
       number(static_cast<std::int64_t>(flow.state)),
       text(http != nullptr  ? &http->host
            : tcp != nullptr ? &tcp->host
                             : nullptr),
       text(http != nullptr  ? &http->url
            : dns != nullptr ? &dns->name
                             : nullptr),
       text(http != nullptr  ? &http->request.method
            : dns != nullptr ? &dns->type
                             : nullptr),
       text(http != nullptr ? &http->request.version : nullptr),
       http != nullptr && http->response.status != 0 ? number(std::int64_t{http->response.status})
                                                     : absent(),
       http != nullptr ? std::string(http->response.fields.find("content-type")) : std::string(),
       of([](auto& it) { return it.request.body_bytes; }, [](auto& it) { return it.request_bytes; },
          [](auto& it) { return it.request_bytes; }),
       of([](auto& it) { return it.response.body_bytes; },
          [](auto& it) { return it.response_bytes; }, [](auto& it) { return it.response_bytes; }),
       http != nullptr ? number(http->response.began) : absent(),
       facts.error,
       number(static_cast<std::int64_t>(flow.messages.size())),
       flow.notes.mark,
       flow.notes.comment,
       lines(flow.notes.tags, '\n'),
       http != nullptr ? body(http->request.body) : absent(),
       http != nullptr ? body(http->response.body) : absent(),
       absent(),
       flow.uuid});
}

std::set<std::int64_t> Session::select(const SqlFilter& sql, const std::string& expression) const {
  sqlite3_stmt* statement = nullptr;
  // Each expression is 0 or 1: neither NULL nor another number.
  const std::string text = "SELECT flow.id, " + expression + " FROM " + sql.from;
  const int prepared = sqlite3_prepare_v2(database_, text.c_str(), -1, &statement, nullptr);
  REQUIRE_MESSAGE(prepared == SQLITE_OK, text << ": " << sqlite3_errmsg(database_));
  REQUIRE(sql.bind(statement) == SQLITE_OK);
  std::set<std::int64_t> ids;
  int result = 0;
  while ((result = sqlite3_step(statement)) == SQLITE_ROW) {
    const bool is_boolean = sqlite3_column_type(statement, 1) == SQLITE_INTEGER &&
                            (sqlite3_column_int64(statement, 1) | 1) == 1;
    CHECK_MESSAGE(is_boolean, text);
    if (sqlite3_column_int(statement, 1) == 1) ids.insert(sqlite3_column_int64(statement, 0));
  }
  CHECK_MESSAGE(result == SQLITE_DONE, text << ": " << sqlite3_errmsg(database_));
  sqlite3_finalize(statement);
  return ids;
}

}  // namespace mitm::query::test
