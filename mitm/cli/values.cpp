// Each parser takes what the command line and the file may hold, and names both what was found and
// what was expected.
#include "mitm/cli/values.h"

#include <algorithm>
#include <bit>
#include <charconv>

#include <fmt/format.h>

#include "base/host_pattern.h"
#include "divert/policy/policy.h"

namespace mitm::cli {

using base::failure;
using base::Result;
using nlohmann::json;

namespace {

json texts(const auto& items) {
  json list = json::array();
  for (const auto& item : items) list.push_back(base::to_string(item));
  return list;
}

}  // namespace

std::string describe_value(const json& value) {
  constexpr std::size_t kShort = 60;
  const auto is_plain = [](const json& item) { return !item.is_structured() && !item.is_binary(); };
  const bool flat =
      is_plain(value) || (value.size() < kShort && std::ranges::all_of(value, is_plain));
  if (value.is_string() && value.get_ref<const std::string&>().size() > kShort)
    return fmt::format("a string of {} bytes", value.get_ref<const std::string&>().size());
  const std::string text =
      flat ? value.dump(-1, ' ', false, json::error_handler_t::replace) : std::string();
  if (flat && text.size() <= kShort) return text;
  return value.is_object() ? "an object" : "a list";
}

std::string quoted(const json& value) {
  const std::string text = describe_value(value);
  return text.starts_with('"') ? fmt::format("'{}'", value.get_ref<const std::string&>()) : text;
}

std::vector<std::string> words_in(const json& value) {
  std::vector<std::string> words;
  const auto add = [&](const std::string& text) {
    for (std::size_t begin = 0; begin <= text.size();) {
      const auto end = std::min(text.find(',', begin), text.size());
      if (end > begin || !text.empty()) words.push_back(text.substr(begin, end - begin));
      begin = end + 1;
    }
  };
  if (value.is_string()) add(value);
  if (value.is_array()) {
    for (const auto& item : value) add(item);
  }
  return words;
}

Result<std::vector<base::PortRange>> parse_ports(const json& value) {
  std::vector<base::PortRange> ranges;
  const auto words = words_in(value);
  for (const auto& word : words) {
    if (word == "all") {
      if (words.size() > 1)
        return failure("expected all, or ports and ranges of ports, found both");
      return ranges;
    }
    const auto range = base::parse_port_range(word);
    if (!range) return range.error();
    ranges.push_back(*range);
  }
  if (ranges.empty()) return failure("expected ports, ranges of ports or all");
  return ranges;
}

Result<std::vector<base::Network>> parse_networks(const json& value) {
  std::vector<base::Network> networks;
  for (const auto& word : words_in(value)) {
    const auto network = base::parse_network(word);
    if (!network) return network.error();
    networks.push_back(*network);
  }
  return networks;
}

Result<std::uint32_t> parse_mark(const json& given) {
  const std::string_view text = given.get_ref<const std::string&>();
  const bool hexadecimal = text.starts_with("0x") || text.starts_with("0X");
  const auto digits = text.substr(hexadecimal ? 2 : 0);
  std::uint32_t value = 0;
  const auto [end, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), value, hexadecimal ? 16 : 10);
  if (error != std::errc{} || end != digits.data() + digits.size() || !std::has_single_bit(value))
    return failure("expected a single bit such as 0x10000000, found '{}'", text);
  return value;
}

Result<std::uint64_t> parse_size(const json& given) {
  const std::string_view text = given.get_ref<const std::string&>();
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const std::string_view unit{end, text.data() + text.size()};
  const unsigned shift = unit.empty()                 ? 0
                         : unit == "k" || unit == "K" ? 10
                         : unit == "M"                ? 20
                         : unit == "G"                ? 30
                                                      : 64;
  if (error != std::errc{} || shift == 64 || value > kLargestSize >> shift) {
    return failure("expected a number of bytes such as 4096, 64k or 10M, found '{}'", text);
  }
  return value << shift;
}

Result<std::chrono::seconds> parse_duration(const json& given) {
  const std::string_view text = given.get_ref<const std::string&>();
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  const std::string_view unit{end, text.data() + text.size()};
  const std::int64_t factor = unit.empty() || unit == "s" ? 1
                              : unit == "m"               ? 60
                              : unit == "h"               ? 3600
                                                          : 0;
  if (error != std::errc{} || value < 0 || factor == 0 || value > kLongestTime.count() / factor)
    return failure(
        "expected a time such as 30 (seconds), 30s, 10m or 2h, at most 168h, or 0; found '{}'",
        text);
  return std::chrono::seconds{value * factor};
}

Result<std::vector<std::string>> parse_hosts(const json& value) {
  const auto words = words_in(value);
  if (words.empty()) return failure("expected hosts, such as example.org or *.example.org");
  if (words.size() > divert::Policy::kMaxConditions)
    return failure("expected at most {} hosts, found {}", divert::Policy::kMaxConditions,
                   words.size());
  std::vector<std::string> hosts;
  for (const auto& word : words) {
    auto host = base::parse_host_pattern(word);
    if (!host) return host.error();
    hosts.push_back(std::move(*host));
  }
  return hosts;
}

json render_ports(const std::vector<base::PortRange>& ports) {
  return ports.empty() ? json::array({"all"}) : texts(ports);
}

json render_networks(const std::vector<base::Network>& networks) {
  return texts(networks);
}

json render_mark(std::uint32_t mark) {
  return fmt::format("0x{:x}", mark);
}

json render_size(std::uint64_t size) {
  unsigned unit = 0;
  while (size != 0 && size % 1024 == 0 && unit < 3) {
    size /= 1024;
    ++unit;
  }
  constexpr std::string_view kUnits[] = {"", "k", "M", "G"};
  return fmt::format("{}{}", size, kUnits[unit]);
}

json render_duration(std::chrono::seconds duration) {
  const auto count = duration.count();
  if (count == 0) return "0";
  if (count % 3600 == 0) return fmt::format("{}h", count / 3600);
  return count % 60 == 0 ? fmt::format("{}m", count / 60) : fmt::format("{}s", count);
}

}  // namespace mitm::cli
