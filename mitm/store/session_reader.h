// Flows out of a session, also while it is being written. For one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/lru_cache.h"
#include "mitm/flow/flow.h"
#include "mitm/store/database.h"

namespace mitm::store {

class SessionReader {
 public:
  /// Bytes of a body that are read at once: no file has more of one.
  static constexpr std::uint64_t kWholeBody = 256 << 20;

  /// Needs no right to write to it; see check_readable(). With that right, flows that a killed
  /// writer has left live are first marked as interrupted.
  static base::Result<std::unique_ptr<SessionReader>> open(const std::string& path);
  /// The database alone, for statements of the caller's. A session that a SessionReader has opened
  /// already is up to date.
  static base::Result<Database> open_database(const std::string& path);
  SessionReader(const SessionReader&) = delete;
  SessionReader& operator=(const SessionReader&) = delete;

  /// The flow with its messages and `body_limit` bytes of its bodies and of each message; empty:
  /// there is none with this id. Ids in it are those of the session. A limit of 0 costs nothing for
  /// bodies, which are cut then.
  [[nodiscard]] base::Result<std::optional<flow::Flow>> flow(std::int64_t id,
                                                             std::uint64_t body_limit);
  /// Whether the end of the file is missing: flows may be, without an error that says so.
  [[nodiscard]] bool is_cut_off() const { return cut_off_; }
  /// For statements of the caller's, which must end soon: what is read at the time cannot be
  /// overwritten, and the file grows.
  [[nodiscard]] Database& database() { return database_; }

 private:
  using Connection = std::shared_ptr<const flow::ConnectionRecord>;
  using Process = std::shared_ptr<const procmap::ProcessFacts>;
  using Chain = std::shared_ptr<const flow::CertificateChain>;

  explicit SessionReader(Database database) : database_(std::move(database)) {}
  [[nodiscard]] base::Result<> prepare();
  [[nodiscard]] base::Result<Connection> connection(std::int64_t id);
  [[nodiscard]] base::Result<Process> process(std::int64_t id);
  [[nodiscard]] base::Result<> ancestors(std::int64_t process, procmap::ProcessFacts& facts);
  [[nodiscard]] base::Result<Chain> chain(std::int64_t id);
  [[nodiscard]] base::Result<flow::Body> body(std::int64_t id, std::uint64_t limit);
  [[nodiscard]] base::Result<> messages(flow::Flow& flow, std::uint64_t limit);
  [[nodiscard]] base::Result<> read_record(flow::Flow& flow, std::int64_t id,
                                           std::uint64_t body_limit);
  template <class Record>
  [[nodiscard]] base::Result<> read(Record& record, std::int64_t id, std::uint64_t body_limit);
  [[nodiscard]] base::Result<> read_columns(flow::HttpFlow& flow, std::uint64_t body_limit);
  [[nodiscard]] base::Result<> read_columns(flow::TcpFlow& flow, std::uint64_t body_limit);
  [[nodiscard]] base::Result<> read_columns(flow::DnsFlow& flow, std::uint64_t body_limit);
  [[nodiscard]] base::Error damaged(std::int64_t id) const;

  bool cut_off_ = false;
  Database database_;
  Statement select_flow_, select_messages_, select_connection_, select_process_, select_ancestors_,
      select_chain_, select_body_;
  base::LruCache<std::int64_t, Connection> connections_{256};
  base::LruCache<std::int64_t, Process> processes_{256};
  base::LruCache<std::int64_t, Chain> chains_{64};
};

}  // namespace mitm::store
