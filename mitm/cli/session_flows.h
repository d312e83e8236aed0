// Flows of a session that a filter selects: their ids by SQL, then flow by flow.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "mitm/flow/flow.h"
#include "mitm/query/filter.h"
#include "mitm/store/session_reader.h"

namespace mitm::cli {

/// No statement and no transaction is open between its calls. For one thread.
class SessionFlows {
 public:
  /// Called before each flow that is asked: as far as that of those that were added.
  using OnProgress = std::function<void(std::uint64_t asked, std::uint64_t added)>;

  static base::Result<std::unique_ptr<SessionFlows>> open(const std::string& path,
                                                          const query::Filter& filter,
                                                          OnProgress on_progress);
  SessionFlows(const SessionFlows&) = delete;
  SessionFlows& operator=(const SessionFlows&) = delete;

  /// Adds the flows that their rows do not rule out, of those for which `condition` is true, a term
  /// of SQL, in `order`, as behind ORDER BY. After an error nothing is added.
  [[nodiscard]] base::Result<> select(std::string_view condition, std::string_view order);
  /// Adds one that may match.
  void add(std::int64_t id);

  /// The next one that matches; empty: all that were added have been asked. An error is that of a
  /// single flow: the next call goes on behind it.
  [[nodiscard]] base::Result<std::optional<flow::Flow>> next();

  [[nodiscard]] store::SessionReader& reader() { return *reader_; }

 private:
  struct Added {
    std::uint32_t id : 31;
    std::uint32_t certain : 1;  ///< it matches, whatever else is in it
  };

  SessionFlows(std::unique_ptr<store::SessionReader> reader, query::Filter filter,
               OnProgress on_progress)
      : reader_(std::move(reader)),
        filter_(std::move(filter)),
        on_progress_(std::move(on_progress)) {}
  void add(std::int64_t id, bool certain);
  [[nodiscard]] base::Result<std::optional<flow::Flow>> load(Added one);

  std::unique_ptr<store::SessionReader> reader_;
  query::Filter filter_;
  OnProgress on_progress_;
  std::vector<Added> added_;
  std::size_t next_ = 0;  ///< of `added_`
};

}  // namespace mitm::cli
