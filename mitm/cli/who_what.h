// WHAT of `osproxy who`: a port, an address, a host, or a FILTER.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/error.h"
#include "divert/policy/program_filter.h"
#include "procmap/who.h"

namespace mitm::cli {

/// "api.example:443" as host and port; a port of 0: there is none, the whole is the host.
struct HostPort {
  std::string host;
  std::uint16_t port = 0;
};
[[nodiscard]] HostPort host_and_port(const std::string& text);

/// Begins as nothing but a FILTER does.
[[nodiscard]] bool is_filter_only(std::string_view word);

/// "https://h.test/" is neither a host nor a path; the error is the one of --block.
[[nodiscard]] base::Result<> check_url(const std::string& word);

/// Everything that a word can mean, where it cannot be asked which of it there is: the next
/// connection is still to come.
struct What {
  std::optional<procmap::SocketEnd> end;
  HostPort host;  ///< empty: none
  std::optional<divert::ProgramFilter> filter;

  [[nodiscard]] bool is_everything() const { return !end && host.host.empty() && !filter; }
};
/// Of an empty word: everything. Errors are those of a FILTER.
[[nodiscard]] base::Result<What> parse_what(const std::string& word);

}  // namespace mitm::cli
