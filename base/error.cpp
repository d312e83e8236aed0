// Text of system errors, and the trap for results used without a check.
#include "base/error.h"

#include <stdexcept>
#include <system_error>

#include <fmt/format.h>

namespace base {

Error os_error(std::string_view what, int os_code) {
  return {fmt::format("{}: {}", what, std::generic_category().message(os_code)), os_code};
}

void throw_exception_from_error(const Error& error, const boost::source_location& where) {
  throw std::logic_error(
      fmt::format("{}:{}: unchecked error: {}", where.file_name(), where.line(), error.text));
}

}  // namespace base
