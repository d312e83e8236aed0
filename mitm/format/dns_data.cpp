#include "mitm/format/dns_data.h"

#include <array>
#include <charconv>
#include <cstring>
#include <optional>
#include <utility>

#include <boost/asio/ip/address.hpp>
#include <fmt/format.h>

#include "base/text.h"
#include "mitm/flow/dns_names.h"

namespace mitm::format {
namespace {

namespace ip = boost::asio::ip;
using enum flow::DnsType;

constexpr std::size_t kMaxLabel = 63, kMaxName = 255, kMaxText = 255;

std::optional<std::uint16_t> number_in(std::string_view text) {
  std::uint16_t number = 0;
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc{} || stop != end) return std::nullopt;
  return number;
}

std::string hexadecimal(std::string_view bytes) {
  std::string text;
  for (const char c : bytes) text += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return text;
}

std::optional<std::string> from_hexadecimal(std::string_view text) {
  if (text.size() % 2 != 0) return std::nullopt;
  std::string bytes;
  for (std::size_t i = 0; i < text.size(); i += 2) {
    unsigned byte = 0;
    const char* const end = text.data() + i + 2;
    const auto [stop, error] = std::from_chars(text.data() + i, end, byte, 16);
    if (error != std::errc{} || stop != end) return std::nullopt;
    bytes += static_cast<char>(byte);
  }
  return bytes;
}

/// One character of a name in the form of master files (RFC 1035, 5.1), taken from its front.
char take_letter(std::string_view& text) {
  char letter = text.front();
  text.remove_prefix(1);
  if (letter != '\\' || text.empty()) return letter;
  unsigned code = 0;
  if (text.size() >= 3 &&
      std::from_chars(text.data(), text.data() + 3, code).ptr == text.data() + 3) {
    text.remove_prefix(3);
    return static_cast<char>(code);
  }
  letter = text.front();
  text.remove_prefix(1);
  return letter;
}

std::optional<std::string> name_bytes(std::string_view text) {
  std::string bytes;
  std::string label;
  const auto end_label = [&] {
    if (label.empty() || label.size() > kMaxLabel) return false;
    bytes += static_cast<char>(label.size());
    bytes += std::exchange(label, {});
    return true;
  };
  if (text == ".") text = {};
  while (!text.empty()) {
    if (text.front() != '.') {
      label += take_letter(text);
      continue;
    }
    text.remove_prefix(1);
    if (!end_label()) return std::nullopt;
  }
  if (!label.empty() && !end_label()) return std::nullopt;
  if (bytes.size() >= kMaxName) return std::nullopt;
  return bytes + '\0';
}

void append_letter(std::string& text, unsigned char letter) {
  constexpr std::string_view kSpecial = ".;\\@$\"()";
  if (letter <= 0x20 || letter >= 0x7f) {
    text += fmt::format("\\{:03}", letter);
    return;
  }
  if (kSpecial.find(static_cast<char>(letter)) != kSpecial.npos) text += '\\';
  text += static_cast<char>(letter);
}

/// Of all of `bytes`, which has no pointers.
std::optional<std::string> name_text(std::string_view bytes) {
  std::string text;
  if (bytes.size() > kMaxName) return std::nullopt;
  while (!bytes.empty()) {
    const std::size_t size = static_cast<unsigned char>(bytes.front());
    if (size > kMaxLabel || size >= bytes.size()) return std::nullopt;
    if (size == 0) {
      if (bytes.size() > 1) return std::nullopt;
      return text.empty() ? "." : text;
    }
    if (!text.empty()) text += '.';
    for (const char c : bytes.substr(1, size)) append_letter(text, static_cast<unsigned char>(c));
    bytes.remove_prefix(1 + size);
  }
  return std::nullopt;
}

template <class Address>
std::optional<std::string> address_bytes(std::string_view text) {
  boost::system::error_code error;
  const auto address = ip::make_address(std::string(text), error);
  typename Address::bytes_type raw;
  if (error) return std::nullopt;
  if constexpr (std::is_same_v<Address, ip::address_v4>) {
    if (!address.is_v4()) return std::nullopt;
    raw = address.to_v4().to_bytes();
  } else {
    if (!address.is_v6()) return std::nullopt;
    raw = address.to_v6().to_bytes();
  }
  return std::string(reinterpret_cast<const char*>(raw.data()), raw.size());
}

template <class Address>
std::optional<std::string> address_text(std::string_view bytes) {
  typename Address::bytes_type raw;
  if (bytes.size() != raw.size()) return std::nullopt;
  std::memcpy(raw.data(), bytes.data(), raw.size());
  return Address{raw}.to_string();
}

/// `numbers` numbers of 16 bits and a name: MX, SRV.
std::optional<std::string> numbers_and_name_bytes(std::string_view text, int numbers) {
  std::string bytes;
  for (int i = 0; i < numbers; ++i) {
    const std::size_t space = text.find(' ');
    if (space == text.npos) return std::nullopt;
    const auto number = number_in(text.substr(0, space));
    if (!number) return std::nullopt;
    bytes += static_cast<char>(*number >> 8U);
    bytes += static_cast<char>(*number & 0xffU);
    text.remove_prefix(space + 1);
  }
  const auto name = name_bytes(text);
  if (!name) return std::nullopt;
  return bytes + *name;
}

std::optional<std::string> numbers_and_name_text(std::string_view bytes, std::size_t numbers) {
  if (bytes.size() < 2 * numbers + 1) return std::nullopt;
  std::string text;
  for (std::size_t i = 0; i < 2 * numbers; i += 2) {
    text += fmt::format("{} ", static_cast<unsigned char>(bytes[i]) << 8U |
                                   static_cast<unsigned char>(bytes[i + 1]));
  }
  const auto name = name_text(bytes.substr(2 * numbers));
  if (!name) return std::nullopt;
  return text + *name;
}

std::string text_bytes(std::string_view text) {
  std::string bytes;
  do {
    const std::string_view part = text.substr(0, kMaxText);
    bytes += static_cast<char>(part.size());
    bytes += part;
    text.remove_prefix(part.size());
  } while (!text.empty());
  return bytes;
}

/// Full texts are continued by the next one; others are parted by a space.
std::string texts_in(std::string_view bytes) {
  std::string text;
  bool full = true;
  while (!bytes.empty()) {
    const std::size_t size = static_cast<unsigned char>(bytes.front());
    if (!full) text += ' ';
    text += base::printable(bytes.substr(1, size));
    full = size == kMaxText;
    bytes.remove_prefix(std::min(size + 1, bytes.size()));
  }
  return text;
}

std::optional<std::string> form_bytes(std::uint16_t type, std::string_view text) {
  switch (type) {
    case kA:
      return address_bytes<ip::address_v4>(text);
    case kAaaa:
      return address_bytes<ip::address_v6>(text);
    case kNs:
    case kCname:
    case kPtr:
    case kDname:
      return name_bytes(text);
    case kMx:
      return numbers_and_name_bytes(text, 1);
    case kSrv:
      return numbers_and_name_bytes(text, 3);
    case kTxt:
      return text_bytes(text);
    default:
      return std::nullopt;
  }
}

std::optional<std::string> form_text(std::uint16_t type, std::string_view bytes) {
  switch (type) {
    case kA:
      return address_text<ip::address_v4>(bytes);
    case kAaaa:
      return address_text<ip::address_v6>(bytes);
    case kNs:
    case kCname:
    case kPtr:
    case kDname:
      return name_text(bytes);
    case kMx:
      return numbers_and_name_text(bytes, 1);
    case kSrv:
      return numbers_and_name_text(bytes, 3);
    case kTxt:
      return texts_in(bytes);
    default:
      return std::nullopt;
  }
}

}  // namespace

std::string dns_data_bytes(std::uint16_t type, std::string_view text) {
  if (auto bytes = form_bytes(type, text)) return *bytes;
  if (auto bytes = from_hexadecimal(text)) return *bytes;
  return std::string(text);
}

std::string dns_data_text(std::uint16_t type, std::string_view bytes) {
  return form_text(type, bytes).value_or(hexadecimal(bytes));
}

}  // namespace mitm::format
