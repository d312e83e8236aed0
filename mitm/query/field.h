// One row of the table of fields: all that the parser, the evaluations and the help know of it.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "mitm/query/json_path.h"
#include "mitm/query/predicate.h"

namespace mitm::query {

class Subject;
struct Test;

/// What it takes to evaluate a filter.
enum class Cost : std::uint8_t {
  row,     ///< the session's tables
  heads,   ///< the record
  bodies,  ///< bodies or messages, decoded
};

/// When the values of a flow that goes on do not change any more.
enum class Settled : std::uint8_t {
  at_end,
  with_response,  ///< once its head is there
  at_start,       ///< of an HTTP flow: once the head of the request is there
};

/// Kinds of flows, as a set.
enum Kinds : std::uint8_t { kHttp = 1, kTcp = 2, kDns = 4, kAnyKind = 7 };

/// Bodies, as a set.
enum Bodies : std::uint8_t { kNoBody = 0, kRequestBody = 1, kResponseBody = 2, kBothBodies = 3 };

enum class Keyed : std::uint8_t { no, optional, required };

/// How a regular expression for the field reads its text.
enum class Scan : std::uint8_t {
  text,   ///< UTF-8
  lines,  ///< likewise; ^ and $ match at lines
  bytes,  ///< where the expression is ASCII a "." is a byte, and matches line ends as well
};

/// Where the values lie in the session's tables.
struct Columns {
  enum class Table : std::uint8_t {
    none,      ///< they do not
    flow,      ///< in the row itself
    process,   ///< of the flow's process
    parent,    ///< likewise, its parent
    ancestor,  ///< likewise, any of its ancestors: many rows
    conn,      ///< of the flow's connection
    cert,      ///< likewise, the certificate of its server
  };
  Table table = Table::none;
  /// SQL expressions, one for each value; NULL where it is absent. A flag's: 0, 1 or NULL. If
  /// `table` is none: of `first`, what is true of all rows that may match, of `second`, of rows
  /// that do for certain; both may be empty.
  std::string_view first{};
  std::string_view second{};
  /// Makes values of the text of a column; null: it is one.
  void (*split)(std::string_view column, const Test& test, Values& values) = nullptr;
  /// Likewise, of the second column where that is another one.
  void (*split_second)(std::string_view column, const Test& test, Values& values) = nullptr;
};

struct Field {
  std::string_view name;
  std::string_view aliases{};  ///< separated by spaces
  std::string_view letter{};   ///< behind ~; empty: there is none
  ValueType type = ValueType::text;
  Relative relative = Relative::ago;  ///< of times
  /// Of a text that users spell in several ways: the one that flows have. Null: there is one way.
  std::string (*spelling)(std::string_view typed) = nullptr;
  Keyed keyed = Keyed::no;
  Scan scan = Scan::text;
  std::uint8_t kinds = kAnyKind;
  Cost cost = Cost::row;
  Settled settled = Settled::at_end;
  /// It changes while a flow goes on, and that is what is asked: ~q, ~s, ~websocket.
  bool of_progress = false;
  std::uint8_t bodies = kNoBody;  ///< whose bytes it reads
  std::string_view help{};        ///< flag: "has no response yet"; else what the value is
  std::string_view example{};     ///< a whole filter
  void (*get)(Subject& subject, const Test& test, Values& values) = nullptr;
  Columns columns{};
  /// Values to offer in completion, separated by spaces.
  std::string_view candidates{};
  /// It exists for the sake of mitmproxy's filters: it has no typed form and never matches; why.
  std::string_view never{};
};

/// A comparison of a field. It is part of a tree, which owns it.
struct Test {
  const Field* field = nullptr;
  std::string key;  ///< of keyed fields; empty: none was given
  JsonPath path;    ///< likewise, of `json`
  Predicate predicate;
};

/// All fields, in the order of the help.
[[nodiscard]] std::span<const Field* const> all_fields();

/// By name or alias; null: there is none. Case counts.
[[nodiscard]] const Field* find_field(std::string_view name);

/// By what stands behind ~; null: there is none.
[[nodiscard]] const Field* find_operator(std::string_view letter);

/// The parts of the table.
[[nodiscard]] std::span<const Field> kind_fields();
[[nodiscard]] std::span<const Field> process_fields();
[[nodiscard]] std::span<const Field> connection_fields();
[[nodiscard]] std::span<const Field> http_fields();
[[nodiscard]] std::span<const Field> content_fields();
[[nodiscard]] std::span<const Field> message_fields();
[[nodiscard]] std::span<const Field> note_fields();

}  // namespace mitm::query
