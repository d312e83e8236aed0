#include "mitm/store/session_writer.h"

#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/text.h"
#include "mitm/flow/event.h"
#include "mitm/store/record_codec.h"
#include "mitm/store/schema.h"
#include "mitm/store/session_file.h"
#include "procmap/program_names.h"

namespace mitm::store {
namespace {

enum FlowColumn : int {
  kId = 1,
  kType,
  kConnection,
  kProcess,
  kBegan,
  kDuration,
  kState,
  kHost,
  kUrl,
  kMethod,
  kVersion,
  kStatus,
  kContentType,
  kRequestBytes,
  kResponseBytes,
  kResponseBegan,
  kError,
  kMessages,
  kRequestBody,
  kResponseBody,
  kHead,
};

constexpr const char* kInsertFlow = R"sql(
INSERT INTO flow (id, type, conn, process, began, duration, state, host, url, method, version,
  status, content_type, request_bytes, response_bytes, response_began, error, messages,
  request_body, response_body, head)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET type = excluded.type, conn = excluded.conn,
  process = excluded.process, began = excluded.began, duration = excluded.duration,
  state = excluded.state,
  host = excluded.host, url = excluded.url, method = excluded.method, version = excluded.version,
  status = excluded.status, content_type = excluded.content_type,
  request_bytes = excluded.request_bytes, response_bytes = excluded.response_bytes,
  response_began = excluded.response_began, error = excluded.error,
  messages = excluded.messages, request_body = excluded.request_body,
  response_body = excluded.response_body, head = excluded.head
)sql";

constexpr const char* kInsertConnection = R"sql(
INSERT OR REPLACE INTO conn (id, process, opened, client_ip, client_port, server_ip, server_port,
  host, sni, decision, reason, tls_version, tls_cipher, tls_alpn, upstream_version,
  upstream_cipher, upstream_alpn, client_certificate, chain, connect_began, connected,
  upstream_tls_done, tls_done)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
)sql";

std::int64_t microseconds(flow::Time time) {
  return std::chrono::floor<std::chrono::microseconds>(time.time_since_epoch()).count();
}

std::optional<std::int64_t> microseconds(flow::Offset offset) {
  if (!offset) return std::nullopt;
  return offset->count();
}

std::optional<std::int64_t> signed_number(std::optional<std::uint64_t> number) {
  if (!number) return std::nullopt;
  return static_cast<std::int64_t>(*number);
}

std::optional<std::int64_t> not_zero(std::int64_t number) {
  if (number == 0) return std::nullopt;
  return number;
}

/// What tells a process from every other one, also in files that were read.
std::string key_of(const procmap::ProcessFacts& facts) {
  return fmt::format("{} {} {} {} {} {}", facts.id.pid, facts.id.start_ticks, facts.image,
                     microseconds(facts.start_time), facts.exe, fmt::join(facts.argv, "\1"));
}

}  // namespace

base::Result<std::unique_ptr<SessionWriter>> SessionWriter::open(const std::string& path) {
  if (auto made = ensure_own_file(path); !made) return made.error();
  auto database = Database::open(path, Database::Access::create);
  if (!database) return database.error();
  if (auto ready = prepare_to_write(*database); !ready) return ready.error();
  auto lock = SessionLock::take(path);
  if (!lock) return lock.error();
  std::unique_ptr<SessionWriter> writer{new SessionWriter{std::move(*lock), std::move(*database)}};
  if (auto prepared = writer->prepare(); !prepared) return prepared.error();
  return writer;
}

