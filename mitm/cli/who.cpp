// `osproxy who`: which process owns a socket, and which sockets a program has. Hosts are resolved
// by a process with the rights of the user who typed sudo: root reads nothing from the network.
#include "procmap/who.h"

#include <array>
#include <cerrno>
#include <cstring>

#include <arpa/inet.h>
#include <netdb.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/host_pattern.h"
#include "base/text.h"
#include "divert/policy/program_filter.h"
#include "divert/process/privilege.h"
#include "mitm/cli/commands.h"
#include "mitm/cli/error_codes.h"
#include "mitm/cli/log_line.h"
#include "mitm/cli/options.h"
#include "procmap/attribution.h"

namespace mitm::cli {
namespace {

using base::Result;
using procmap::SocketEnd;
using procmap::SocketRow;
using Rows = std::vector<SocketRow>;

/// In other states a socket may have been left by its process.
bool is_anothers(const SocketRow& row) {
  return !row.owner.process && (row.state == "ESTAB" || row.state == "LISTEN");
}

/// A line for each address of `host`.
std::string resolve(const std::string& host) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (::getaddrinfo(host.c_str(), nullptr, &hints, &found) != 0) return {};
  std::string lines;
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
    std::array<char, NI_MAXHOST> text{};
    if (::getnameinfo(one->ai_addr, one->ai_addrlen, text.data(), text.size(), nullptr, 0,
                      NI_NUMERICHOST) == 0)
      lines.append(text.data()).append("\n");
  }
  ::freeaddrinfo(found);
  return lines;
}

/// The addresses of `host`, found out by a process that has become `user`. Blocks as long as name
/// services do.
std::vector<base::Address> addresses_of(const std::string& host, const base::User& user) {
  auto pipe = base::make_pipe(base::Blocking::yes);
  const pid_t child = pipe ? ::fork() : -1;
  if (child == 0) {
    const bool is_other = ::geteuid() == 0 && user.uid != 0;
    if (!is_other || base::become(user))
      (void)base::write_all(pipe->in.get(), resolve(host)).has_value();
    ::_exit(0);
  }
  if (child < 0) return {};
  pipe->in.reset();
  std::string lines;
  std::array<char, 4096> block;
  for (ssize_t n = 0;
       (n = ::read(pipe->out.get(), block.data(), block.size())) > 0 || (n < 0 && errno == EINTR);)
    lines.append(block.data(), n > 0 ? static_cast<std::size_t>(n) : 0);
  while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
  std::vector<base::Address> addresses;
  for_each_part(lines, '\n', [&](std::string_view line) {
    boost::system::error_code ec;
    const auto address = boost::asio::ip::make_address(std::string(line), ec);
    if (!ec) addresses.push_back(base::unmapped(address));
  });
  return addresses;
}

Rows at_ends(const Rows& rows, const std::vector<SocketEnd>& ends) {
  Rows found;
  for (const auto& row : rows) {
    if (std::ranges::any_of(ends, [&](const SocketEnd& end) { return end.matches(row); }))
      found.push_back(row);
  }
  return found;
}

Rows of_programs(const Rows& rows, const divert::ProgramFilter& filter) {
  Rows found;
  for (const auto& row : rows) {
    if (filter.matches(row.owner)) found.push_back(row);
  }
  return found;
}

/// "api.example:443" as host and port; a port of 0: there is none, the whole is the host.
struct HostPort {
  std::string host;
  std::uint16_t port = 0;
};
HostPort host_and_port(const std::string& text) {
  const auto colon = text.rfind(':');
  const auto port = colon == text.npos
                        ? Result<SocketEnd>{SocketEnd{}}
                        : procmap::parse_socket_end(std::string_view(text).substr(colon));
  if (!port || port->port == 0) return {text, 0};
  return {text.substr(0, colon), port->port};
}

bool is_filter_only(std::string_view word) {
  constexpr std::array<std::string_view, 7> kSigns{"!",     "=",      "/",      "~",
                                                   "user:", "group:", "cgroup:"};
  return std::ranges::any_of(kSigns, [&](std::string_view sign) { return word.starts_with(sign); });
}

/// "https://h.test/" is neither a host nor a path; the error is the one of --block.
Result<> check_url(const std::string& word) {
  if (word.find("://") == word.npos || is_filter_only(word)) return {};
  const auto host = base::parse_host_pattern(word);
  return host ? Result<>{} : base::Error{host.error().text, kUsageError};
}

