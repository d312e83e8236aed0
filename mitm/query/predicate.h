// What is asked of the values of a field: a comparison and what it compares with.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/network.h"

namespace re2 {
class RE2;
}

namespace mitm::query {

enum class ValueType : std::uint8_t {
  flag,      ///< true or absent
  text,      ///< bytes
  number,    ///< not negative
  status,    ///< a number that may be written 4xx
  size,      ///< bytes
  duration,  ///< microseconds
  time,      ///< microseconds since the epoch
  address,
  json,  ///< text or number, as the document has it
};

/// What a duration in the place of a time means.
enum class Relative : std::uint8_t { ago, from_now };

enum class Comparison : std::uint8_t {
  holds,  ///< of flags
  equal,
  not_equal,
  less,
  less_equal,
  greater,
  greater_equal,
  contains,
  starts_with,
  ends_with,
  matches,
  in,
};

/// Both ends included; one number if they are equal.
struct Range {
  double first = 0;
  double last = 0;
  bool operator==(const Range&) const = default;
};

struct Operand {
  std::string text;                      ///< as it was written, without quotes
  std::optional<Range> range;            ///< of numbers
  std::optional<base::Network> network;  ///< of addresses
  /// Equality of text whose case does not count and that is not ASCII; null otherwise.
  std::shared_ptr<const re2::RE2> equal{};
};

struct Predicate {
  Comparison comparison = Comparison::holds;
  ValueType type = ValueType::flag;
  bool case_sensitive = false;
  std::vector<Operand> operands{};  ///< one; of `in` any number
  /// Of contains, starts_with, ends_with, matches.
  std::shared_ptr<const re2::RE2> regex{};
  /// Lower case: what `regex` looks for when that is nothing but an ASCII text whose case does not
  /// count. Empty: it is more.
  std::string literal{};

  /// Whether one value satisfies the comparison; of not_equal: whether it is equal.
  [[nodiscard]] bool test(std::string_view value) const;
  [[nodiscard]] bool test(double value) const;
  [[nodiscard]] bool test(const base::Address& value) const;
};

/// A value of a field, as it is shown.
using Value = std::variant<std::string, double, base::Address, bool>;

/// What becomes of the values of a field, one after the other: a predicate is asked of them, or
/// they are collected.
class Values {
 public:
  explicit Values(const Predicate& predicate) : predicate_(&predicate) {}
  explicit Values(std::vector<Value>& all) : all_(&all) {}

  void text(std::string_view value) { add(value); }
  void number(double value) { add(value); }
  void address(const base::Address& value) { add(value); }
  void flag(bool value) {
    if (all_ == nullptr)
      found_ = found_ || value;
    else if (value)
      all_->emplace_back(true);
  }
  /// A text that is absent when it is empty.
  void known(std::string_view value) {
    if (!value.empty()) add(value);
  }
  /// Whether no further value changes the result; never while they are collected.
  [[nodiscard]] bool decided() const { return found_; }
  /// The predicate's.
  [[nodiscard]] bool result() const {
    return predicate_->comparison == Comparison::not_equal ? present_ && !found_ : found_;
  }

 private:
  template <class Value>
  void add(const Value& value) {
    if (all_ != nullptr) return collect(value);
    present_ = true;
    found_ = found_ || predicate_->test(value);
  }

  void collect(std::string_view value) { all_->emplace_back(std::string(value)); }
  void collect(double value) { all_->emplace_back(value); }
  void collect(const base::Address& value) { all_->emplace_back(value); }

  const Predicate* predicate_ = nullptr;  ///< this one or the next is not null
  std::vector<Value>* all_ = nullptr;
  bool present_ = false;
  bool found_ = false;
};

}  // namespace mitm::query
