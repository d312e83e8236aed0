// One field a line, its letter first: p (process) holds until the next p, f (descriptor) and P
// (protocol) until the next f; n (name) ends what is said of a descriptor.
#include "procmap/lsof.h"

#include <charconv>
#include <optional>

namespace procmap {
namespace {

template <class Number>
std::optional<Number> number(std::string_view text) {
  Number value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
  return value;
}

/// "*:443", "*:*", "192.0.2.1:443", "[::1]:443".
std::optional<base::Endpoint> endpoint(std::string_view text) {
  if (!text.starts_with("*:")) {
    const auto parsed = base::parse_endpoint(text);
    if (!parsed) return std::nullopt;
    return base::Endpoint{without_scope(parsed->address()), parsed->port()};
  }
  text.remove_prefix(2);
  const auto port = text == "*" ? std::uint16_t{0} : number<std::uint16_t>(text);
  if (!port) return std::nullopt;
  return base::Endpoint{base::Address{}, *port};
}

bool read_name(std::string_view name, BsdSocket& socket) {
  const auto arrow = name.find("->");
  const auto local = endpoint(name.substr(0, arrow));
  const auto remote =
      arrow == std::string_view::npos ? base::Endpoint{} : endpoint(name.substr(arrow + 2));
  if (!local || !remote) return false;
  socket.local = *local;
  socket.remote = *remote;
  return true;
}

}  // namespace

std::vector<LsofSocket> parse_lsof(std::string_view text) {
  std::vector<LsofSocket> sockets;
  LsofSocket current;
  bool internet = false;
  for (auto end = text.find('\n'); end != std::string_view::npos; end = text.find('\n')) {
    const auto line = text.substr(0, end);
    text.remove_prefix(end + 1);
    if (line.empty()) continue;
    const auto value = line.substr(1);
    switch (line[0]) {
      case 'p':
        current.socket.last_pid = number<pid_t>(value).value_or(0);
        internet = false;
        break;
      case 'f':
        current.descriptor = number<int>(value).value_or(-1);
        internet = false;
        break;
      case 'P':
        internet = value == "TCP" || value == "UDP";
        current.transport = value == "UDP" ? Transport::udp : Transport::tcp;
        break;
      case 'n':
        if (internet && current.socket.last_pid > 0 && current.descriptor >= 0 &&
            read_name(value, current.socket))
          sockets.push_back(current);
        break;
      default:
        break;
    }
  }
  return sockets;
}

const LsofSocket* find_lsof(const std::vector<LsofSocket>& sockets, const base::Endpoint& source,
                            const base::Endpoint& destination, Transport transport) {
  std::vector<BsdSocket> candidates;
  for (std::size_t i = 0; i < sockets.size(); ++i) {
    if (sockets[i].transport != transport) continue;
    candidates.push_back(sockets[i].socket);
    candidates.back().name = i;
  }
  const auto* found = find_socket(candidates, source, destination, transport);
  return found ? &sockets[found->name] : nullptr;
}

}  // namespace procmap
