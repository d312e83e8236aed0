#include "mitm/view/row.h"

#include <algorithm>

#include "mitm/store/session_reader.h"

namespace mitm::view {
namespace {

constexpr const char* kSelect = R"sql(
SELECT flow.type, flow.state, flow.began, flow.duration, flow.host, flow.url, flow.method,
  flow.version, flow.status, flow.content_type, flow.request_bytes, flow.response_bytes,
  flow.messages, flow.error, flow.mark, flow.comment, process.name, process.pid
FROM flow LEFT JOIN process ON process.id = flow.process WHERE flow.id = ?
)sql";

std::optional<std::uint64_t> count_of(std::optional<std::int64_t> number) {
  if (!number || *number < 0) return std::nullopt;
  return static_cast<std::uint64_t>(*number);
}

Row row_of(Id id, const store::Statement& from) {
  using std::chrono::microseconds;
  Row row;
  row.id = id;
  row.type = from.text(0);
  row.state = static_cast<flow::Flow::State>(std::clamp<std::int64_t>(from.number(1), 0, 2));
  row.began =
      flow::Time{std::chrono::duration_cast<flow::Time::duration>(microseconds{from.number(2)})};
  if (const auto duration = from.maybe_number(3)) row.duration = microseconds{*duration};
  row.host = from.text(4);
  row.url = from.text(5);
  row.method = from.text(6);
  row.version = from.text(7);
  row.status = static_cast<int>(from.number(8));
  row.content_type = from.text(9);
  row.request_bytes = count_of(from.maybe_number(10));
  row.response_bytes = count_of(from.maybe_number(11));
  row.messages = count_of(from.maybe_number(12)).value_or(0);
  row.error = from.text(13);
  row.mark = from.text(14);
  row.comment = from.text(15);
  row.process = from.text(16);
  row.pid = from.maybe_number(17);
  return row;
}

}  // namespace

base::Result<std::unique_ptr<RowReader>> RowReader::open(const std::string& path) {
  auto database = store::SessionReader::open_database(path);
  if (!database) return database.error();
  std::unique_ptr<RowReader> reader{new RowReader{std::move(*database)}};
  auto select = reader->database_.prepare(kSelect);
  if (!select) return select.error();
  reader->select_ = std::move(*select);
  return reader;
}

base::Result<std::vector<std::optional<Row>>> RowReader::rows(const std::vector<Id>& ids) {
  const auto reading = store::ReadTransaction::begin(database_);
  if (!reading) return reading.error();
  std::vector<std::optional<Row>> rows;
  for (const Id id : ids) {
    auto one = row(id);
    if (!one) return one.error();
    rows.push_back(std::move(*one));
  }
  return rows;
}

base::Result<std::optional<Row>> RowReader::row(Id id) {
  const auto found = select_.bind(1, std::int64_t{id}).step();
  if (!found) return found.error();
  if (!*found) return std::nullopt;
  auto row = row_of(id, select_);
  select_.reset();
  return row;
}

}  // namespace mitm::view
