// A session's tables in memory, filled from flows: what mitm/store does with files.
#pragma once

#include <set>
#include <string>

#include <sqlite3.h>

#include "mitm/flow/flow.h"
#include "mitm/query/filter.h"

namespace mitm::query::test {

class Session {
 public:
  Session();
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  /// Under the id of its record. A connection or process that is there already is not added again.
  void add(const flow::Flow& flow);
  /// Ids of the flows for which `expression`, of `sql`, is true.
  [[nodiscard]] std::set<std::int64_t> select(const SqlFilter& sql,
                                              const std::string& expression) const;
  [[nodiscard]] sqlite3* database() const { return database_; }
  void run(const std::string& statement) const;

 private:
  void add_process(const flow::ConnectionRecord& connection);
  void add_connection(const flow::ConnectionRecord& connection);

  sqlite3* database_ = nullptr;
};

}  // namespace mitm::query::test