base::Result<> SessionWriter::prepare() {
  auto prepared = database_.prepare({
      {&begin_, "BEGIN IMMEDIATE"},
      {&commit_, "COMMIT"},
      {&insert_flow_, kInsertFlow},
      {&insert_message_,
       "INSERT OR REPLACE INTO message (flow, n, time, direction, kind, facts, payload)"
       " VALUES (?, ?, ?, ?, ?, ?, ?)"},
      {&insert_connection_, kInsertConnection},
      {&insert_process_,
       "INSERT INTO process (id, pid, ppid, uid, gid, name, path, user, grp, cmdline, cgroup,"
       " started, facts, second_name, third_name)"
       " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"},
      {&insert_ancestor_,
       "INSERT INTO ancestor (process, depth, pid, name, path) VALUES (?, ?, ?, ?, ?)"},
      {&insert_certificate_,
       "INSERT INTO cert (chain, n, sha256, subject, issuer, names, not_before, not_after)"
       " VALUES (?, ?, ?, ?, ?, ?, ?, ?)"},
      {&insert_der_, "INSERT OR IGNORE INTO certificate (sha256, der) VALUES (?, ?)"},
      {&update_notes_, "UPDATE flow SET mark = ?, comment = ?, tags = ? WHERE id = ?"},
      {&update_uuid_, "UPDATE flow SET uuid = ? WHERE id = ?"},
      {&update_request_body_, "UPDATE flow SET request_body = ? WHERE id = ?"},
      {&update_response_body_, "UPDATE flow SET response_body = ? WHERE id = ?"},
  });
  if (!prepared) return prepared.error();
  if (auto done = interrupt_live_flows(database_); !done) return done.error();
  const std::pair<std::int64_t*, const char*> counters[] = {
      {&last_flow_, "SELECT max(id) FROM flow"},
      {&last_connection_, "SELECT max(id) FROM conn"},
      {&last_process_, "SELECT max(id) FROM process"},
      {&last_chain_, "SELECT max(chain) FROM cert"},
  };
  for (const auto& [counter, sql] : counters) {
    const auto last = database_.number(sql);
    if (!last) return last.error();
    *counter = last->value_or(0);
  }
  committed_flow_ = last_flow_;
  auto bodies = BodyWriter::make(database_);
  if (!bodies) return bodies.error();
  bodies_ = std::make_unique<BodyWriter>(std::move(*bodies));
  return {};
}

base::Result<> SessionWriter::begin() {
  if (auto begun = begin_.run(); !begun) return begun.error();
  in_transaction_ = true;
  return {};
}

base::Result<> SessionWriter::commit() {
  if (auto written = bodies_->write_references(); !written) return written.error();
  if (auto done = commit_.run(); !done) return done.error();
  in_transaction_ = false;
  committed_flow_ = last_flow_;
  return {};
}

void SessionWriter::roll_back() {
  in_transaction_ = false;
  // Some errors have rolled it back already: then this one means nothing.
  static_cast<void>(database_.run("ROLLBACK"));
  last_flow_ = committed_flow_;
  bodies_->rolled_back();
  connections_.clear();
  forget_shared_rows();
}

void SessionWriter::forget_shared_rows() {
  processes_.clear();
  chains_.clear();
  last_facts_.reset();
}

std::int64_t SessionWriter::first_open_connection() const {
  std::int64_t first = last_connection_ + 1;
  for (const auto& [id, connection] : connections_) first = std::min(first, connection.id);
  return first;
}

// What flows refer to.

base::Result<std::int64_t> SessionWriter::put_process(
    const std::shared_ptr<const procmap::ProcessFacts>& facts) {
  if (!facts) return 0;
  if (facts == last_facts_) return last_process_row_;
  const std::string key = key_of(*facts);
  const std::int64_t* const known = processes_.find(key);
  last_process_row_ = known == nullptr ? ++last_process_ : *known;
  last_facts_ = facts;
  if (known != nullptr) return last_process_row_;
  if (auto put = insert(*facts, last_process_row_); !put) return put.error();
  processes_.put(key, last_process_row_);
  return last_process_row_;
}

base::Result<> SessionWriter::insert(const procmap::ProcessFacts& facts, std::int64_t id) {
  std::string blob;
  encode(facts, blob);
  const std::string command = fmt::format("{}", fmt::join(facts.argv, " "));
  insert_process_.bind(1, id).bind(2, std::int64_t{facts.id.pid});
  insert_process_.bind(3, std::int64_t{facts.ppid}).bind(4, std::int64_t{facts.uid});
  insert_process_.bind(5, std::int64_t{facts.gid}).bind(6, facts.name).bind(7, facts.exe);
  insert_process_.bind(8, facts.user).bind(9, facts.group).bind(10, command);
  insert_process_.bind(11, facts.cgroup).bind(12, microseconds(facts.start_time));
  const auto& others = facts.other_names;
  insert_process_.bind(14, others.empty() ? std::string_view() : others[0]);
  insert_process_.bind(15, others.size() < 2 ? std::string_view() : others[1]);
  if (auto put = insert_process_.bind_blob(13, blob).run(); !put) return put.error();
  std::int64_t depth = 0;
  for (const auto& ancestor : facts.ancestors) {
    insert_ancestor_.bind(1, id).bind(2, ++depth).bind(3, std::int64_t{ancestor.id.pid});
    insert_ancestor_.bind(4, procmap::base_name(ancestor.exe)).bind(5, ancestor.exe);
    if (auto put = insert_ancestor_.run(); !put) return put.error();
  }
  return {};
}

