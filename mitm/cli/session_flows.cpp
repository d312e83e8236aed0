#include "mitm/cli/session_flows.h"

#include <fmt/format.h>
#include <sqlite3.h>

#include "mitm/query/sql_functions.h"

namespace mitm::cli {

using base::Result;

namespace {

/// Flows that are asked within one transaction.
constexpr std::size_t kBatch = 500;
constexpr std::uint64_t kShortBody = 64 << 10;

/// Whether there is no more of it than was read, as far as it shows.
bool is_whole(const flow::Flow& flow) {
  const flow::HttpFlow* const http = flow.http();
  const bool has_cut_body =
      http != nullptr && (http->request.body.is_cut() || http->response.body.is_cut());
  return flow.messages.empty() && !has_cut_body;
}

}  // namespace

Result<std::unique_ptr<SessionFlows>> SessionFlows::open(const std::string& path,
                                                         const query::Filter& filter,
                                                         OnProgress on_progress) {
  auto reader = store::SessionReader::open(path);
  if (!reader) return reader.error();
  sqlite3* const handle = (*reader)->database().handle();
  if (auto added = query::register_sql_functions(handle); !added) return added.error();
  return std::unique_ptr<SessionFlows>{
      new SessionFlows{std::move(*reader), filter, std::move(on_progress)}};
}

void SessionFlows::add(std::int64_t id) {
  add(id, false);
}

void SessionFlows::add(std::int64_t id, bool certain) {
  added_.push_back({static_cast<std::uint32_t>(id) & 0x7fffffffU, certain ? 1U : 0U});
}

Result<> SessionFlows::select(std::string_view condition, std::string_view order) {
  store::Database& database = reader_->database();
  const query::SqlFilter sql = filter_.sql();
  auto rows = database.prepare(fmt::format("SELECT flow.id, {} FROM {} WHERE {} AND {} ORDER BY {}",
                                           sql.exact ? "1" : sql.certain, sql.from, condition,
                                           sql.where, order));
  if (!rows) return rows.error();
  if (sql.bind(rows->handle()) != SQLITE_OK) return database.error();
  const std::size_t before = added_.size();
  for (;;) {
    const auto row = rows->step();
    if (!row) {
      added_.resize(before);
      return row.error();
    }
    if (!*row) return {};
    add(rows->number(0), rows->number(1) != 0);
  }
}

/// Empty: it does not match, or a ring has deleted it meanwhile.
Result<std::optional<flow::Flow>> SessionFlows::load(Added one) {
  constexpr std::uint64_t kWhole = store::SessionReader::kWholeBody;
  if (one.certain != 0) return reader_->flow(one.id, kWhole);
  // Long bodies are read of flows that match, unless they decide that.
  const bool may_be_cut = filter_.cost() != query::Cost::bodies;
  auto flow = reader_->flow(one.id, may_be_cut ? kShortBody : kWhole);
  if (!flow || !*flow) return flow;
  if (!filter_.matches(**flow)) return std::nullopt;
  return may_be_cut && !is_whole(**flow) ? reader_->flow(one.id, kWhole) : flow;
}

Result<std::optional<flow::Flow>> SessionFlows::next() {
  // A transaction for each flow would cost as much as a short flow; none lasts while what was
  // found is being shown, since the session could not shrink its log.
  std::optional<store::ReadTransaction> batch;
  for (std::size_t asked = 0; next_ < added_.size(); ++asked) {
    const Added one = added_[next_++];
    if (on_progress_) on_progress_(next_, added_.size());
    if (asked % kBatch == 1) {
      batch.reset();
      if (auto begun = store::ReadTransaction::begin(reader_->database()))
        batch.emplace(std::move(*begun));
    }
    auto flow = load(one);
    if (!flow || *flow) return flow;
  }
  added_.clear();
  next_ = 0;
  return std::nullopt;
}

}  // namespace mitm::cli
