#include "mitm/store/session_reader.h"

#include <algorithm>

#include <fmt/format.h>
#include <sqlite3.h>
#include <sys/stat.h>

#include "base/text.h"
#include "mitm/flow/event.h"
#include "mitm/store/body_writer.h"
#include "mitm/store/record_codec.h"
#include "mitm/store/schema.h"
#include "mitm/store/session_lock.h"

namespace mitm::store {
namespace {

enum FlowColumn : int {
  kType = 0,
  kConnection,
  kBegan,
  kDuration,
  kState,
  kHost,
  kUrl,
  kMethod,
  kVersion,
  kStatus,
  kRequestBytes,
  kResponseBytes,
  kResponseBegan,
  kError,
  kMessages,
  kMark,
  kComment,
  kTags,
  kRequestBody,
  kResponseBody,
  kHead,
  kUuid,
};

constexpr const char* kSelectFlow = R"sql(
SELECT type, conn, began, duration, state, host, url, method, version, status, request_bytes,
  response_bytes, response_began, error, messages, mark, comment, tags, request_body,
  response_body, head, uuid
FROM flow WHERE id = ?
)sql";

constexpr const char* kSelectConnection = R"sql(
SELECT process, opened, client_ip, client_port, server_ip, server_port, host, sni, decision,
  reason, tls_version, tls_cipher, tls_alpn, upstream_version, upstream_cipher, upstream_alpn,
  client_certificate, chain, connect_began, connected, upstream_tls_done, tls_done
FROM conn WHERE id = ?
)sql";

flow::Time time_of(std::int64_t microseconds) {
  return flow::Time{
      std::chrono::duration_cast<flow::Time::duration>(std::chrono::microseconds{microseconds})};
}

flow::Offset offset_of(std::optional<std::int64_t> microseconds) {
  if (!microseconds) return std::nullopt;
  return std::chrono::microseconds{*microseconds};
}

std::optional<std::uint64_t> count_of(std::optional<std::int64_t> number) {
  if (!number || *number < 0) return std::nullopt;
  return static_cast<std::uint64_t>(*number);
}

std::string text_of(const Statement& row, int column) {
  return std::string{row.text(column)};
}

std::vector<std::string> lines_of(std::string_view text) {
  std::vector<std::string> lines;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    lines.emplace_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

/// An address that cannot be read is none.
base::Endpoint endpoint_of(const Statement& row, int address, int port) {
  boost::system::error_code error;
  const auto parsed = boost::asio::ip::make_address(text_of(row, address), error);
  return {error ? base::Address{} : parsed, static_cast<std::uint16_t>(row.number(port))};
}

std::shared_ptr<flow::TlsFacts> tls_of(const Statement& row, int first) {
  if (row.is_null(first)) return nullptr;
  auto facts = std::make_shared<flow::TlsFacts>();
  facts->version = row.text(first);
  facts->cipher = row.text(first + 1);
  facts->alpn = row.text(first + 2);
  return facts;
}

/// Flows that were live when their writer was killed are interrupted, unless a writer goes on; and
/// filters want the columns of the newest version. What fails here shows when it is read.
void bring_up_to_date(const std::string& path) {
  auto database = Database::open(path, Database::Access::write);
  if (!database || !check_readable(*database)) return;
  const auto version = database->number("PRAGMA user_version");
  const auto live = database->number("SELECT EXISTS (SELECT 1 FROM flow WHERE state = 0)");
  const bool is_old = version && *version != newest_version();
  if (!is_old && (!live || *live != 1)) return;
  const auto lock = SessionLock::try_take(path);
  if (lock && prepare_to_write(*database))
    static_cast<void>(interrupt_live_flows(*database).has_value());
}

/// A file that has been cut off is not opened at all by SQLite (lockBtree()), except for repairs of
/// the schema, which `query_only` forbids all the same. What is missing fails when it is read.
bool tolerate_missing_pages(Database& database) {
  sqlite3* const handle = database.handle();
  if (sqlite3_errcode(handle) != SQLITE_CORRUPT) return false;
  sqlite3_db_config(handle, SQLITE_DBCONFIG_DEFENSIVE, 0, nullptr);
  return database.run("PRAGMA writable_schema = ON").has_value();
}

/// Of a statement that could not be prepared: a table that is missing is an error of SQL.
base::Error explained(const Database& database) {
  const base::Error error = database.error();
  if (is_damage(error)) return {error.text + "; the file is damaged", error.os_code};
  if (sqlite3_errcode(database.handle()) != SQLITE_ERROR) return error;
  return {error.text + "; its tables are not those of a session of osproxy", error.os_code};
}

}  // namespace

