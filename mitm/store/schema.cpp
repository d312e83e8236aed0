#include "mitm/store/schema.h"

#include <array>

#include <fmt/format.h>

#include "base/text.h"

namespace mitm::store {
namespace {

/// Absent facts are NULL; so is the size of a body that has not ended. Times are microseconds since
/// the epoch, offsets and durations microseconds. Lists of texts are joined by newlines. `facts`
/// and `head`: record_codec.h.
constexpr const char* kVersion1 = R"sql(
CREATE TABLE session (key TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE process (
  id INTEGER PRIMARY KEY, pid INT, ppid INT, uid INT, gid INT, name TEXT, path TEXT, user TEXT,
  grp TEXT, cmdline TEXT, cgroup TEXT, started INT, facts BLOB);
CREATE TABLE ancestor (
  process INT, depth INT, pid INT, name TEXT, path TEXT,
  PRIMARY KEY (process, depth)) WITHOUT ROWID;
CREATE TABLE conn (
  id INTEGER PRIMARY KEY, process INT, opened INT, client_ip TEXT, client_port INT,
  server_ip TEXT, server_port INT, host TEXT, sni TEXT, decision TEXT, reason TEXT,
  tls_version TEXT, tls_cipher TEXT, tls_alpn TEXT, upstream_version TEXT, upstream_cipher TEXT,
  upstream_alpn TEXT, client_certificate TEXT, chain INT, connect_began INT, connected INT,
  upstream_tls_done INT, tls_done INT);
CREATE TABLE cert (
  chain INT, n INT, sha256 TEXT, subject TEXT, issuer TEXT, names TEXT, not_before INT,
  not_after INT, der BLOB, PRIMARY KEY (chain, n)) WITHOUT ROWID;
CREATE TABLE flow (
  id INTEGER PRIMARY KEY, type TEXT, conn INT, process INT, began INT, duration INT, state INT,
  host TEXT, url TEXT, method TEXT, version TEXT, status INT, content_type TEXT,
  request_bytes INT, response_bytes INT, response_began INT, error TEXT, messages INT, mark TEXT,
  comment TEXT, tags TEXT, request_body INT, response_body INT, head BLOB, uuid TEXT);
CREATE TABLE message (
  flow INT, n INT, time INT, direction INT, kind INT, facts BLOB, payload BLOB,
  PRIMARY KEY (flow, n)) WITHOUT ROWID;
CREATE TABLE body (id INTEGER PRIMARY KEY, size INT, cut INT, refs INT);
CREATE TABLE chunk (id INTEGER PRIMARY KEY, data BLOB);
CREATE INDEX live ON flow (state) WHERE state = 0;
)sql";

/// Certificates once each, however many chains have them: the column cert.der stays empty. What a
/// process is called beside its executable (procmap::names_in_arguments).
constexpr const char* kVersion2 = R"sql(
CREATE TABLE certificate (sha256 TEXT PRIMARY KEY, der BLOB);
ALTER TABLE process ADD COLUMN second_name TEXT;
ALTER TABLE process ADD COLUMN third_name TEXT;
)sql";

/// What brings a session from version N to N + 1. Never changed once it has been released.
constexpr std::array kMigrations = {kVersion1, kVersion2};

base::Result<std::int64_t> version_of(Database& database) {
  const auto id = database.number("PRAGMA application_id");
  if (!id) return id.error();
  const auto version = database.number("PRAGMA user_version");
  if (!version) return version.error();
  const auto tables = database.number("SELECT count(*) FROM sqlite_schema");
  if (!tables) return tables.error();
  const std::int64_t found = version->value_or(0);
  if (*tables == 0 && found == 0) return 0;
  if (*id != kApplicationId || found < 1)
    return base::failure("{}: an SQLite database, but no session of osproxy",
                         base::printable(database.path()));
  if (found > newest_version())
    return base::failure(
        "{}: written by a newer osproxy (version {} of the format; this one knows {}): use that "
        "one",
        base::printable(database.path()), found, newest_version());
  return found;
}

}  // namespace

std::int64_t newest_version() {
  return kMigrations.size();
}

base::Result<> prepare_to_write(Database& database) {
  // Before the first table is made: it cannot be changed later.
  if (auto set = database.run("PRAGMA page_size = 8192; PRAGMA auto_vacuum = INCREMENTAL;"); !set)
    return set.error();
  const auto version = version_of(database);
  if (!version) return version.error();
  if (auto set = database.run("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;"
                              "PRAGMA secure_delete = OFF; PRAGMA temp_store = MEMORY;"
                              "PRAGMA journal_size_limit = 16777216; PRAGMA cache_size = -8192;");
      !set)
    return set.error();
  if (*version == newest_version()) return {};
  auto transaction = Transaction::begin(database);
  if (!transaction) return transaction.error();
  for (auto next = static_cast<std::size_t>(*version); next < kMigrations.size(); ++next) {
    if (auto done = database.run(kMigrations[next]); !done) return done.error();
  }
  const std::string numbers = fmt::format("PRAGMA application_id = {}; PRAGMA user_version = {};",
                                          kApplicationId, newest_version());
  if (auto set = database.run(numbers.c_str()); !set) return set.error();
  if (auto done = transaction->commit(); !done) return done.error();
  // The file itself says what it is, however its first writer ends.
  return database.run("PRAGMA wal_checkpoint");
}

base::Result<> check_readable(Database& database) {
  const auto version = version_of(database);
  if (!version) return version.error();
  if (*version == 0)
    return base::failure("{}: empty, no session of osproxy", base::printable(database.path()));
  return {};
}

base::Result<> interrupt_live_flows(Database& database) {
  return database.run("UPDATE flow SET state = 2 WHERE state = 0");
}

}  // namespace mitm::store