base::Error no_host(const std::string& host) {
  return base::failure("there is no host '{}'", base::printable(host));
}

/// The sockets at a host that has `addresses`; the error names them.
Result<Rows> at_host(const Rows& rows, const HostPort& what,
                     const std::vector<base::Address>& addresses) {
  std::vector<SocketEnd> ends;
  std::vector<std::string> texts;
  for (const auto& address : addresses) {
    ends.push_back({address, what.port});
    texts.push_back(address.to_string());
  }
  auto found = at_ends(rows, ends);
  if (!found.empty()) return found;
  return base::failure(
      "no TCP socket of this network namespace is at {}{}, which has the addresses {}", what.host,
      what.port == 0 ? "" : fmt::format(":{}", what.port), fmt::join(texts, ", "));
}

/// A port, an address, both, a host with or without a port, or a FILTER, in this order. A number
/// that is no port of any socket is a process.
Result<Rows> chosen(const Rows& rows, const std::string& word, const base::User& user) {
  const auto end = procmap::parse_socket_end(word);
  if (end) {
    auto found = at_ends(rows, {*end});
    const auto filter = divert::ProgramFilter::parse(word);
    const bool may_be_process = !end->address && !word.starts_with(':') && filter;
    if (found.empty() && may_be_process) found = of_programs(rows, *filter);
    if (!found.empty()) return found;
    return base::failure("no TCP socket of this network namespace is at {}", word);
  }
  const auto host = host_and_port(word);
  if (!is_filter_only(word) && host.port != 0) {
    const auto addresses = addresses_of(host.host, user);
    return addresses.empty() ? no_host(host.host) : at_host(rows, host, addresses);
  }
  const auto filter = divert::ProgramFilter::parse(word);
  if (!filter) return base::Error{filter.error().text, kUsageError};
  if (auto found = of_programs(rows, *filter); !found.empty()) return found;
  if (is_filter_only(word))
    return base::failure("no program that '{}' selects has a TCP socket", word);
  const auto addresses = addresses_of(host.host, user);
  if (!addresses.empty()) return at_host(rows, host, addresses);
  return base::failure(
      "no program that '{}' selects has a TCP socket, and there is no host of that name", word);
}

/// For a look that found no program: what shows the next one. `word` is not a FILTER.
std::string see_next(const std::string& word) {
  const auto end = procmap::parse_socket_end(word);
  constexpr std::string_view kNeedsTrust = "(it decrypts: sudo osproxy ca install comes first)";
  if (!end) return fmt::format("sudo osproxy --only {} {}", host_and_port(word).host, kNeedsTrust);
  if (end->address)
    return fmt::format("sudo osproxy --only {} {}", end->address->to_string(), kNeedsTrust);
  return fmt::format("sudo osproxy --ports {}", end->port);
}

}  // namespace

Result<int> who_command(const Invocation& invocation) {
  const auto settings = settings_of(invocation);
  if (!settings) return settings.error();
  const auto user = divert::invoking_user();
  if (!user) return user.error();
  auto attributor = procmap::Attributor::open();
  if (!attributor) return attributor.error();
  auto rows = procmap::socket_table(*attributor);
  if (!rows) return rows.error();
  if (!invocation.positional.empty()) {
    if (const auto good = check_url(invocation.positional.front()); !good) return good.error();
    auto found = chosen(*rows, invocation.positional.front(), *user);
    if (!found) return found.error();
    rows = std::move(*found);
  }
  procmap::sort_rows(*rows);
  const bool jsonl = settings->format == Format::jsonl;
  fmt::print("{}", jsonl ? procmap::render_who_jsonl(*rows) : procmap::render_who_text(*rows));
  if (::geteuid() != 0 && std::ranges::any_of(*rows, is_anothers)) {
    log_line("owners of other users' sockets are seen by root only; try: " + with_sudo(invocation));
  } else if (!invocation.positional.empty() &&
             std::ranges::none_of(
                 *rows, [](const SocketRow& row) { return row.owner.process != nullptr; })) {
    log_line("to see who connects next: " + see_next(invocation.positional.front()));
  }
  return 0;
}

}  // namespace mitm::cli