base::Result<std::int64_t> SessionWriter::put_chain(
    const std::shared_ptr<const flow::CertificateChain>& chain) {
  if (!chain || chain->empty()) return 0;
  std::string key;
  for (const auto& certificate : *chain) key += certificate.sha256;
  if (const auto* const known = chains_.find(key)) return *known;
  const std::int64_t id = ++last_chain_;
  std::int64_t n = 0;
  for (const auto& certificate : *chain) {
    const std::string names = fmt::format("{}", fmt::join(certificate.names, "\n"));
    insert_certificate_.bind(1, id).bind(2, n++).bind(3, certificate.sha256);
    insert_certificate_.bind(4, certificate.subject).bind(5, certificate.issuer).bind(6, names);
    insert_certificate_.bind(7, microseconds(certificate.not_before));
    insert_certificate_.bind(8, microseconds(certificate.not_after));
    if (auto put = insert_certificate_.run(); !put) return put.error();
    if (certificate.der.empty()) continue;
    insert_der_.bind(1, certificate.sha256).bind_blob(2, certificate.der);
    if (auto put = insert_der_.run(); !put) return put.error();
  }
  chains_.put(key, id);
  return id;
}

base::Result<const SessionWriter::Connection*> SessionWriter::put_connection(
    const std::shared_ptr<const flow::ConnectionRecord>& record) {
  Connection& known = connections_[record->id];
  if (known.record == record) return &known;
  const auto process = put_process(record->process);
  if (!process) return process.error();
  if (known.id == 0) known.id = ++last_connection_;
  known.process = *process;
  if (auto put = insert(*record, known.id, *process); !put) return put.error();
  known.record = record;
  return &known;
}

base::Result<> SessionWriter::insert(const flow::ConnectionRecord& record, std::int64_t id,
                                     std::int64_t process) {
  static const flow::TlsFacts kNone;
  const flow::TlsFacts& tls = record.tls ? *record.tls : kNone;
  const flow::TlsFacts& upstream = record.upstream_tls ? *record.upstream_tls : kNone;
  const auto chain = put_chain(upstream.certificates);
  if (!chain) return chain.error();
  const std::string client = record.client.address().to_string();
  const std::string server = record.server.address().to_string();
  Statement& row = insert_connection_;
  row.bind(1, id).bind(2, not_zero(process)).bind(3, microseconds(record.opened));
  row.bind(4, client).bind(5, std::int64_t{record.client.port()});
  row.bind(6, server).bind(7, std::int64_t{record.server.port()});
  row.bind(8, record.host).bind(9, record.sni);
  row.bind(10, record.decision).bind(11, record.reason);
  row.bind(12, tls.version).bind(13, tls.cipher).bind(14, tls.alpn);
  row.bind(15, upstream.version).bind(16, upstream.cipher).bind(17, upstream.alpn);
  row.bind(18, upstream.client_certificate).bind(19, not_zero(*chain));
  row.bind(20, microseconds(record.times.connect_began));
  row.bind(21, microseconds(record.times.connected));
  row.bind(22, microseconds(record.times.upstream_tls_done));
  return row.bind(23, microseconds(record.times.tls_done)).run();
}

// Flows.

base::Result<> SessionWriter::put_common(const flow::FlowFacts& facts, std::string_view type,
                                         const Row& row) {
  const auto connection = put_connection(facts.connection);
  if (!connection) return connection.error();
  insert_flow_.bind(kId, row.id).bind(kType, type).bind(kConnection, (*connection)->id);
  insert_flow_.bind(kProcess, not_zero((*connection)->process));
  insert_flow_.bind(kBegan, microseconds(facts.began));
  insert_flow_.bind(kDuration, microseconds(facts.duration));
  insert_flow_.bind(kState, static_cast<std::int64_t>(row.state));
  insert_flow_.bind(kError, facts.error);
  insert_flow_.bind(kMessages, static_cast<std::int64_t>(row.messages));
  insert_flow_.bind(kRequestBody, not_zero(row.request_body));
  insert_flow_.bind(kResponseBody, not_zero(row.response_body));
  return insert_flow_.bind_blob(kHead, head_).run();
}

