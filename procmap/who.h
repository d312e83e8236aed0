// What `osproxy who` prints.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/network.h"
#include "procmap/attribution.h"

namespace procmap {

/// ":443", "443", "192.0.2.1", "192.0.2.1:443", "::1" or "[::1]:443".
struct SocketEnd {
  std::optional<base::Address> address;  ///< none: any
  std::uint16_t port = 0;                ///< 0: any

  /// Whether either end of the socket is this one.
  [[nodiscard]] bool matches(const SocketRow& row) const;
};
[[nodiscard]] base::Result<SocketEnd> parse_socket_end(std::string_view text);

/// Puts what no process has any more (TIME-WAIT and the like) behind all others.
void sort_rows(std::vector<SocketRow>& rows);

/// "/usr/bin/python3.11 prog.py": the executable, and the script that it runs. Printable.
std::string program_text(const ProcessFacts& process);

/// A table with aligned columns and a heading, of the sockets whose process is known; behind it a
/// line that counts the others.
std::string render_who_text(const std::vector<SocketRow>& rows);

/// One JSON object a line: local, remote, state, process (null when unknown).
std::string render_who_jsonl(const std::vector<SocketRow>& rows);

}  // namespace procmap
