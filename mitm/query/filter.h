// The filter language: what a user types, asked of flows.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <boost/system/result.hpp>

#include "mitm/flow/flow.h"
#include "mitm/query/field.h"
#include "mitm/query/options.h"
#include "mitm/query/problem.h"

struct sqlite3_stmt;

namespace mitm::query {

struct Node;
class Subject;

/// Parts of a SELECT on a session's tables.
class SqlFilter {
 public:
  /// Behind FROM: a row for each of the table `flow`, in the order of their ids. Columns of that
  /// table must be called by its name: `flow.id`.
  std::string from;
  /// Each is 0 or 1 for every row of `from`.
  std::string where;    ///< what rows must be to match; of all rows that do
  std::string certain;  ///< of rows that match whatever else is in them; as `where` if exact
  /// Whether `where` decides. Otherwise rows for which `certain` is 0 must be loaded and asked by
  /// matches().
  bool exact = true;

  /// Binds the parameters of `where` and `certain`, wherever they are in `statement`: named ones,
  /// beside which others that have a name may stand. Returns SQLite's result. The statement may
  /// outlive the filter. Its database needs register_sql_functions().
  int bind(sqlite3_stmt* statement) const;

 private:
  friend class SqlWriter;
  std::vector<std::shared_ptr<const Test>> parameters_;  ///< :filter1 ...
};

/// Immutable; copies share the tree. May be used by several threads.
class Filter {
 public:
  using Parsed = boost::system::result<Filter, Problem>;
  /// An empty text is a filter that every flow matches.
  [[nodiscard]] static Parsed parse(std::string_view text, const Options& options = {});

  /// Asks the cheap parts first; decodes bodies only if that decides.
  [[nodiscard]] bool matches(const flow::Flow& flow) const;
  /// The same of a flow that goes on: whether it will match when it has ended. Empty: what is yet
  /// to come decides.
  [[nodiscard]] std::optional<bool> will_match(const flow::Flow& flow) const;
  /// Of a flow that goes on, as it is now: what has not come yet is absent. `whole`: Bodies that
  /// are known, be it that there is none. Empty: another one decides; it is not looked at.
  [[nodiscard]] std::optional<bool> matches_so_far(const flow::Flow& flow,
                                                   std::uint8_t whole) const;
  /// The same for callers who ask several filters of one flow: what one of them has decoded is
  /// there for the next.
  [[nodiscard]] std::optional<bool> will_match(Subject& subject) const;
  [[nodiscard]] std::optional<bool> matches_so_far(Subject& subject, std::uint8_t whole) const;
  /// Of all HTTP flows that `connection` may carry. Empty: it depends on the flow.
  [[nodiscard]] std::optional<bool> matches_connection(
      const std::shared_ptr<const flow::ConnectionRecord>& connection) const;
  /// Regular expressions of RE2, of which the URL of every HTTP flow that matches, or a name of its
  /// host, contains at least one, if case does not count. Empty: there are none such.
  [[nodiscard]] std::vector<std::string> required_in_url() const;
  /// The first field that can be said of no HTTP flow while its messages pass: it is known at the
  /// end only, or is of other flows. Null: there is none. Those that never match for the sake of
  /// mitmproxy's filters are left to warnings().
  [[nodiscard]] const Field* unknown_in_exchange() const;
  /// Bodies that it reads.
  [[nodiscard]] std::uint8_t bodies() const;
  [[nodiscard]] Cost cost() const;
  [[nodiscard]] SqlFilter sql() const;
  /// What it says, in words: "the status is 500 to 599".
  [[nodiscard]] std::string explain() const;
  /// What may not be meant as it was written.
  [[nodiscard]] const std::vector<Warning>& warnings() const { return warnings_; }
  /// Another text of the same filter: without abbreviations, all parentheses written.
  [[nodiscard]] std::string canonical() const;
  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  Filter() = default;

  std::string text_;
  std::shared_ptr<const Node> tree_;
  std::vector<Warning> warnings_;
};

/// What may stand at a place of a filter's text.
struct Completion {
  struct Candidate {
    std::string text;
    std::string_view help;  ///< may be empty
  };
  std::size_t begin = 0;  ///< what the candidates replace: from here ...
  std::size_t end = 0;    ///< ... to here
  std::vector<Candidate> candidates;
};
/// `cursor`: bytes of `text` before it.
[[nodiscard]] Completion complete(std::string_view text, std::size_t cursor);

/// The language on one page, with all its fields. Lines of at most 100 columns.
[[nodiscard]] std::string help();

[[nodiscard]] std::string_view to_string(Cost cost);

/// Called when value() is asked of a failed result: a bug of ours.
[[noreturn]] void throw_exception_from_error(const Problem& problem,
                                             const boost::source_location& where);

}  // namespace mitm::query
