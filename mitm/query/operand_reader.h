// Reads what a test consists of behind its field, and makes the test.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "mitm/query/options.h"
#include "mitm/query/reader.h"
#include "mitm/query/syntax.h"

namespace mitm::query {

/// Each function reads on where the reader is. Empty: the problem is set.
class OperandReader {
 public:
  using Parsed = std::optional<Node>;

  OperandReader(Reader& reader, const Options& options, Problem& problem)
      : reader_(reader), options_(options), problem_(problem) {}

  [[nodiscard]] Parsed flag(const Field& field);
  /// A regular expression: a word, or in quotes.
  [[nodiscard]] Parsed regex(const Field& field);
  /// What stands behind ~c, ~d ...; `begin`: where the operator does.
  [[nodiscard]] Parsed of_operator(const Field& field, std::size_t begin);
  /// ["key"] and a comparison.
  [[nodiscard]] Parsed with_key(const Field& field, std::size_t begin);
  [[nodiscard]] Parsed comparison(const Field& field, std::string key, Comparison comparison,
                                  std::size_t comparison_at);
  /// A time, with or without a comparison before it.
  [[nodiscard]] Parsed since(const Field& field);

 private:
  /// A text or number as it stands there, and whether it was in quotes.
  struct Value {
    std::string text;
    std::size_t at = 0;
    std::size_t length = 0;
    bool quoted = false;
  };

  std::nullopt_t fail(Problem problem, std::string_view expected, std::string hint = {});
  [[nodiscard]] std::optional<Value> value(const Field& field, Comparison comparison, bool in_set);
  [[nodiscard]] bool allows(const Field& field, Comparison comparison, std::size_t at);
  [[nodiscard]] bool needs_key(const Field& field, std::size_t at);
  [[nodiscard]] bool check_expression(const Value& value);
  [[nodiscard]] bool check_plain(const Value& value);
  [[nodiscard]] bool add_operand(const Field& field, const Value& value, Predicate& predicate);
  [[nodiscard]] bool read_set(const Field& field, Predicate& predicate);
  [[nodiscard]] Parsed finish(const Field& field, std::string key, Predicate predicate);
  [[nodiscard]] bool compile(const Field& field, const Value& value, Predicate& predicate);

  Reader& reader_;
  const Options& options_;
  Problem& problem_;
};

/// "did you mean A or B?", or where the list is.
[[nodiscard]] std::string near_fields(std::string_view name);
[[nodiscard]] std::string near_operators(std::string_view letter);

}  // namespace mitm::query
