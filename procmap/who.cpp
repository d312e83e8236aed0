// The socket table as text and as JSON lines.
#include "procmap/who.h"

#include <algorithm>
#include <array>
#include <charconv>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/text.h"

namespace procmap {
namespace {

constexpr std::array<std::string_view, 6> kHeading{"LOCAL", "REMOTE", "STATE",
                                                   "PID",   "USER",   "PROCESS"};
using Cells = std::array<std::string, kHeading.size()>;

std::string remote_text(const SocketRow& row) {
  return row.remote.port() == 0 ? "*" : base::to_string(row.remote);
}

Cells cells_of(const SocketRow& row) {
  // The kernel keeps these for some time after their process has closed them.
  const bool is_left = row.state == "TIME-WAIT";
  Cells cells{base::to_string(row.local), remote_text(row), row.state, "-", "-",
              is_left ? "-" : "unknown"};
  if (const auto& process = row.owner.process) {
    cells[3] = std::to_string(process->id.pid);
    cells[4] = base::printable(process->user);
    cells[5] = base::printable(process->exe.empty() ? process->name : process->exe);
  }
  return cells;
}

nlohmann::ordered_json process_json(const ProcessFacts* process) {
  if (!process) return nullptr;
  auto argv = nlohmann::ordered_json::array();
  for (const auto& argument : process->argv) argv.push_back(base::valid_utf8(argument));
  return {{"pid", process->id.pid},
          {"ppid", process->ppid},
          {"name", base::valid_utf8(process->name)},
          {"exe", base::valid_utf8(process->exe)},
          {"argv", std::move(argv)},
          {"user", base::valid_utf8(process->user)},
          {"start_time", base::rfc3339(process->start_time)}};
}

}  // namespace

bool SocketEnd::matches(const SocketRow& row) const {
  const auto is_this = [&](const base::Endpoint& end) {
    return (port == 0 || end.port() == port) &&
           (!address || base::unmapped(end.address()) == *address);
  };
  return is_this(row.local) || is_this(row.remote);
}

base::Result<SocketEnd> parse_socket_end(std::string_view text) {
  SocketEnd end;
  const auto digits = text.substr(text.starts_with(':') ? 1 : 0);
  const auto [stop, error] =
      std::from_chars(digits.data(), digits.data() + digits.size(), end.port);
  if (error == std::errc{} && stop == digits.data() + digits.size() && end.port != 0) return end;
  const bool bracketed = text.starts_with('[') && text.ends_with(']');
  boost::system::error_code ec;
  const auto address = boost::asio::ip::make_address(
      std::string(bracketed ? text.substr(1, text.size() - 2) : text), ec);
  if (!ec && (address.is_v6() || !bracketed)) return SocketEnd{base::unmapped(address), 0};
  if (const auto endpoint = base::parse_endpoint(text); endpoint && endpoint->port() != 0) {
    return SocketEnd{base::unmapped(endpoint->address()), endpoint->port()};
  }
  return base::failure("'{}' is neither a port nor an address", text);
}

void sort_rows(std::vector<SocketRow>& rows) {
  std::ranges::stable_partition(rows,
                                [](const SocketRow& row) { return row.owner.process != nullptr; });
}

std::string render_who_text(const std::vector<SocketRow>& rows) {
  std::vector<Cells> lines;
  Cells heading;
  std::ranges::copy(kHeading, heading.begin());
  lines.push_back(heading);
  for (const auto& row : rows) lines.push_back(cells_of(row));
  std::array<std::size_t, kHeading.size()> widths{};
  for (const auto& line : lines) {
    for (std::size_t i = 0; i < line.size(); ++i) widths[i] = std::max(widths[i], line[i].size());
  }
  std::string out;
  for (const auto& line : lines) {
    for (std::size_t i = 0; i + 1 < line.size(); ++i)
      out += fmt::format("{:<{}}  ", line[i], widths[i]);
    out += line.back() + "\n";
  }
  return out;
}

std::string render_who_jsonl(const std::vector<SocketRow>& rows) {
  std::string out;
  for (const auto& row : rows) {
    const nlohmann::ordered_json object{
        {"local", base::to_string(row.local)},
        {"remote", row.remote.port() == 0 ? nlohmann::ordered_json(nullptr)
                                          : nlohmann::ordered_json(base::to_string(row.remote))},
        {"state", row.state},
        {"process", process_json(row.owner.process.get())}};
    out += object.dump(-1, ' ', true) + "\n";
  }
  return out;
}

}  // namespace procmap
