// The rows that a filter may select come from SQL, in ranges of ids, so that no statement is open
// for long; what rows do not decide is loaded and asked.
#include "mitm/view/scan.h"

#include <algorithm>
#include <limits>

#include <fmt/format.h>
#include <sqlite3.h>

#include "mitm/query/sql_functions.h"

namespace mitm::view {
namespace {

/// Beyond that nothing is shown.
constexpr std::int64_t kMostIds = std::numeric_limits<Id>::max() - 1;

Id id_of(std::int64_t number) {
  return number > 0 && number <= kMostIds ? static_cast<Id>(number) : 0;
}

Key key_of(const store::Statement& row) {
  const int type = sqlite3_column_type(row.handle(), 0);
  if (type == SQLITE_NULL) return std::monostate{};
  if (type == SQLITE_INTEGER) return row.number(0);
  return std::string(row.text(0));
}

}  // namespace

base::Result<std::unique_ptr<Scan>> Scan::open(const std::string& path) {
  auto reader = store::SessionReader::open(path);
  if (!reader) return reader.error();
  std::unique_ptr<Scan> scan{new Scan{std::move(*reader)}};
  if (auto prepared = scan->prepare(); !prepared) return prepared.error();
  return scan;
}

base::Result<> Scan::prepare() {
  store::Database& database = reader_->database();
  if (auto added = query::register_sql_functions(database.handle()); !added) return added.error();
  // What is sorted beyond that lies in a temporary file.
  if (auto set = database.run("PRAGMA cache_size = -4096"); !set) return set.error();
  return database.prepare({
      // Both of the same moment: a flow that ends in between would be in neither.
      {&extent_,
       fmt::format("SELECT max(id), 0 FROM flow WHERE id <= {} UNION ALL SELECT id, 1 FROM flow"
                   " WHERE state = 0",
                   kMostIds)},
      {&deletable_,
       "SELECT id FROM flow WHERE id >= ? AND mark IS NULL AND comment IS NULL AND state <> 0"
       " ORDER BY id LIMIT 1"},
      {&existing_, "SELECT id FROM flow WHERE id BETWEEN ? AND ? ORDER BY id"},
      {&version_, "PRAGMA data_version"},
  });
}

base::Result<> Scan::set_filter(const query::Filter& filter) {
  const query::SqlFilter sql = filter.sql();
  auto matches = reader_->database().prepare(fmt::format(
      "SELECT flow.id, {} FROM {} WHERE flow.id BETWEEN :first AND :last AND {} ORDER BY flow.id",
      sql.exact ? "1" : sql.certain, sql.from, sql.where));
  if (!matches) return matches.error();
  if (sql.bind(matches->handle()) != SQLITE_OK) return reader_->database().error();
  matches_ = std::move(*matches);
  filter_ = std::make_unique<query::Filter>(filter);
  body_limit_ =
      filter.cost() == query::Cost::bodies ? store::SessionReader::kWholeBody : std::uint64_t{0};
  return {};
}

base::Result<> Scan::set_order(const Order& order) {
  auto key = reader_->database().prepare(
      fmt::format("SELECT {} FROM flow WHERE flow.id = ?", sql_of(order)));
  if (!key) return key.error();
  key_ = std::move(*key);
  order_ = order;
  return {};
}

base::Result<std::vector<Id>> Scan::matches(Id first, Id last, const std::atomic<bool>& cancelled) {
  std::vector<Id> ids;
  std::vector<std::size_t> undecided;  // places in `ids`
  const auto parameter = [&](const char* name) {
    return sqlite3_bind_parameter_index(matches_.handle(), name);
  };
  matches_.bind(parameter(":first"), std::int64_t{first});
  matches_.bind(parameter(":last"), std::int64_t{last});
  for (;;) {
    const auto row = matches_.step();
    if (!row) return row.error();
    if (!*row) break;
    if (matches_.number(1) == 0) undecided.push_back(ids.size());
    ids.push_back(id_of(matches_.number(0)));
  }
  if (undecided.empty()) return ids;
  const auto reading = store::ReadTransaction::begin(reader_->database());
  if (!reading) return reading.error();
  for (const std::size_t at : undecided) {
    if (cancelled.load(std::memory_order_relaxed)) return std::vector<Id>{};
    const auto flow = reader_->flow(ids[at], body_limit_);
    if (!flow || !*flow || !filter_->matches(**flow)) ids[at] = 0;
  }
  std::erase(ids, 0);
  return ids;
}

base::Result<std::vector<Id>> Scan::ids_of(store::Statement& statement) {
  std::vector<Id> ids;
  for (;;) {
    const auto row = statement.step();
    if (!row) return row.error();
    if (!*row) return ids;
    if (const Id id = id_of(statement.number(0)); id != 0) ids.push_back(id);
  }
}

base::Result<std::vector<Id>> Scan::sorted(Id last) {
  auto select = reader_->database().prepare(
      fmt::format("SELECT flow.id FROM flow WHERE flow.id <= {} ORDER BY {}", last, order_.sql()));
  if (!select) return select.error();
  return ids_of(*select);
}

base::Result<bool> Scan::read_key(Id id, Key& key) {
  key = {};
  const auto row = key_.bind(1, std::int64_t{id}).step();
  if (!row) return row.error();
  if (!*row) return false;
  key = key_of(key_);
  key_.reset();
  return true;
}

bool Scan::before(const Key& key, Id id, const Key& other_key, Id other) const {
  if (key != other_key) return order_.descending ? other_key < key : key < other_key;
  return id < other;
}

base::Result<std::size_t> Scan::place_in(const std::vector<Id>& sorted, const Key& key, Id id) {
  std::size_t first = 0;
  std::size_t last = sorted.size();
  while (first < last) {
    const std::size_t middle = first + (last - first) / 2;
    Key other;
    if (const auto read = read_key(sorted[middle], other); !read) return read.error();
    if (before(other, sorted[middle], key, id)) {
      first = middle + 1;
    } else {
      last = middle;
    }
  }
  return first;
}

base::Result<std::vector<Id>> Scan::sorted_in(const std::vector<Id>& sorted,
                                              const std::vector<Id>& moved) {
  IdSet left_out;
  for (const Id id : moved) left_out.insert(id);
  std::vector<Id> others;
  others.reserve(sorted.size());
  std::ranges::copy_if(sorted, std::back_inserter(others),
                       [&](Id id) { return !left_out.contains(id); });
  std::vector<std::pair<Key, Id>> keys;
  for (const Id id : moved) {
    Key key;
    const auto is_there = read_key(id, key);
    if (!is_there) return is_there.error();
    if (*is_there) keys.emplace_back(std::move(key), id);
  }
  std::ranges::sort(keys, [&](const auto& a, const auto& b) {
    return before(a.first, a.second, b.first, b.second);
  });
  std::vector<Id> merged;
  merged.reserve(others.size() + keys.size());
  auto from = others.begin();
  for (const auto& [key, id] : keys) {
    const auto place = place_in(others, key, id);
    if (!place) return place.error();
    const auto to = others.begin() + static_cast<std::ptrdiff_t>(*place);
    merged.insert(merged.end(), from, to);
    merged.push_back(id);
    from = to;
  }
  merged.insert(merged.end(), from, others.end());
  return merged;
}

base::Result<Scan::Extent> Scan::extent() {
  Extent extent;
  for (;;) {
    const auto row = extent_.step();
    if (!row) return row.error();
    if (!*row) return extent;
    const Id id = id_of(extent_.number(0));
    if (extent_.number(1) == 0) {
      extent.newest = id;
    } else if (id != 0) {
      extent.live.push_back(id);
    }
  }
}

base::Result<Id> Scan::first_deletable(Id from) {
  const auto row = deletable_.bind(1, std::int64_t{from}).step();
  if (!row) return row.error();
  if (!*row) return Id{0};
  const Id id = id_of(deletable_.number(0));
  deletable_.reset();
  return id;
}

base::Result<std::vector<Id>> Scan::existing(Id first, Id last) {
  existing_.bind(1, std::int64_t{first}).bind(2, std::int64_t{last});
  return ids_of(existing_);
}

base::Result<std::int64_t> Scan::version() {
  const auto row = version_.step();
  if (!row) return row.error();
  const std::int64_t version = version_.number(0);
  version_.reset();
  return version;
}

void Scan::interrupt() {
  sqlite3_interrupt(reader_->database().handle());
}

}  // namespace mitm::view
