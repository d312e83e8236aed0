// Sizes and times, short enough to read at a glance.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace mitm::format {

/// "0b", "999b", "1.2k", "34.0m", "1.5g": powers of 1024.
std::string size_text(std::uint64_t bytes);

/// "0.8ms", "34ms", "1.23s", "12.3s", "123s".
std::string duration_text(std::chrono::microseconds duration);

}  // namespace mitm::format
