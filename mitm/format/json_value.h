// Members of parsed JSON of which nothing is certain: a member of another type is as good as none.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include <nlohmann/json.hpp>

#include "mitm/flow/records.h"

namespace mitm::format {

/// Empty: it is malformed. Bytes that are not UTF-8 become U+FFFD.
[[nodiscard]] std::optional<nlohmann::json> parse_json(std::string_view text);

/// Null: there is none, or `object` is no object.
[[nodiscard]] const nlohmann::json& json_member(const nlohmann::json& object,
                                                std::string_view name);
[[nodiscard]] std::string json_text(const nlohmann::json& object, std::string_view name);
[[nodiscard]] bool json_true(const nlohmann::json& object, std::string_view name);
[[nodiscard]] std::optional<double> json_number(const nlohmann::json& object,
                                                std::string_view name);
/// A whole number that is 0 or more.
[[nodiscard]] std::optional<std::uint64_t> json_count(const nlohmann::json& object,
                                                      std::string_view name);
/// Milliseconds.
[[nodiscard]] flow::Offset json_millis(const nlohmann::json& object, std::string_view name);
/// RFC 3339, with any offset from UTC.
[[nodiscard]] std::optional<flow::Time> json_time(const nlohmann::json& object,
                                                  std::string_view name);
/// Base64; empty if it is damaged.
[[nodiscard]] std::string json_bytes(const nlohmann::json& object, std::string_view name);
/// The texts of an array.
[[nodiscard]] std::vector<std::string> json_texts(const nlohmann::json& object,
                                                  std::string_view name);

/// "2026-11-23T09:26:50.123456Z", with any number of digits, and "+01:00" for Z. Empty: malformed.
[[nodiscard]] std::optional<flow::Time> parse_time(std::string_view text);

}  // namespace mitm::format
