#include "mitm/store/retention.h"

#include <algorithm>
#include <charconv>
#include <limits>

#include <fmt/format.h>
#include <sqlite3.h>

#include "base/text.h"
#include "mitm/store/body_writer.h"

namespace mitm::store {
namespace {

/// A sweep reads the whole table of flows: one for so many that were deleted, and a quarter as many
/// as there are.
constexpr std::uint64_t kSweepAfter = 50'000;
constexpr std::uint64_t kSweepShare = 4;

constexpr const char* kMayGo = "mark IS NULL AND comment IS NULL AND state <> 0";

struct Unit {
  char letter;
  std::uint64_t factor;
};
constexpr Unit kSizes[] = {{'k', 1ULL << 10U}, {'M', 1ULL << 20U}, {'G', 1ULL << 30U}};
constexpr Unit kAges[] = {{'s', 1}, {'m', 60}, {'h', 3600}, {'d', 86400}};

template <std::size_t n>
std::optional<std::uint64_t> in_unit(std::uint64_t number, char letter, const Unit (&units)[n]) {
  const auto* const unit =
      std::ranges::find_if(units, [letter](const Unit& one) { return one.letter == letter; });
  if (unit == std::end(units)) return std::nullopt;
  // What does not fit is more than anybody has.
  constexpr std::uint64_t kMost = std::numeric_limits<std::int64_t>::max() / 1'000'000;
  return std::min(number, kMost / unit->factor) * unit->factor;
}

template <std::size_t n>
std::string in_largest_unit(std::uint64_t number, const Unit (&units)[n]) {
  const Unit* largest = &units[0];
  for (const Unit& unit : units) {
    if (number % unit.factor == 0) largest = &unit;
  }
  return fmt::format("{}{}", number / largest->factor, largest->letter);
}

base::Result<> drop_reference(Database& database, std::int64_t body, Statement& decrement,
                              Statement& erase, Statement& erase_chunks) {
  if (auto done = decrement.bind(1, body).run(); !done) return done.error();
  if (auto done = erase.bind(1, body).run(); !done) return done.error();
  if (sqlite3_changes(database.handle()) == 0) return {};
  erase_chunks.bind(1, body * kMostChunks).bind(2, (body + 1) * kMostChunks - 1);
  return erase_chunks.run();
}

base::Result<> drop_bodies(Database& database, std::string_view range) {
  auto select = database.prepare(
      fmt::format("SELECT request_body FROM flow WHERE {0} AND request_body IS NOT NULL UNION ALL "
                  "SELECT response_body FROM flow WHERE {0} AND response_body IS NOT NULL",
                  range));
  auto decrement = database.prepare("UPDATE body SET refs = refs - 1 WHERE id = ?");
  auto erase = database.prepare("DELETE FROM body WHERE id = ? AND refs <= 0");
  auto erase_chunks = database.prepare("DELETE FROM chunk WHERE id BETWEEN ? AND ?");
  for (const auto* statement : {&select, &decrement, &erase, &erase_chunks}) {
    if (!*statement) return statement->error();
  }
  for (;;) {
    const auto row = select->step();
    if (!row) return row.error();
    if (!*row) return {};
    if (auto done = drop_reference(database, select->number(0), *decrement, *erase, *erase_chunks);
        !done)
      return done.error();
  }
}

}  // namespace

base::Result<Limits> parse_limits(std::string_view text) {
  std::uint64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  const std::string_view unit = text.substr(static_cast<std::size_t>(end - text.data()));
  Limits limits;
  if (error == std::errc{} && number > 0 && unit.empty()) {
    limits.flows = number;
    return limits;
  }
  if (error == std::errc{} && number > 0 && unit.size() == 1) {
    if (const auto bytes = in_unit(number, unit.front(), kSizes)) limits.bytes = *bytes;
    if (const auto age = in_unit(number, unit.front(), kAges))
      limits.age = std::chrono::seconds{*age};
    if (limits.any()) return limits;
  }
  return base::failure(
      "expected a size (500M, 2G), an age (12h, 7d) or a number of flows (100000), found '{}'",
      base::printable(text));
}

std::string to_string(const Limits& limits) {
  if (limits.flows) return fmt::format("{}", *limits.flows);
  if (limits.bytes) return in_largest_unit(*limits.bytes, kSizes);
  if (limits.age) return in_largest_unit(static_cast<std::uint64_t>(limits.age->count()), kAges);
  return {};
}

base::Result<std::int64_t> Retention::last_to_delete(Database& database,
                                                     std::chrono::system_clock::time_point now) {
  const auto newest = database.number("SELECT max(id) FROM flow");
  if (!newest) return newest.error();
  flows_ = static_cast<std::uint64_t>(std::max(newest->value_or(0) - next_, std::int64_t{0}));
  const std::int64_t step_end = next_ + kStep - 1;
  std::int64_t last = next_ - 1;
  if (limits_.flows) {
    const auto kept = static_cast<std::int64_t>(
        std::min<std::uint64_t>(*limits_.flows, std::numeric_limits<std::int64_t>::max()));
    last = std::max(last, newest->value_or(0) - kept);
  }
  if (limits_.bytes) {
    const auto pages = database.number(
        "SELECT (SELECT page_count FROM pragma_page_count) - "
        "(SELECT freelist_count FROM pragma_freelist_count)");
    if (!pages) return pages.error();
    const auto size = database.number("PRAGMA page_size");
    if (!size) return size.error();
    const auto used = static_cast<std::uint64_t>(pages->value_or(0) * size->value_or(0));
    // A few flows with long bodies may be most of it: no more than a fiftieth at once.
    if (used > *limits_.bytes) last = next_ + (newest->value_or(0) - next_) / 50;
  }
  if (limits_.age) {
    const auto oldest =
        std::chrono::floor<std::chrono::microseconds>((now - *limits_.age).time_since_epoch());
    const auto old = database.number(
        fmt::format("SELECT max(id) FROM flow WHERE id BETWEEN {} AND {} AND began < {}", next_,
                    step_end, oldest.count()));
    if (!old) return old.error();
    last = std::max(last, old->value_or(0));
  }
  return std::min(last, step_end);
}

base::Result<bool> Retention::apply(Database& database, std::chrono::system_clock::time_point now,
                                    std::int64_t first_open) {
  if (!limits_.any()) return false;
  const auto first = database.number(fmt::format("SELECT min(id) FROM flow WHERE id >= {}", next_));
  if (!first) return first.error();
  if (!first->has_value()) return false;
  next_ = **first;
  const auto last = last_to_delete(database, now);
  if (!last) return last.error();
  if (*last < next_) return false;
  auto transaction = Transaction::begin(database);
  if (!transaction) return transaction.error();
  const auto deleted = delete_flows(database, next_, *last);
  if (!deleted) return deleted.error();
  unswept_ += static_cast<std::uint64_t>(*deleted);
  if (unswept_ >= std::max(kSweepAfter, flows_ / kSweepShare)) {
    if (auto swept = sweep(database, first_open); !swept) return swept.error();
    unswept_ = 0;
    swept_ = true;
  }
  if (auto done = transaction->commit(); !done) return done.error();
  deleted_ += static_cast<std::uint64_t>(*deleted);
  next_ = *last + 1;
  return true;
}

base::Result<std::int64_t> delete_flows(Database& database, std::int64_t first, std::int64_t last) {
  const std::string range = fmt::format("id BETWEEN {} AND {} AND {}", first, last, kMayGo);
  if (auto done = drop_bodies(database, range); !done) return done.error();
  const std::string sql = fmt::format(
      "DELETE FROM message WHERE flow BETWEEN {} AND {} "
      "AND flow IN (SELECT id FROM flow WHERE {});",
      first, last, range);
  if (auto done = database.run(sql.c_str()); !done) return done.error();
  if (auto done = database.run(fmt::format("DELETE FROM flow WHERE {}", range).c_str()); !done)
    return done.error();
  return sqlite3_changes(database.handle());
}

base::Result<> sweep(Database& database, std::int64_t first_open) {
  const std::string sql = fmt::format(
      "DELETE FROM conn WHERE id < {} AND id NOT IN (SELECT conn FROM flow);"
      "DELETE FROM process WHERE id NOT IN (SELECT process FROM conn WHERE process IS NOT NULL);"
      "DELETE FROM ancestor WHERE process NOT IN (SELECT id FROM process);"
      "DELETE FROM cert WHERE chain NOT IN (SELECT chain FROM conn WHERE chain IS NOT NULL);"
      "DELETE FROM certificate WHERE sha256 NOT IN (SELECT sha256 FROM cert);",
      first_open);
  return database.run(sql.c_str());
}

}  // namespace mitm::store