base::Result<Database> SessionReader::open_database(const std::string& path) {
  auto database = Database::open(path, Database::Access::read);
  if (!database) return database;
  auto good = check_readable(*database);
  if (!good && tolerate_missing_pages(*database)) good = check_readable(*database);
  if (!good) return good.error();
  return database;
}

base::Result<std::unique_ptr<SessionReader>> SessionReader::open(const std::string& path) {
  bring_up_to_date(path);
  auto database = open_database(path);
  if (!database) return database.error();
  std::unique_ptr<SessionReader> reader{new SessionReader{std::move(*database)}};
  if (auto ready = reader->prepare(); !ready) return explained(reader->database_);
  // While it is written, its pages may be in the log.
  struct stat log {};
  const bool has_log = ::stat((path + "-wal").c_str(), &log) == 0 && log.st_size > 0;
  reader->cut_off_ = !has_log && reader->database_.is_cut_off();
  return reader;
}

base::Result<> SessionReader::prepare() {
  // What may only be read may be of an older version.
  const auto der =
      database_.number("SELECT count(*) FROM sqlite_schema WHERE name = 'certificate'");
  if (!der) return der.error();
  return database_.prepare({
      {&select_flow_, kSelectFlow},
      {&select_messages_,
       "SELECT time, direction, kind, facts, payload FROM message WHERE flow = ? ORDER BY n"},
      {&select_connection_, kSelectConnection},
      {&select_process_,
       "SELECT pid, ppid, uid, gid, name, path, user, grp, cgroup, started, facts FROM process"
       " WHERE id = ?"},
      {&select_ancestors_, "SELECT pid, path FROM ancestor WHERE process = ? ORDER BY depth"},
      {&select_chain_,
       *der == 0 ? "SELECT sha256, subject, issuer, names, not_before, not_after, der FROM cert"
                   " WHERE chain = ? ORDER BY n"
                 : "SELECT cert.sha256, subject, issuer, names, not_before, not_after,"
                   " certificate.der FROM cert LEFT JOIN certificate USING (sha256)"
                   " WHERE chain = ? ORDER BY n"},
      {&select_body_, fmt::format("SELECT body.size, body.cut, chunk.data FROM body LEFT JOIN chunk"
                                  " ON chunk.id BETWEEN body.id * {0} AND body.id * {0} + {0} - 1"
                                  " WHERE body.id = ? ORDER BY chunk.id",
                                  kMostChunks)},
  });
}

base::Error SessionReader::damaged(std::int64_t id) const {
  return base::failure("{}: flow {} is damaged", base::printable(database_.path()), id);
}

// What flows refer to.

base::Result<SessionReader::Process> SessionReader::process(std::int64_t id) {
  if (id == 0) return Process{};
  if (const Process* const known = processes_.find(id)) return *known;
  Statement& row = select_process_;
  const auto found = row.bind(1, id).step();
  if (!found) return found.error();
  if (!*found) return Process{};
  auto facts = std::make_shared<procmap::ProcessFacts>();
  facts->id.pid = static_cast<pid_t>(row.number(0));
  facts->ppid = static_cast<pid_t>(row.number(1));
  facts->uid = static_cast<uid_t>(row.number(2));
  facts->gid = static_cast<gid_t>(row.number(3));
  facts->name = row.text(4);
  facts->exe = row.text(5);
  facts->user = row.text(6);
  facts->group = row.text(7);
  facts->cgroup = row.text(8);
  facts->start_time = time_of(row.number(9));
  const std::string blob = text_of(row, 10);
  row.reset();
  if (auto read = ancestors(id, *facts); !read) return read.error();
  if (!decode(blob, *facts)) return damaged(id);
  processes_.put(id, facts);
  return Process{std::move(facts)};
}

base::Result<> SessionReader::ancestors(std::int64_t process, procmap::ProcessFacts& facts) {
  select_ancestors_.bind(1, process);
  for (;;) {
    const auto row = select_ancestors_.step();
    if (!row) return row.error();
    if (!*row) return {};
    auto& ancestor = facts.ancestors.emplace_back();
    ancestor.id.pid = static_cast<pid_t>(select_ancestors_.number(0));
    ancestor.exe = select_ancestors_.text(1);
  }
}

