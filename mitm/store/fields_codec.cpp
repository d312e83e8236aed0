#include "mitm/store/fields_codec.h"

#include <algorithm>
#include <limits>

namespace mitm::store {
namespace {

/// Returns its end. `out` has room for kVarint bytes.
constexpr std::size_t kVarint = 10;
char* put_varint(char* out, std::uint64_t value) {
  while (value >= 0x80) {
    *out++ = static_cast<char>(value | 0x80);
    value >>= 7U;
  }
  *out++ = static_cast<char>(value);
  return out;
}

std::size_t size_of_varint(std::uint64_t value) {
  std::size_t size = 1;
  for (; value >= 0x80; value >>= 7U) ++size;
  return size;
}

}  // namespace

void FieldsEncoder::put(std::uint64_t key, std::uint64_t value) {
  char bytes[2 * kVarint];
  const char* const end = put_varint(put_varint(bytes, key), value);
  out_.append(bytes, static_cast<std::size_t>(end - bytes));
}

void FieldsEncoder::number(unsigned field, std::uint64_t value) {
  put(field << 1U, value);
}

void FieldsEncoder::number(unsigned field, std::optional<std::uint64_t> value) {
  if (value) number(field, *value);
}

void FieldsEncoder::text(unsigned field, std::string_view bytes) {
  if (!bytes.empty()) element(field, bytes);
}

void FieldsEncoder::element(unsigned field, std::string_view bytes) {
  put(field << 1U | 1U, bytes.size());
  out_ += bytes;
}

char* FieldsEncoder::begin_element(unsigned field, std::size_t bytes) {
  put(field << 1U | 1U, bytes);
  out_.resize(out_.size() + bytes);
  return out_.data() + out_.size() - bytes;
}

std::size_t FieldsEncoder::size_of_element(unsigned field, std::size_t bytes) {
  return size_of_varint(field << 1U) + size_of_varint(bytes) + bytes;
}

char* FieldsEncoder::write_element(char* out, unsigned field, std::string_view bytes) {
  out = put_varint(put_varint(out, field << 1U | 1U), bytes.size());
  return std::copy(bytes.begin(), bytes.end(), out);
}

std::optional<std::uint64_t> FieldsDecoder::varint() {
  std::uint64_t value = 0;
  for (unsigned shift = 0; shift < 64 && !left_.empty(); shift += 7) {
    const auto byte = static_cast<std::uint8_t>(left_.front());
    left_.remove_prefix(1);
    value |= std::uint64_t{byte & 0x7fU} << shift;
    if (byte < 0x80) return value;
  }
  failed_ = true;
  return std::nullopt;
}

std::optional<FieldsDecoder::Value> FieldsDecoder::next() {
  if (left_.empty()) return std::nullopt;
  const auto key = varint();
  const auto number = varint();
  if (!key || !number || *key >> 1U > std::numeric_limits<unsigned>::max()) {
    failed_ = true;
    return std::nullopt;
  }
  Value value{static_cast<unsigned>(*key >> 1U), *number, {}, (*key & 1U) != 0};
  if (!value.is_text) return value;
  if (*number > left_.size()) {
    failed_ = true;
    return std::nullopt;
  }
  value.text = left_.substr(0, *number);
  left_.remove_prefix(*number);
  return value;
}

}  // namespace mitm::store
