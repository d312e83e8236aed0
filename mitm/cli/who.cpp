// `osproxy who`: which process owns a socket, and which sockets a program has. Hosts are resolved
// by a process with the rights of the user who typed sudo: root reads nothing from the network.
#include "procmap/who.h"

#include <unistd.h>

#include "base/text.h"
#include "divert/policy/program_filter.h"
#include "divert/process/privilege.h"
#include "mitm/cli/callers_environment.h"
#include "mitm/cli/commands.h"
#include "mitm/cli/error_codes.h"
#include "mitm/cli/host_addresses.h"
#include "mitm/cli/log_line.h"
#include "mitm/cli/options.h"
#include "mitm/cli/who_follow.h"
#include "mitm/cli/who_what.h"
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

base::Error no_host(const std::string& host) {
  return base::failure("there is no host '{}'", base::printable(host));
}

/// The sockets at a host that has `addresses`; the error names them, and what comes `next`.
Result<Rows> at_host(const Rows& rows, const HostPort& what,
                     const std::vector<base::Address>& addresses, const std::string& next) {
  std::vector<SocketEnd> ends;
  std::vector<std::string> texts;
  for (const auto& address : addresses) {
    ends.push_back({address, what.port});
    texts.push_back(address.to_string());
  }
  auto found = at_ends(rows, ends);
  if (!found.empty()) return found;
  return base::failure(
      "no TCP socket of this network namespace is at {}{}, which has the addresses {}; {}",
      what.host, what.port == 0 ? "" : fmt::format(":{}", what.port), fmt::join(texts, ", "), next);
}

/// A port, an address, both, a host with or without a port, or a FILTER, in this order. A number
/// that is no port of any socket is a process.
Result<Rows> chosen(const Rows& rows, const std::string& word, const base::User& user,
                    const std::string& next) {
  const auto end = procmap::parse_socket_end(word);
  if (end) {
    auto found = at_ends(rows, {*end});
    const auto filter = divert::ProgramFilter::parse(word);
    const bool may_be_process = !end->address && !word.starts_with(':') && filter;
    if (found.empty() && may_be_process) found = of_programs(rows, *filter);
    if (!found.empty()) return found;
    return base::failure("no TCP socket of this network namespace is at {}; {}", word, next);
  }
  const auto host = host_and_port(word);
  if (!is_filter_only(word) && host.port != 0) {
    const auto addresses = addresses_of(host.host, user);
    return addresses.empty() ? no_host(host.host) : at_host(rows, host, addresses, next);
  }
  const auto filter = divert::ProgramFilter::parse(word);
  if (!filter) return base::Error{filter.error().text, kUsageError};
  if (auto found = of_programs(rows, *filter); !found.empty()) return found;
  if (is_filter_only(word))
    return base::failure("no program that '{}' selects has a TCP socket; {}", word, next);
  const auto addresses = addresses_of(host.host, user);
  if (!addresses.empty()) return at_host(rows, host, addresses, next);
  return base::failure(
      "no program that '{}' selects has a TCP socket, and there is no host of that name", word);
}

std::string see_next(const Invocation& invocation) {
  return "to see who connects next: " + with_sudo(invocation) + " --follow";
}

}  // namespace

Result<int> who_command(const Invocation& invocation) {
  const auto settings = settings_of(invocation);
  if (!settings) return settings.error();
  const auto user = divert::invoking_user();
  if (!user) return user.error();
  const std::string word = invocation.positional.empty() ? "" : invocation.positional.front();
  if (const auto good = check_url(word); !good) return good.error();
  if (settings->follow) {
    if (const auto root = need_root(invocation, "to see connections as they begin"); !root)
      return root.error();
    return follow_connections(word, settings->format, *user);
  }
  auto attributor = procmap::Attributor::open();
  if (!attributor) return attributor.error();
  auto rows = procmap::socket_table(*attributor);
  if (!rows) return rows.error();
  if (!word.empty()) {
    auto found = chosen(*rows, word, *user, see_next(invocation));
    if (!found) return found.error();
    rows = std::move(*found);
  }
  procmap::sort_rows(*rows);
  const bool jsonl = settings->format == Format::jsonl;
  fmt::print("{}", jsonl ? procmap::render_who_jsonl(*rows) : procmap::render_who_text(*rows));
  if (::geteuid() != 0 && std::ranges::any_of(*rows, is_anothers)) {
    log_line("owners of other users' sockets are seen by root only; try: " + with_sudo(invocation));
  } else if (!word.empty() && std::ranges::none_of(*rows, [](const SocketRow& row) {
               return row.owner.process != nullptr;
             })) {
    log_line(see_next(invocation));
  }
  return 0;
}

}  // namespace mitm::cli
