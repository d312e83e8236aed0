#include "mitm/store/fields_codec.h"

#include <limits>

namespace mitm::store {
namespace {

void put_varint(std::string& out, std::uint64_t value) {
  while (value >= 0x80) {
    out.push_back(static_cast<char>(value | 0x80));
    value >>= 7U;
  }
  out.push_back(static_cast<char>(value));
}

}  // namespace

void FieldsEncoder::number(unsigned field, std::uint64_t value) {
  put_varint(out_, field << 1U);
  put_varint(out_, value);
}

void FieldsEncoder::number(unsigned field, std::optional<std::uint64_t> value) {
  if (value) number(field, *value);
}

void FieldsEncoder::text(unsigned field, std::string_view bytes) {
  if (!bytes.empty()) element(field, bytes);
}

void FieldsEncoder::element(unsigned field, std::string_view bytes) {
  put_varint(out_, field << 1U | 1U);
  put_varint(out_, bytes.size());
  out_ += bytes;
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
