// Single values of options: JSON or text as a user writes it, to the types of the rooms below.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "base/network.h"

namespace mitm::cli {

inline constexpr std::uint64_t kLargestSize = std::uint64_t{1} << 40;
inline constexpr std::chrono::seconds kLongestTime = std::chrono::hours{7 * 24};

/// `value` as an error shows it: as JSON when that is short, else what kind of value it is.
std::string describe_value(const nlohmann::json& value);
/// The same, but with a string in single quotes, as messages quote what was typed.
std::string quoted(const nlohmann::json& value);

/// The strings of a value that is one string (commas separate) or a list of them; of "" there are
/// none.
[[nodiscard]] std::vector<std::string> words_in(const nlohmann::json& value);
/// "80,443,8000-8100" or "all" (which is no range at all); as a string or as a list of them.
[[nodiscard]] base::Result<std::vector<base::PortRange>> parse_ports(const nlohmann::json& value);
/// "10.0.0.0/8,fe80::/10", as a string or as a list of them; "" and [] mean no network.
[[nodiscard]] base::Result<std::vector<base::Network>> parse_networks(const nlohmann::json& value);
/// "example.org,*.example.net", as a string or as a list of them, as base::host_matches wants
/// them.
[[nodiscard]] base::Result<std::vector<std::string>> parse_hosts(const nlohmann::json& value);
/// A string with a single bit, "0x10000000" or in decimal.
[[nodiscard]] base::Result<std::uint32_t> parse_mark(const nlohmann::json& value);
/// "4096", "64k", "10M", "1G".
[[nodiscard]] base::Result<std::uint64_t> parse_size(const nlohmann::json& value);
/// "90" (seconds), "90s", "10m", "2h": at most a week.
[[nodiscard]] base::Result<std::chrono::seconds> parse_duration(const nlohmann::json& value);

/// What the parsers above read, in its usual form.
nlohmann::json render_ports(const std::vector<base::PortRange>& ports);
nlohmann::json render_networks(const std::vector<base::Network>& networks);
nlohmann::json render_mark(std::uint32_t mark);
nlohmann::json render_size(std::uint64_t size);
nlohmann::json render_duration(std::chrono::seconds duration);

}  // namespace mitm::cli
