#include "mitm/store/database.h"

#include <cerrno>

#include <fmt/format.h>
#include <sqlite3.h>

#include "base/text.h"

namespace mitm::store {
namespace {

/// A writer waits so long for another process that compacts or writes.
constexpr int kPatienceMs = 5000;
/// What no system says of a file.
constexpr int kDamaged = EBADMSG;

int errno_of(sqlite3* handle) {
  switch (sqlite3_errcode(handle)) {
    case SQLITE_FULL:
      return ENOSPC;
    case SQLITE_READONLY:
      return EROFS;
    case SQLITE_CANTOPEN:
    case SQLITE_PERM:
    case SQLITE_AUTH:
      return EACCES;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return kDamaged;
    case SQLITE_NOMEM:
      return ENOMEM;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return EBUSY;
    case SQLITE_IOERR: {
      const int system = sqlite3_system_errno(handle);
      return system == 0 ? EIO : system;
    }
    default:
      return EINVAL;
  }
}

/// Of files that others may have made: no trigger, view or index of theirs calls what it should
/// not, nor writes behind SQLite's back.
void distrust_schema(sqlite3* handle) {
  sqlite3_db_config(handle, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  sqlite3_db_config(handle, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, nullptr);
  sqlite3_db_config(handle, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, nullptr);
  sqlite3_db_config(handle, SQLITE_DBCONFIG_ENABLE_VIEW, 0, nullptr);
  sqlite3_limit(handle, SQLITE_LIMIT_ATTACHED, 0);
}

/// The URI (https://www.sqlite.org/uri.html) of a file that does not change.
std::string immutable(std::string_view name) {
  std::string uri = "file:";
  for (const char c : name) {
    const bool has_meaning = c == '%' || c == '?' || c == '#';
    uri += has_meaning ? fmt::format("%{:02X}", static_cast<unsigned char>(c)) : std::string(1, c);
  }
  return uri + "?immutable=1";
}

}  // namespace

bool is_damage(const base::Error& error) {
  return error.os_code == kDamaged;
}

void Database::Closer::operator()(sqlite3* handle) const {
  sqlite3_close_v2(handle);
}

base::Result<Database> Database::open(const std::string& path, Access access) {
  // Counting its memory takes a lock at each allocation. Of no effect once SQLite is in use.
  [[maybe_unused]] static const int configured = sqlite3_config(SQLITE_CONFIG_MEMSTATUS, 0);
  Database database{path};
  // Readers, too: the last connection that is closed removes the log. A file that may only be read
  // is opened all the same.
  const int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOFOLLOW | SQLITE_OPEN_NOMUTEX;
  // A name that begins with "file:" would be taken for a URI, ":memory:" for no file.
  const std::string name = path.starts_with('/') ? path : "./" + path;
  if (auto opened = database.connect(name, flags); !opened) return opened.error();
  // What may only be read has no place for SQLite's log: it is taken for a file that nobody writes.
  if (access == Access::read && sqlite3_db_readonly(database.handle(), "main") == 1) {
    if (auto opened = database.connect(immutable(name), flags | SQLITE_OPEN_URI); !opened)
      return opened.error();
  }
  sqlite3* const handle = database.handle();
  sqlite3_extended_result_codes(handle, 0);
  sqlite3_busy_timeout(handle, kPatienceMs);
  distrust_schema(handle);
  if (access == Access::read) {
    if (auto set = database.run("PRAGMA query_only = ON"); !set) return set.error();
  }
  return database;
}

base::Result<> Database::connect(const std::string& name, int flags) {
  sqlite3* handle = nullptr;
  const int status = sqlite3_open_v2(name.c_str(), &handle, flags, nullptr);
  handle_.reset(handle);
  if (handle == nullptr) return base::Error{base::printable(path_) + ": out of memory", ENOMEM};
  if (status != SQLITE_OK) return error();
  return {};
}

bool Database::is_cut_off() const {
  constexpr sqlite3_int64 kPageSizeAt = 16, kPagesAt = 28;
  constexpr int kLargestPage = 65536;  // in the header: 1
  sqlite3_file* file = nullptr;
  if (sqlite3_file_control(handle(), "main", SQLITE_FCNTL_FILE_POINTER, &file) != SQLITE_OK ||
      file == nullptr || file->pMethods == nullptr)
    return false;
  unsigned char page_size[2]{}, pages[4]{};
  sqlite3_int64 size = 0;
  const bool is_read =
      file->pMethods->xFileSize(file, &size) == SQLITE_OK &&
      file->pMethods->xRead(file, page_size, sizeof page_size, kPageSizeAt) == SQLITE_OK &&
      file->pMethods->xRead(file, pages, sizeof pages, kPagesAt) == SQLITE_OK;
  if (!is_read) return size > 0;
  const int said = page_size[0] << 8 | page_size[1];
  sqlite3_int64 count = 0;
  for (const unsigned char byte : pages) count = count << 8 | byte;
  return size < count * (said == 1 ? kLargestPage : said);
}

base::Error Database::error() const {
  return {fmt::format("{}: {}", base::printable(path_), sqlite3_errmsg(handle_.get())),
          errno_of(handle_.get())};
}

base::Result<> Database::run(const char* sql) {
  if (sqlite3_exec(handle_.get(), sql, nullptr, nullptr, nullptr) != SQLITE_OK) return error();
  return {};
}

base::Result<Statement> Database::prepare(std::string_view sql) {
  Statement statement;
  sqlite3_stmt* handle = nullptr;
  const int status = sqlite3_prepare_v3(handle_.get(), sql.data(), static_cast<int>(sql.size()),
                                        SQLITE_PREPARE_PERSISTENT, &handle, nullptr);
  statement.handle_.reset(handle);
  statement.database_ = this;
  if (status != SQLITE_OK) return error();
  return statement;
}

base::Result<> Database::prepare(std::initializer_list<Prepared> statements) {
  for (const Prepared& one : statements) {
    auto prepared = prepare(one.sql);
    if (!prepared) return prepared.error();
    *one.into = std::move(*prepared);
  }
  return {};
}

base::Result<std::optional<std::int64_t>> Database::number(std::string_view sql) {
  auto statement = prepare(sql);
  if (!statement) return statement.error();
  const auto row = statement->step();
  if (!row) return row.error();
  std::optional<std::int64_t> value;
  if (*row) value = statement->maybe_number(0);
  return value;
}

void Statement::Finalizer::operator()(sqlite3_stmt* handle) const {
  sqlite3_finalize(handle);
}

Statement& Statement::bind(int at, std::int64_t value) {
  sqlite3_bind_int64(handle_.get(), at, value);
  return *this;
}

Statement& Statement::bind(int at, std::optional<std::int64_t> value) {
  return value ? bind(at, *value) : bind_null(at);
}

Statement& Statement::bind(int at, std::string_view text) {
  if (text.empty()) return bind_null(at);
  sqlite3_bind_text64(handle_.get(), at, text.data(), text.size(), SQLITE_STATIC, SQLITE_UTF8);
  return *this;
}

Statement& Statement::bind_blob(int at, std::string_view bytes) {
  sqlite3_bind_blob64(handle_.get(), at, bytes.empty() ? "" : bytes.data(), bytes.size(),
                      SQLITE_STATIC);
  return *this;
}

Statement& Statement::bind_null(int at) {
  sqlite3_bind_null(handle_.get(), at);
  return *this;
}

base::Result<bool> Statement::step() {
  const int status = sqlite3_step(handle_.get());
  if (status == SQLITE_ROW) return true;
  if (status != SQLITE_DONE) {
    const base::Error error = database_->error();
    reset();
    return error;
  }
  reset();
  return false;
}

base::Result<> Statement::run() {
  const int status = sqlite3_step(handle_.get());
  if (status == SQLITE_ROW || status == SQLITE_DONE) {
    reset();
    return {};
  }
  const base::Error error = database_->error();
  reset();
  return error;
}

void Statement::reset() {
  sqlite3_reset(handle_.get());
}

bool Statement::is_null(int column) const {
  return sqlite3_column_type(handle_.get(), column) == SQLITE_NULL;
}

std::int64_t Statement::number(int column) const {
  return sqlite3_column_int64(handle_.get(), column);
}

std::optional<std::int64_t> Statement::maybe_number(int column) const {
  if (is_null(column)) return std::nullopt;
  return number(column);
}

std::string_view Statement::text(int column) const {
  const void* const bytes = sqlite3_column_blob(handle_.get(), column);
  const int size = sqlite3_column_bytes(handle_.get(), column);
  return bytes == nullptr
             ? std::string_view()
             : std::string_view(static_cast<const char*>(bytes), static_cast<std::size_t>(size));
}

base::Result<ReadTransaction> ReadTransaction::begin(Database& database) {
  if (auto begun = database.run("BEGIN"); !begun) return begun.error();
  return ReadTransaction{database};
}

ReadTransaction::~ReadTransaction() {
  // COMMIT and ROLLBACK are the same here; the second one is for a COMMIT that was interrupted.
  for (const char* const end : {"COMMIT", "ROLLBACK"}) {
    if (database_ != nullptr && sqlite3_get_autocommit(database_->handle()) == 0)
      static_cast<void>(database_->run(end));
  }
}

base::Result<Transaction> Transaction::begin(Database& database) {
  if (auto begun = database.run("BEGIN IMMEDIATE"); !begun) return begun.error();
  return Transaction{database};
}

Transaction::~Transaction() {
  // Some errors have rolled it back already; then this is an error that means nothing.
  if (database_ != nullptr && sqlite3_get_autocommit(database_->handle()) == 0)
    static_cast<void>(database_->run("ROLLBACK"));
}

base::Result<> Transaction::commit() {
  if (auto done = database_->run("COMMIT"); !done) return done.error();
  database_ = nullptr;
  return {};
}

}  // namespace mitm::store
