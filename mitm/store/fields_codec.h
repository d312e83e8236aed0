// Numbered values in a blob, so that later versions can add some and older ones skip them.
// A value is a varint of (field << 1 | is_text), then a varint: a number, or a size and as many
// bytes. Varints: seven bits a byte, the lowest first, the highest bit where more follow.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace mitm::store {

class FieldsEncoder {
 public:
  explicit FieldsEncoder(std::string& out) : out_(out) {}

  void number(unsigned field, std::uint64_t value);
  void number(unsigned field, std::optional<std::uint64_t> value);
  /// Nothing when it is empty.
  void text(unsigned field, std::string_view bytes);
  /// Even when it is empty: one element of a list.
  void element(unsigned field, std::string_view bytes);
  /// An element whose `bytes` bytes are written to where this returns, before anything else is put.
  [[nodiscard]] char* begin_element(unsigned field, std::size_t bytes);
  /// What element() adds for so many bytes, and what is that for these. Returns its end.
  [[nodiscard]] static std::size_t size_of_element(unsigned field, std::size_t bytes);
  static char* write_element(char* out, unsigned field, std::string_view bytes);

 private:
  void put(std::uint64_t key, std::uint64_t value);

  std::string& out_;
};

class FieldsDecoder {
 public:
  struct Value {
    unsigned field = 0;
    std::uint64_t number = 0;
    std::string_view text;  ///< of the blob
    bool is_text = false;
  };

  explicit FieldsDecoder(std::string_view bytes) : left_(bytes) {}

  /// Empty: the end, or what is no value; see failed().
  [[nodiscard]] std::optional<Value> next();
  [[nodiscard]] bool failed() const { return failed_; }

 private:
  [[nodiscard]] std::optional<std::uint64_t> varint();

  std::string_view left_;
  bool failed_ = false;
};

}  // namespace mitm::store