base::Result<SessionReader::Chain> SessionReader::chain(std::int64_t id) {
  if (id == 0) return Chain{};
  if (const Chain* const known = chains_.find(id)) return *known;
  auto certificates = std::make_shared<flow::CertificateChain>();
  Statement& row = select_chain_;
  row.bind(1, id);
  for (;;) {
    const auto found = row.step();
    if (!found) return found.error();
    if (!*found) break;
    auto& certificate = certificates->emplace_back();
    certificate.sha256 = row.text(0);
    certificate.subject = row.text(1);
    certificate.issuer = row.text(2);
    certificate.names = lines_of(row.text(3));
    certificate.not_before = time_of(row.number(4));
    certificate.not_after = time_of(row.number(5));
    certificate.der = row.text(6);
  }
  chains_.put(id, certificates);
  return Chain{std::move(certificates)};
}

/// What a connection looked like when its last flow was written.
base::Result<SessionReader::Connection> SessionReader::connection(std::int64_t id) {
  if (const Connection* const known = connections_.find(id)) return *known;
  auto record = std::make_shared<flow::ConnectionRecord>();
  record->id = static_cast<std::uint64_t>(id);
  Statement& row = select_connection_;
  const auto found = row.bind(1, id).step();
  if (!found) return found.error();
  if (!*found) return Connection{std::move(record)};
  const std::int64_t process_id = row.number(0);
  record->opened = time_of(row.number(1));
  record->client = endpoint_of(row, 2, 3);
  record->server = endpoint_of(row, 4, 5);
  record->host = row.text(6);
  record->sni = row.text(7);
  record->decision = row.text(8);
  record->reason = row.text(9);
  record->tls = tls_of(row, 10);
  const auto upstream = tls_of(row, 13);
  if (upstream) upstream->client_certificate = row.text(16);
  const std::int64_t chain_id = row.number(17);
  record->times = {offset_of(row.maybe_number(18)), offset_of(row.maybe_number(19)),
                   offset_of(row.maybe_number(20)), offset_of(row.maybe_number(21))};
  row.reset();
  const auto facts = process(process_id);
  if (!facts) return facts.error();
  record->process = *facts;
  const auto certificates = chain(chain_id);
  if (!certificates) return certificates.error();
  if (upstream) upstream->certificates = *certificates;
  record->upstream_tls = upstream;
  connections_.put(id, record);
  return Connection{std::move(record)};
}

/// One that is not there is cut.
base::Result<flow::Body> SessionReader::body(std::int64_t id, std::uint64_t limit) {
  flow::BodyRecorder recorder;
  if (limit == 0) recorder.cut();
  bool cut = true;
  Statement& row = select_body_;
  for (row.bind(1, id); !recorder.body().is_cut();) {
    const auto found = row.step();
    if (!found) return found.error();
    if (!*found) break;
    cut = row.number(1) != 0;
    recorder.append(row.text(2), limit);
    // What is whole needs no look for more.
    if (row.maybe_number(0) == static_cast<std::int64_t>(recorder.body().size())) break;
  }
  row.reset();
  if (cut) recorder.cut();
  return recorder.body();
}

base::Result<> SessionReader::messages(flow::Flow& flow, std::uint64_t limit) {
  const flow::FlowFacts& facts = flow.facts();
  const flow::HttpFlow* const http = flow.http();
  Statement& row = select_messages_;
  row.bind(1, static_cast<std::int64_t>(facts.id));
  for (;;) {
    const auto found = row.step();
    if (!found) return found.error();
    if (!*found) return {};
    auto message = std::make_shared<flow::StreamMessage>();
    message->flow = facts.id;
    message->connection = facts.connection;
    if (http != nullptr) message->host = http->host;
    if (http != nullptr) message->url = http->url;
    message->time = time_of(row.number(0));
    message->direction = row.number(1) == 0 ? flow::Direction::request : flow::Direction::response;
    const auto kind = std::clamp<std::int64_t>(row.number(2), 0, 3);
    message->kind = static_cast<flow::StreamMessage::Kind>(kind);
    const bool whole = decode(row.text(3), *message);
    message->what.payload = row.text(4).substr(0, limit);
    if (row.text(4).size() > limit) message->what.cut = true;
    if (!whole) {
      row.reset();
      return damaged(static_cast<std::int64_t>(facts.id));
    }
    flow.messages.push_back(std::move(message));
  }
}

