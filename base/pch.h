// Precompiled for every folder: what costs most to parse.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <boost/asio.hpp>
#include <boost/system/result.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
