// Text of system errors, and the trap for results used without a check.
#include "base/error.h"

#include <cerrno>
#include <stdexcept>
#include <system_error>

#include <fmt/format.h>

namespace base {

Error os_error(std::string_view what, int os_code) {
  return {fmt::format("{}: {}", what, std::generic_category().message(os_code)), os_code};
}

int netlink_errno(std::int32_t error) {
  constexpr std::int32_t kLargest = 4095;  // MAX_ERRNO of linux/err.h
  return error <= 0 && error >= -kLargest ? -error : EPROTO;
}

void throw_exception_from_error(const Error& error, const boost::source_location& where) {
  throw std::logic_error(
      fmt::format("{}:{}: unchecked error: {}", where.file_name(), where.line(), error.text));
}

}  // namespace base
