// What filters cost: on a flow in memory, on a body, on the rows of a session.
//   query_bench [ROWS]    default: 1,000,000 rows
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>

#include <sqlite3.h>

#include "mitm/query/filter.h"
#include "mitm/query/sql_functions.h"

namespace {

using mitm::flow::Flow;
using mitm::query::Filter;

/// Of processor time: others may work beside us.
double seconds_since(std::clock_t begin) {
  return static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
}

Flow flow_with_body(std::string body) {
  auto process = std::make_shared<procmap::ProcessFacts>();
  process->name = "curl";
  process->exe = "/usr/bin/curl";
  auto connection = std::make_shared<mitm::flow::ConnectionRecord>();
  connection->process = process;
  auto http = std::make_shared<mitm::flow::HttpFlow>();
  http->connection = connection;
  http->host = "www.example.org";
  http->url = "https://www.example.org/api/v1/items?page=2";
  http->response.status = 503;
  http->response.body = mitm::flow::Body(std::move(body));
  Flow flow;
  flow.record = std::move(http);
  return flow;
}

/// Lines of words as they are in JSON and HTML.
std::string filler(std::size_t size) {
  std::string text;
  while (text.size() < size)
    text += "{\"id\": 1234, \"name\": \"A lamp of glass\", \"tags\": [\"in stock\", \"new\"]},\n";
  return text;
}

void measure_match(const char* text, const Flow& flow) {
  const auto filter = Filter::parse(text).value();
  constexpr int kTimes = 1'000'000;
  int matches = 0;
  const auto begin = std::clock();
  for (int i = 0; i < kTimes; ++i) matches += filter.matches(flow) ? 1 : 0;
  std::printf("%-40s %7.0f ns a flow (%s)\n", text, seconds_since(begin) / kTimes * 1e9,
              matches > 0 ? "matches" : "does not match");
}

void measure_body(const char* text, const Flow& flow, std::size_t size) {
  const auto filter = Filter::parse(text).value();
  constexpr int kTimes = 20;
  int matches = 0;
  const auto begin = std::clock();
  for (int i = 0; i < kTimes; ++i) matches += filter.matches(flow) ? 1 : 0;
  const double rate = static_cast<double>(size) * kTimes / seconds_since(begin) / 1e6;
  std::printf("%-40s %7.0f MB/s (%d)\n", text, rate, matches);
}

void run(sqlite3* database, const std::string& statement) {
  if (sqlite3_exec(database, statement.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK) return;
  std::fprintf(stderr, "%s\n", sqlite3_errmsg(database));
  std::exit(1);
}

/// The columns that filters read, beside a head of 600 bytes.
void fill(sqlite3* database, const std::string& rows) {
  run(database, R"(
CREATE TABLE process (id INTEGER PRIMARY KEY, name TEXT, path TEXT, second_name TEXT,
  third_name TEXT);
CREATE TABLE conn (id INTEGER PRIMARY KEY, process INT, server_ip TEXT, server_port INT,
  host TEXT);
CREATE TABLE flow (id INTEGER PRIMARY KEY, type TEXT, conn INT, process INT, began INT,
  duration INT, state INT, host TEXT, url TEXT, method TEXT, version TEXT, status INT,
  content_type TEXT, request_bytes INT, response_bytes INT, response_began INT, error TEXT,
  messages INT, mark TEXT, comment TEXT, tags TEXT, request_body INT, response_body INT,
  head BLOB, uuid TEXT);
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 99)
INSERT INTO process (id, name, path)
  SELECT i, CASE i % 10 WHEN 3 THEN 'curl' ELSE 'program' || i END,
  '/usr/bin/program' || i FROM n;)");
  run(database, "BEGIN; WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < " +
                    rows + R"()
INSERT INTO flow SELECT i, 'http', i / 4, i % 100, 1700000000000000 + i, i % 900000, 1,
  'host' || (i % 500) || '.example.org',
  'https://host' || (i % 500) || '.example.org/api/v1/items/' || i || '?page=' || (i % 7), 'GET',
  '2', CASE i % 50 WHEN 13 THEN 503 ELSE 200 END, 'application/json', 0, i % 50000, 900, NULL, 0,
  NULL, NULL, NULL, NULL, i, zeroblob(600), NULL FROM n;
INSERT INTO conn SELECT DISTINCT conn, process, '192.0.2.1', 443, host FROM flow GROUP BY conn;
COMMIT;)");
}

void measure_rows(sqlite3* database, const char* text) {
  const auto sql = Filter::parse(text).value().sql();
  sqlite3_stmt* statement = nullptr;
  const std::string select = "SELECT count(*) FROM " + sql.from + " WHERE " + sql.where;
  sqlite3_prepare_v2(database, select.c_str(), -1, &statement, nullptr);
  sql.bind(statement);
  const auto begin = std::clock();
  sqlite3_step(statement);
  std::printf("%-40s %7.0f ms (%d rows)\n", text, seconds_since(begin) * 1e3,
              sqlite3_column_int(statement, 0));
  sqlite3_finalize(statement);
}

}  // namespace

int main(int argc, char** argv) {
  const Flow small = flow_with_body("{}");
  for (const char* const text : {"~p curl & ~c 5xx", "~c 4xx & ~p curl", "~u /api/v[0-9]/items",
                                 "host == www.example.org", "domain == example.org"})
    measure_match(text, small);
  constexpr std::size_t kBody = 16 << 20;
  const Flow large = flow_with_body(filler(kBody));
  for (const char* const text :
       {"~b password", "~b (?-i)password", "~b \"pass(word|phrase)=\"",
        "~b \"[a-z]+@[a-z]+[.]com\"", "resp.body contains \"out of stock\""})
    measure_body(text, large, kBody);
  sqlite3* database = nullptr;
  sqlite3_open(":memory:", &database);
  if (!mitm::query::register_sql_functions(database)) return 1;
  const std::string rows = argc > 1 ? argv[1] : "1000000";
  fill(database, rows);
  std::printf("of %s rows:\n", rows.c_str());
  for (const char* const text :
       {"~p curl & ~c 5xx", "~c 5xx", "duration > 300ms", "~p curl", "host == host7.example.org",
        "~u items/12345", "~u items/[0-9]*7[?]", "path startswith /api/v2", "port == 443",
        "~ts json & ~size >10k"})
    measure_rows(database, text);
  sqlite3_close(database);
  return 0;
}