base::Result<> SessionWriter::put(const flow::HttpFlow& flow, const Row& row) {
  head_.clear();
  encode(flow, head_);
  insert_flow_.bind(kHost, flow.host).bind(kUrl, flow.url);
  insert_flow_.bind(kMethod, flow.request.method).bind(kVersion, flow.request.version);
  insert_flow_.bind(kStatus, not_zero(flow.response.status));
  insert_flow_.bind(kContentType, flow.response.fields.find("content-type"));
  insert_flow_.bind(kRequestBytes, signed_number(flow.request.body_bytes));
  insert_flow_.bind(kResponseBytes, signed_number(flow.response.body_bytes));
  insert_flow_.bind(kResponseBegan, microseconds(flow.response.began));
  return put_common(flow, "http", row);
}

base::Result<> SessionWriter::put(const flow::TcpFlow& flow, const Row& row) {
  head_.clear();
  encode(flow, head_);
  for (const int column : {kUrl, kMethod, kVersion, kStatus, kContentType, kResponseBegan})
    insert_flow_.bind_null(column);
  insert_flow_.bind(kHost, flow.host);
  insert_flow_.bind(kRequestBytes, signed_number(flow.request_bytes));
  insert_flow_.bind(kResponseBytes, signed_number(flow.response_bytes));
  return put_common(flow, flow::to_string(flow.kind), row);
}

base::Result<> SessionWriter::put(const flow::DnsFlow& flow, const Row& row) {
  head_.clear();
  encode(flow, head_);
  for (const int column : {kHost, kVersion, kStatus, kContentType, kResponseBegan})
    insert_flow_.bind_null(column);
  insert_flow_.bind(kUrl, flow.name).bind(kMethod, flow.type);
  insert_flow_.bind(kRequestBytes, signed_number(flow.request_bytes));
  insert_flow_.bind(kResponseBytes, signed_number(flow.response_bytes));
  return put_common(flow, "dns", row);
}

base::Result<> SessionWriter::put(const flow::StreamMessage& message, std::int64_t flow,
                                  std::uint64_t n) {
  head_.clear();
  encode(message, head_);
  Statement& row = insert_message_;
  row.bind(1, flow).bind(2, static_cast<std::int64_t>(n)).bind(3, microseconds(message.time));
  row.bind(4, static_cast<std::int64_t>(message.direction));
  row.bind(5, static_cast<std::int64_t>(message.kind));
  return row.bind_blob(6, head_).bind_blob(7, message.what.payload).run();
}

base::Result<> SessionWriter::put(const flow::Flow& flow) {
  Row row{.id = next_flow(), .state = flow.state, .messages = flow.messages.size()};
  if (const auto* const http = flow.http()) {
    const auto request = bodies_->put(http->request.body);
    if (!request) return request.error();
    const auto response = bodies_->put(http->response.body);
    if (!response) return response.error();
    row.request_body = *request;
    row.response_body = *response;
  }
  auto done = std::visit([&](const auto& record) { return put(*record, row); }, flow.record);
  for (std::size_t n = 0; done && n < flow.messages.size(); ++n)
    done = put(*flow.messages[n], row.id, n);
  if (!done) return done.error();
  const flow::Notes& notes = flow.notes;
  if (!notes.mark.empty() || !notes.comment.empty() || !notes.tags.empty()) {
    if (done = set_notes(row.id, notes); !done) return done.error();
  }
  if (flow.uuid.empty()) return {};
  return update_uuid_.bind(1, flow.uuid).bind(2, row.id).run();
}

base::Result<> SessionWriter::set_body(std::int64_t flow, flow::Direction direction,
                                       std::int64_t body) {
  Statement& row =
      direction == flow::Direction::request ? update_request_body_ : update_response_body_;
  return row.bind(1, body).bind(2, flow).run();
}

base::Result<> SessionWriter::set_notes(std::int64_t flow, const flow::Notes& notes) {
  const std::string tags = fmt::format("{}", fmt::join(notes.tags, "\n"));
  update_notes_.bind(1, notes.mark).bind(2, notes.comment).bind(3, tags);
  return update_notes_.bind(4, flow).run();
}

}  // namespace mitm::store