// Flows.

/// All of it but its messages.
template <class Record>
base::Result<> SessionReader::read(Record& record, std::int64_t id, std::uint64_t body_limit) {
  const Statement& row = select_flow_;
  record.id = static_cast<std::uint64_t>(id);
  record.began = time_of(row.number(kBegan));
  record.duration = offset_of(row.maybe_number(kDuration));
  record.error = row.text(kError);
  const auto held = connection(row.number(kConnection));
  if (!held) return held.error();
  record.connection = *held;
  if (auto columns = read_columns(record, body_limit); !columns) return columns.error();
  if (!decode(row.text(kHead), record)) return damaged(id);
  return {};
}

base::Result<> SessionReader::read_columns(flow::TcpFlow& flow, std::uint64_t /*body_limit*/) {
  const Statement& row = select_flow_;
  flow.host = row.text(kHost);
  flow.request_bytes = count_of(row.maybe_number(kRequestBytes));
  flow.response_bytes = count_of(row.maybe_number(kResponseBytes));
  return {};
}

base::Result<> SessionReader::read_columns(flow::DnsFlow& flow, std::uint64_t /*body_limit*/) {
  const Statement& row = select_flow_;
  flow.name = row.text(kUrl);
  flow.type = row.text(kMethod);
  flow.request_bytes = count_of(row.maybe_number(kRequestBytes));
  flow.response_bytes = count_of(row.maybe_number(kResponseBytes));
  return {};
}

base::Result<> SessionReader::read_columns(flow::HttpFlow& flow, std::uint64_t body_limit) {
  const Statement& row = select_flow_;
  flow.host = row.text(kHost);
  flow.url = row.text(kUrl);
  flow.request.method = row.text(kMethod);
  flow.request.version = row.text(kVersion);
  flow.request.body_bytes = count_of(row.maybe_number(kRequestBytes));
  flow.response.status = static_cast<int>(row.number(kStatus));
  flow.response.body_bytes = count_of(row.maybe_number(kResponseBytes));
  flow.response.began = offset_of(row.maybe_number(kResponseBegan));
  for (const auto& [column, into] : {std::pair{kRequestBody, &flow.request.body},
                                     std::pair{kResponseBody, &flow.response.body}}) {
    if (row.is_null(column)) continue;
    auto read = body(row.number(column), body_limit);
    if (!read) return read.error();
    *into = std::move(*read);
  }
  return {};
}

base::Result<> SessionReader::read_record(flow::Flow& flow, std::int64_t id,
                                          std::uint64_t body_limit) {
  const std::string_view type = select_flow_.text(kType);
  const auto read_as = [&](auto record) {
    auto done = read(*record, id, body_limit);
    flow.record = std::move(record);
    return done;
  };
  if (type == "http") return read_as(std::make_shared<flow::HttpFlow>());
  if (type == "dns") return read_as(std::make_shared<flow::DnsFlow>());
  const auto kind = flow::tcp_kind(type);
  if (!kind) return damaged(id);
  auto record = std::make_shared<flow::TcpFlow>();
  record->kind = *kind;
  return read_as(std::move(record));
}

base::Result<std::optional<flow::Flow>> SessionReader::flow(std::int64_t id,
                                                            std::uint64_t body_limit) {
  Statement& row = select_flow_;
  const auto found = row.bind(1, id).step();
  if (!found) return found.error();
  if (!*found) return std::nullopt;
  flow::Flow flow;
  auto done = read_record(flow, id, body_limit);
  const auto state = std::clamp<std::int64_t>(row.number(kState), 0, 2);
  flow.state = static_cast<flow::Flow::State>(state);
  flow.notes = {text_of(row, kMark), text_of(row, kComment), lines_of(row.text(kTags))};
  flow.uuid = row.text(kUuid);
  const bool has_messages = row.number(kMessages) > 0 || flow.state != flow::Flow::State::ended;
  row.reset();
  if (done && has_messages) done = messages(flow, body_limit);
  if (!done) return done.error();
  return flow;
}

}  // namespace mitm::store
