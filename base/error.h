// The one error type for what a user reads. Hot I/O paths use boost::system::error_code instead.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include <boost/assert/source_location.hpp>
#include <boost/system/result.hpp>
#include <fmt/format.h>

namespace base {

/// `text` says what failed, on what, and what to do about it; one line, no trailing newline or full
/// stop. Not constructible from a string alone, so that a Result<std::string> stays unambiguous:
/// see failure().
struct Error {
  Error() = default;
  Error(std::string what, int code) : text(std::move(what)), os_code(code) {}

  std::string text;
  int os_code = 0;  ///< errno of the failed call, 0 when no call failed
};

template <class T = void>
using Result = boost::system::result<T, Error>;

/// An error whose text is formatted as by fmt::format.
template <class... Args>
Error failure(fmt::format_string<Args...> text, Args&&... args) {
  return {fmt::format(text, std::forward<Args>(args)...), 0};
}

/// "WHAT: No such file or directory", with the text of `os_code` (errno).
Error os_error(std::string_view what, int os_code);

/// The errno in a netlink acknowledgement (nlmsgerr.error), which is negative; 0: done. EPROTO for
/// what no kernel says.
int netlink_errno(std::int32_t error);

/// Called when value() is asked of a failed result: a bug of ours, never a user's mistake.
[[noreturn]] void throw_exception_from_error(const Error& error,
                                             const boost::source_location& where);

}  // namespace base
