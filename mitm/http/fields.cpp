// Header fields over one string.
#include "mitm/http/fields.h"

#include <algorithm>

namespace mitm::http {
void Fields::add(std::string_view name, std::string_view value) {
  spans_.push_back({static_cast<std::uint32_t>(text_.size()),
                    static_cast<std::uint32_t>(name.size()),
                    static_cast<std::uint32_t>(value.size())});
  text_.append(name).append(value);
}

void Fields::reserve(std::size_t fields, std::size_t bytes) {
  spans_.reserve(fields);
  text_.reserve(bytes);
}

void Fields::clear() {
  spans_.clear();
  text_.clear();
}

std::pair<std::string_view, std::string_view> Fields::operator[](std::size_t i) const {
  const Span& span = spans_[i];
  const std::string_view text = text_;
  return {text.substr(span.begin, span.name_size),
          text.substr(span.begin + span.name_size, span.value_size)};
}

std::string_view Fields::find(std::string_view name) const {
  for (std::size_t i = 0; i < spans_.size(); ++i) {
    const auto [field, value] = (*this)[i];
    if (iequals(field, name)) return value;
  }
  return {};
}

void Fields::remove(std::string_view name) {
  Fields kept;
  kept.reserve(spans_.size(), text_.size());
  for (std::size_t i = 0; i < size(); ++i) {
    const auto [field, value] = (*this)[i];
    if (!iequals(field, name)) kept.add(field, value);
  }
  *this = std::move(kept);
}

void Fields::set(std::string_view name, std::string_view value) {
  Fields changed;
  changed.reserve(spans_.size() + 1, text_.size() + name.size() + value.size());
  bool is_set = false;
  for (std::size_t i = 0; i < size(); ++i) {
    const auto [field, old] = (*this)[i];
    if (!iequals(field, name)) {
      changed.add(field, old);
    } else if (!std::exchange(is_set, true)) {
      changed.add(field, value);
    }
  }
  if (!is_set) changed.add(name, value);
  *this = std::move(changed);
}

bool Fields::operator==(const Fields& other) const {
  return text_ == other.text_ && spans_ == other.spans_;
}

}  // namespace mitm::http
