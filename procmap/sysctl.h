// sysctl(3) of macOS and FreeBSD.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "base/error.h"

namespace procmap {

/// The whole value, however much it grows meanwhile. The error names `name`.
[[nodiscard]] base::Result<std::string> query_sysctl(const char* name);

/// The value under these numbers, at most `room` bytes of it; empty on any failure (mostly: no such
/// process).
std::string query_sysctl(std::span<const int> numbers, std::size_t room);

}  // namespace procmap
