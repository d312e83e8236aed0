// The socket table as text and as JSON lines.
#include "procmap/who.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <map>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "procmap/program_names.h"

namespace procmap {
namespace {

constexpr std::array<std::string_view, 6> kHeading{"LOCAL", "REMOTE", "STATE",
                                                   "PID",   "USER",   "PROCESS"};
using Cells = std::array<std::string, kHeading.size()>;

std::string remote_text(const SocketRow& row) {
  return row.remote.port() == 0 ? "*" : base::to_string(row.remote);
}

Cells cells_of(const SocketRow& row) {
  const ProcessFacts& process = *row.owner.process;
  return {base::to_string(row.local),
          remote_text(row),
          row.state,
          std::to_string(process.id.pid),
          base::printable(process.user),
          program_text(process)};
}

/// "3 more have no process that can be seen: 2 in TIME-WAIT, 1 in LISTEN (-f jsonl lists them)"
std::string without_process(const std::vector<SocketRow>& rows, bool more) {
  std::map<std::string_view, std::size_t> states;
  std::size_t count = 0;
  for (const auto& row : rows) {
    if (row.owner.process) continue;
    ++states[row.state];
    ++count;
  }
  if (count == 0) return {};
  std::vector<std::string> parts;
  for (const auto& [state, number] : states)
    parts.push_back(fmt::format("{} in {}", number, state));
  return fmt::format("{}{} {} no process that can be seen: {} (-f jsonl lists {})\n", count,
                     more         ? " more"
                     : count == 1 ? " socket"
                                  : " sockets",
                     count == 1 ? "has" : "have", fmt::join(parts, ", "),
                     count == 1 ? "it" : "them");
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

std::string program_text(const ProcessFacts& process) {
  const auto& name = process.exe.empty() ? process.name : process.exe;
  const auto script = script_name(name, process.other_names);
  return base::printable(script.empty() ? name : fmt::format("{} {}", name, script));
}

void sort_rows(std::vector<SocketRow>& rows) {
  std::ranges::stable_partition(rows,
                                [](const SocketRow& row) { return row.owner.process != nullptr; });
}

std::string render_who_text(const std::vector<SocketRow>& rows) {
  std::vector<Cells> lines;
  for (const auto& row : rows) {
    if (row.owner.process) lines.push_back(cells_of(row));
  }
  const std::string rest = without_process(rows, !lines.empty());
  if (lines.empty() && !rest.empty()) return rest;
  Cells heading;
  std::ranges::copy(kHeading, heading.begin());
  lines.insert(lines.begin(), heading);
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
  return out + rest;
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
