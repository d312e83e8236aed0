// HTTP header fields as they stood on the wire: order, case and repetition kept. One allocation
// holds all the text.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/ascii.h"

namespace mitm::http {

class Fields {
 public:
  void add(std::string_view name, std::string_view value);
  void reserve(std::size_t fields, std::size_t bytes);
  void clear();
  /// Takes out every field called `name` (case-insensitive).
  void remove(std::string_view name);
  /// One field called `name` with this value: in place of the first that there was, with its
  /// spelling, or at the end.
  void set(std::string_view name, std::string_view value);

  [[nodiscard]] std::size_t size() const { return spans_.size(); }
  /// Names and values together.
  [[nodiscard]] std::size_t bytes() const { return text_.size(); }
  /// Bytes of memory that it occupies.
  [[nodiscard]] std::size_t memory() const {
    return text_.capacity() + spans_.capacity() * sizeof(Span);
  }
  [[nodiscard]] bool empty() const { return spans_.empty(); }
  /// (name, value) of field `i`; the views live as long as the object is not changed.
  [[nodiscard]] std::pair<std::string_view, std::string_view> operator[](std::size_t i) const;
  /// Value of the first field called `name` (case-insensitive); empty if none.
  [[nodiscard]] std::string_view find(std::string_view name) const;
  /// Same names, spelled the same, and values, in the same order.
  [[nodiscard]] bool operator==(const Fields& other) const;

 private:
  struct Span {
    std::uint32_t begin, name_size, value_size;
    bool operator==(const Span&) const = default;
  };
  std::string text_;
  std::vector<Span> spans_;
};

/// ASCII case-insensitive equality (RFC 9110 section 5.1).
using base::iequals;

}  // namespace mitm::http
