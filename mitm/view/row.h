// What a list shows of a flow: its row in the session's tables, without bodies or fields.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "mitm/flow/flow.h"
#include "mitm/store/database.h"
#include "mitm/view/id_set.h"

namespace mitm::view {

/// Texts are bytes from the network, empty where they are absent: what shows them makes them safe
/// to show.
struct Row {
  Id id = 0;
  std::string type;  ///< Flow::type()
  flow::Flow::State state = flow::Flow::State::ended;
  flow::Time began;
  flow::Offset duration;
  std::string host;
  std::string url;     ///< dns: the name that was asked for
  std::string method;  ///< dns: the type that was asked for
  std::string version;
  int status = 0;  ///< 0: none
  std::string content_type;
  std::optional<std::uint64_t> request_bytes;
  std::optional<std::uint64_t> response_bytes;
  std::uint64_t messages = 0;
  std::string error;
  std::string mark;
  std::string comment;
  std::string process;  ///< its name
  std::optional<std::int64_t> pid;
};

/// For one thread.
class RowReader {
 public:
  /// A session that a SessionReader has opened already.
  static base::Result<std::unique_ptr<RowReader>> open(const std::string& path);
  RowReader(const RowReader&) = delete;
  RowReader& operator=(const RowReader&) = delete;

  /// Those with these ids, all of one moment; empty: there is no such flow, any more.
  [[nodiscard]] base::Result<std::vector<std::optional<Row>>> rows(const std::vector<Id>& ids);

 private:
  explicit RowReader(store::Database database) : database_(std::move(database)) {}
  [[nodiscard]] base::Result<std::optional<Row>> row(Id id);

  store::Database database_;
  store::Statement select_;
};

}  // namespace mitm::view
