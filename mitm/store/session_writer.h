// The rows of a session. For one thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/lru_cache.h"
#include "mitm/flow/flow.h"
#include "mitm/store/body_writer.h"
#include "mitm/store/database.h"
#include "mitm/store/session_lock.h"

namespace mitm::store {

class SessionWriter {
 public:
  /// What a row of `flow` has beside its record.
  struct Row {
    std::int64_t id = 0;  ///< next_flow()
    flow::Flow::State state = flow::Flow::State::ended;
    std::uint64_t messages = 0;
    std::int64_t request_body = 0;  ///< 0: none was recorded
    std::int64_t response_body = 0;
  };

  /// A file of the calling user's, made if it is missing, otherwise continued: flows that were live
  /// when it was last written to are now interrupted. An error names it: another user's, a symbolic
  /// link, no session, another process writes to it ...
  static base::Result<std::unique_ptr<SessionWriter>> open(const std::string& path);
  SessionWriter(const SessionWriter&) = delete;
  SessionWriter& operator=(const SessionWriter&) = delete;

  /// Whatever is written is written within a transaction.
  [[nodiscard]] base::Result<> begin();
  [[nodiscard]] base::Result<> commit();
  void roll_back();
  [[nodiscard]] bool is_in_transaction() const { return in_transaction_; }

  /// Of a row that is put within the same transaction: readers take an id below the newest one that
  /// has no row for a flow that was deleted. Ids of flows that were rolled back are given anew.
  [[nodiscard]] std::int64_t next_flow() { return ++last_flow_; }
  /// A new row, or what is known now of one that is there; the user's notes on it stay.
  [[nodiscard]] base::Result<> put(const flow::HttpFlow& flow, const Row& row);
  [[nodiscard]] base::Result<> put(const flow::TcpFlow& flow, const Row& row);
  [[nodiscard]] base::Result<> put(const flow::DnsFlow& flow, const Row& row);
  /// Message number `n`, from 0, of a flow.
  [[nodiscard]] base::Result<> put(const flow::StreamMessage& message, std::int64_t flow,
                                   std::uint64_t n);
  /// All of a flow that has ended, with its bodies, messages and notes, as a new row.
  [[nodiscard]] base::Result<> put(const flow::Flow& flow);
  /// Of a flow that is live: where its body is being written.
  [[nodiscard]] base::Result<> set_body(std::int64_t flow, flow::Direction direction,
                                        std::int64_t body);
  [[nodiscard]] base::Result<> set_notes(std::int64_t flow, const flow::Notes& notes);
  [[nodiscard]] BodyWriter& bodies() { return *bodies_; }
  /// Rows of processes and certificates may have been deleted: flows to come get their own.
  void forget_shared_rows();
  /// No flow of that connection is put any more.
  void forget_connection(std::uint64_t id) { connections_.erase(id); }

  /// Connections from this one on may get more flows.
  [[nodiscard]] std::int64_t first_open_connection() const;
  /// Whether the id is that of a flow that lasts.
  [[nodiscard]] bool has_flow(std::int64_t id) const { return id <= committed_flow_; }

  [[nodiscard]] Database& database() { return database_; }

 private:
  struct Connection {
    std::shared_ptr<const flow::ConnectionRecord> record;  ///< as it was written
    std::int64_t id = 0;
    std::int64_t process = 0;
  };
  SessionWriter(SessionLock lock, Database database)
      : lock_(std::move(lock)), database_(std::move(database)) {}
  [[nodiscard]] base::Result<> prepare();
  [[nodiscard]] base::Result<const Connection*> put_connection(
      const std::shared_ptr<const flow::ConnectionRecord>& record);
  [[nodiscard]] base::Result<> insert(const flow::ConnectionRecord& record, std::int64_t id,
                                      std::int64_t process);
  [[nodiscard]] base::Result<std::int64_t> put_process(
      const std::shared_ptr<const procmap::ProcessFacts>& facts);
  [[nodiscard]] base::Result<> insert(const procmap::ProcessFacts& facts, std::int64_t id);
  [[nodiscard]] base::Result<std::int64_t> put_chain(
      const std::shared_ptr<const flow::CertificateChain>& chain);
  [[nodiscard]] base::Result<> put_common(const flow::FlowFacts& facts, std::string_view type,
                                          const Row& row);

  SessionLock lock_;
  Database database_;
  std::unique_ptr<BodyWriter> bodies_;
  Statement begin_, commit_, insert_flow_, insert_message_, insert_connection_, insert_process_,
      insert_ancestor_, insert_certificate_, insert_der_, update_notes_, update_uuid_,
      update_request_body_, update_response_body_;
  bool in_transaction_ = false;
  std::int64_t last_flow_ = 0, committed_flow_ = 0;
  std::int64_t last_connection_ = 0, last_process_ = 0, last_chain_ = 0;
  std::unordered_map<std::uint64_t, Connection> connections_;  ///< by ConnectionRecord::id
  std::shared_ptr<const procmap::ProcessFacts> last_facts_;    ///< whose row is last_process_row_
  std::int64_t last_process_row_ = 0;
  base::LruCache<std::string, std::int64_t> processes_{4096};  ///< by what tells them apart
  base::LruCache<std::string, std::int64_t> chains_{1024};     ///< by all sha256 of a chain
  std::string head_;
};

}  // namespace mitm::store
