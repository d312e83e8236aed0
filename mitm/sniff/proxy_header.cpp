// "The PROXY protocol" (haproxy.org), sections 2.1 and 2.2.
#include "mitm/sniff/proxy_header.h"

#include <algorithm>

namespace mitm::sniff {
namespace {

constexpr std::string_view kText = "PROXY ";
constexpr std::string_view kBinary{"\r\n\r\n\0\r\nQUIT\n", 12};
constexpr std::size_t kFixed = 16;         // of the binary one: signature, version, family, length
constexpr std::size_t kLongestText = 107;  // with its end of line
constexpr std::size_t kLongestBinary = 4096;  // real ones have some hundred bytes at most

bool starts_as(std::string_view text, std::string_view beginning) {
  return text.starts_with(beginning.substr(0, text.size()));
}

/// "PROXY TCP4 192.0.2.1 192.0.2.2 5000 443", "PROXY UNKNOWN ...".
bool is_header_line(std::string_view line) {
  line.remove_prefix(std::min(kText.size(), line.size()));
  const bool unknown = line == "UNKNOWN" || line.starts_with("UNKNOWN ");
  const bool of_tcp = line.starts_with("TCP4 ") || line.starts_with("TCP6 ");
  return unknown || (of_tcp && std::ranges::count(line, ' ') == 4);
}

std::optional<std::size_t> size_of_text(std::string_view bytes) {
  const auto end = bytes.find("\r\n");
  const auto line = bytes.substr(0, end);
  if (line.size() + 2 > kLongestText) return 0;
  if (end == bytes.npos) return std::nullopt;
  return is_header_line(line) ? line.size() + 2 : 0;
}

std::optional<std::size_t> size_of_binary(std::string_view bytes) {
  if (bytes.size() < kFixed) return std::nullopt;
  const auto at = [&](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
  const std::size_t size = kFixed + static_cast<std::size_t>(at(14) << 8 | at(15));
  if (at(12) >> 4 != 2 || size > kLongestBinary) return 0;
  return bytes.size() < size ? std::nullopt : std::optional(size);
}

}  // namespace

std::optional<std::size_t> size_of_proxy_header(std::string_view bytes) {
  if (starts_as(bytes, kText)) return size_of_text(bytes);
  if (starts_as(bytes, kBinary)) return size_of_binary(bytes);
  return 0;
}

}  // namespace mitm::sniff
