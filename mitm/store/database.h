// SQLite as the store uses it: errors as Result, statements that free themselves.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "base/error.h"

struct sqlite3;
struct sqlite3_stmt;

namespace mitm::store {

class Statement;

/// Whether an error of a database says that pages of its file are missing or make no sense.
[[nodiscard]] bool is_damage(const base::Error& error);

/// One connection to one file. For one thread at a time.
class Database {
 public:
  enum class Access : std::uint8_t {
    read,    ///< the file may be another user's, and on a medium that cannot be written
    write,   ///< it exists
    create,  ///< it exists, and is empty or a session
  };

  /// Opens the file; never a symbolic link. An error names it. Nothing of it has been read yet.
  static base::Result<Database> open(const std::string& path, Access access);

  /// Statements without parameters or rows.
  [[nodiscard]] base::Result<> run(const char* sql);
  [[nodiscard]] base::Result<Statement> prepare(std::string_view sql);
  /// Several, each into its place.
  struct Prepared {
    Statement* into;
    std::string_view sql;
  };
  [[nodiscard]] base::Result<> prepare(std::initializer_list<Prepared> statements);
  /// The one number that `sql` gives; empty: no row, or NULL.
  [[nodiscard]] base::Result<std::optional<std::int64_t>> number(std::string_view sql);
  /// Whether bytes are missing at the end of the file, by what its header says
  /// (https://www.sqlite.org/fileformat.html section 1.3.8). For a file that is not being written.
  [[nodiscard]] bool is_cut_off() const;
  [[nodiscard]] sqlite3* handle() const { return handle_.get(); }
  [[nodiscard]] const std::string& path() const { return path_; }
  /// Of the statement that failed last: "PATH: database or disk is full", with an errno that comes
  /// near (ENOSPC, EIO, EACCES ...; see is_damage()).
  [[nodiscard]] base::Error error() const;

 private:
  struct Closer {
    void operator()(sqlite3* handle) const;
  };

  explicit Database(std::string path) : path_(std::move(path)) {}
  [[nodiscard]] base::Result<> connect(const std::string& name, int flags);

  std::string path_;
  std::unique_ptr<sqlite3, Closer> handle_;
};

/// A prepared statement; its Database must outlive it. Parameters are numbered from 1, columns
/// from 0. Texts that are bound must live until the next run(), or until reset().
class Statement {
 public:
  Statement() = default;

  Statement& bind(int at, std::int64_t value);
  Statement& bind(int at, std::optional<std::int64_t> value);
  /// NULL when it is empty.
  Statement& bind(int at, std::string_view text);
  Statement& bind_blob(int at, std::string_view bytes);
  Statement& bind_null(int at);

  /// True: there is a row. False: there is none any more, and the statement has been reset.
  [[nodiscard]] base::Result<bool> step();
  /// For statements without rows; resets it, whatever happens.
  [[nodiscard]] base::Result<> run();
  void reset();

  [[nodiscard]] bool is_null(int column) const;
  [[nodiscard]] std::int64_t number(int column) const;  ///< 0 for NULL
  [[nodiscard]] std::optional<std::int64_t> maybe_number(int column) const;
  /// Text or blob; valid until the next step() or reset().
  [[nodiscard]] std::string_view text(int column) const;
  [[nodiscard]] sqlite3_stmt* handle() const { return handle_.get(); }

 private:
  friend class Database;
  struct Finalizer {
    void operator()(sqlite3_stmt* handle) const;
  };

  std::unique_ptr<sqlite3_stmt, Finalizer> handle_;
  const Database* database_ = nullptr;
};

/// All that is read meanwhile is of one moment, and costs less than statement by statement. It must
/// end soon: see SessionReader::database().
class ReadTransaction {
 public:
  static base::Result<ReadTransaction> begin(Database& database);
  ReadTransaction(ReadTransaction&& other) noexcept
      : database_(std::exchange(other.database_, nullptr)) {}
  ReadTransaction& operator=(ReadTransaction&&) = delete;
  ~ReadTransaction();

 private:
  explicit ReadTransaction(Database& database) : database_(&database) {}
  Database* database_;
};

/// Undoes what was not committed.
class Transaction {
 public:
  static base::Result<Transaction> begin(Database& database);
  Transaction(Transaction&& other) noexcept : database_(std::exchange(other.database_, nullptr)) {}
  Transaction& operator=(Transaction&&) = delete;
  ~Transaction();
  [[nodiscard]] base::Result<> commit();

 private:
  explicit Transaction(Database& database) : database_(&database) {}
  Database* database_;
};

}  // namespace mitm::store
