#include "mitm/format/packet_log.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/ip_packet.h"
#include "base/text.h"
#include "mitm/format/pcapng.h"
#include "mitm/http/http2.h"

namespace mitm::format {
namespace {

using flow::Direction;
using http::kClientPreface;

/// Beyond this, the conversation that was silent longest is forgotten: an end that was lost (a full
/// queue) must not hold memory for ever. Should it speak again, it begins with a new handshake.
constexpr std::size_t kMaxConversations = 65536;
/// Beyond this, all are forgotten, and described again when they come again.
constexpr std::size_t kMaxProcesses = 65536;
/// Addresses of which it is remembered that they were named.
constexpr std::size_t kMaxNames = 8192;
/// Of a command line.
constexpr std::size_t kMaxDescription = 1024;
/// What is held until it is known whether a connection is HTTP/2.
constexpr std::size_t kMaxHeldConnections = 1024, kMaxHeldBytes = 16384;

/// Added to the number of a connection for that of what its tunnel carries.
constexpr std::uint64_t kTunnelNumbers = std::uint64_t{1} << 31U;

/// The ports on which Wireshark looks for HTTP by itself, and thereby for HTTP/2.
constexpr std::array<std::uint16_t, 10> kHttpPorts{80,   1900, 2710, 2869, 3128,
                                                   3132, 5985, 8080, 8088, 11371};
constexpr std::uint16_t kHttpPort = 80, kDnsPort = 53;

bool is_shown_elsewhere(std::uint16_t port) {
  return std::ranges::find(kHttpPorts, port) == kHttpPorts.end();
}

std::string name_of(const procmap::ProcessFacts& process) {
  return fmt::format("{}[{}]", base::printable(process.name), process.id.pid);
}

std::string description_of(const procmap::ProcessFacts& process) {
  std::string command = fmt::format("{}", fmt::join(process.argv, " "));
  if (command.empty()) command = process.exe;
  return base::printable(std::string_view(command).substr(0, kMaxDescription));
}

base::Endpoint on_port(const base::Endpoint& endpoint, std::uint16_t port) {
  return {endpoint.address(), port};
}

/// On the first packet of a conversation: the process, and the server's port where another one is
/// written.
std::string comment_on(const flow::Data& data, std::uint16_t port) {
  std::string comment;
  if (data.process) {
    comment = name_of(*data.process);
    if (!data.process->user.empty()) comment += ", user " + base::printable(data.process->user);
    comment += ": " + description_of(*data.process);
  }
  if (port != data.server.port()) {
    if (!comment.empty()) comment += "; ";
    comment += fmt::format("server port {} ({} here, where Wireshark looks for {})",
                           data.server.port(), port, port == kDnsPort ? "DNS" : "HTTP/2");
  }
  return comment;
}

/// Whether a server may have begun HTTP/2 with these bytes: a SETTINGS frame (RFC 9113, 6.5).
bool may_be_settings(std::string_view bytes) {
  constexpr std::size_t kHeader = 9, kSetting = 6;
  if (bytes.size() < kHeader) return false;
  const auto byte = [bytes](std::size_t at) { return static_cast<unsigned char>(bytes[at]); };
  const std::size_t length = byte(0) << 16U | byte(1) << 8U | byte(2);
  return bytes.substr(3, 6) == std::string_view("\x04\0\0\0\0\0", 6) && length % kSetting == 0;
}

/// The first bytes of the client in one piece, then those of the server.
std::vector<flow::Data> in_order(const std::vector<std::shared_ptr<const flow::Data>>& held) {
  std::vector<flow::Data> ordered;
  for (const auto& data : held) {
    if (data->direction == Direction::response) continue;
    if (ordered.empty()) {
      ordered.push_back(*data);
    } else {
      ordered.front().bytes += data->bytes;
      ordered.front().time = data->time;
    }
  }
  for (const auto& data : held) {
    if (data->direction == Direction::request) continue;
    ordered.push_back(*data);
    ordered.back().time = std::max(data->time, ordered.front().time);
  }
  return ordered;
}

}  // namespace

PacketLog::PacketLog() : streams_(kMaxConversations), names_(kMaxNames) {}

/// Readers want an interface in front of the first packet, and in a file without any.
void PacketLog::begin(std::string& out) {
  pcapng::append_section(out);
  pcapng::append_interface("unknown", "connections whose process was not found", out);
  next_interface_ = 1;
}

PacketLog::Stream& PacketLog::stream_of(std::uint64_t conn) {
  Stream* const known = streams_.find(conn);
  return known != nullptr ? *known : streams_.put(conn, Stream(conn));
}

void PacketLog::add(const Data& data, std::size_t missing, std::string& out) {
  Stream& stream = stream_of(data->conn);
  if (stream.in_tunnel) {
    auto inside = std::make_shared<flow::Data>(*data);
    inside->offset -= stream.tunnel_begins[static_cast<int>(data->direction)];
    add_to(stream, inside, missing, out);
  } else {
    add_to(stream, data, missing, out);
    look_for_tunnel(stream, *data);
  }
  if (stream.conversation.ended()) streams_.erase(data->conn);
}

/// A client waits for the answer to CONNECT before it says more: both are data of their own.
void PacketLog::look_for_tunnel(Stream& stream, const flow::Data& data) {
  stream.behind[static_cast<int>(data.direction)] = data.offset + data.bytes.size();
  if (data.direction == Direction::request) {
    stream.asked_for_tunnel = data.bytes.starts_with("CONNECT ");
    return;
  }
  constexpr std::size_t kStatus = 9;  // behind "HTTP/1.1 "
  const bool opened = stream.asked_for_tunnel && data.bytes.starts_with("HTTP/1.") &&
                      data.bytes.find('2', kStatus) == kStatus && data.bytes.ends_with("\r\n\r\n");
  if (!opened) return;
  // Any numbers that are not those of the tunnel's connection do.
  stream.conversation = Conversation(data.conn + kTunnelNumbers);
  stream.protocol = Protocol::unknown;
  stream.in_tunnel = true;
  std::copy_n(stream.behind, 2, stream.tunnel_begins);
}

void PacketLog::add_to(Stream& stream, const Data& data, std::size_t missing, std::string& out) {
  if (stream.protocol == Protocol::unknown && missing > 0) {
    stream.protocol = Protocol::other;
    write_held(stream, out);
  }
  if (stream.protocol == Protocol::unknown) {
    hold(stream, data, out);
  } else {
    write(stream, *data, missing, out);
  }
}

void PacketLog::hold(Stream& stream, const Data& data, std::string& out) {
  if (!stream.held) stream.held = std::make_unique<Held>(held_);
  Held& held = *stream.held;
  held.data.push_back(data);
  held.bytes += data->bytes.size();
  stream.protocol = protocol_of(held.data);
  if (stream.protocol == Protocol::unknown) {
    if (held.bytes <= kMaxHeldBytes && held_ <= kMaxHeldConnections) return;
    stream.protocol = Protocol::other;
  }
  write_held(stream, out);
}

/// Wireshark wants the client's preface in one segment, and before the server's first frame.
PacketLog::Protocol PacketLog::protocol_of(const std::vector<Data>& beginning) {
  std::string request;
  for (const Data& data : beginning) {
    const bool first = data == beginning.front();
    if (data->bytes.empty() || (first && data->offset != 0)) return Protocol::other;
    if (data->direction == Direction::request)
      request += std::string_view(data->bytes).substr(0, kClientPreface.size());
    else if (first && (data->offset != 0 || !may_be_settings(data->bytes)))
      return Protocol::other;
  }
  const std::size_t size = std::min(request.size(), kClientPreface.size());
  if (std::string_view(request).substr(0, size) != kClientPreface.substr(0, size))
    return Protocol::other;
  return size == kClientPreface.size() ? Protocol::http2 : Protocol::unknown;
}

void PacketLog::write_held(Stream& stream, std::string& out) {
  const auto held = std::move(stream.held);
  if (!held) return;
  if (stream.protocol == Protocol::http2) {
    for (const flow::Data& data : in_order(held->data)) write(stream, data, 0, out);
  } else {
    for (const Data& data : held->data) write(stream, *data, 0, out);
  }
}

void PacketLog::write(Stream& stream, const flow::Data& data, std::size_t missing,
                      std::string& out) {
  segments_.clear();
  stream.conversation.add(data, segments_);
  const bool elsewhere =
      stream.protocol == Protocol::http2 && is_shown_elsewhere(data.server.port());
  const base::Endpoint server = on_port(data.server, elsewhere ? kHttpPort : data.server.port());
  for (const Segment& segment : segments_) {
    render_packet(segment, data.client, server, packet_);
    const bool last =
        segment.payload.data() + segment.payload.size() == data.bytes.data() + data.bytes.size();
    write_packet(data, segment.flags == kSyn ? comment_on(data, server.port()) : std::string(),
                 last ? std::min(missing, segment.payload.size()) : 0, out);
  }
}

void PacketLog::write_packet(const flow::Data& data, std::string_view comment, std::size_t missing,
                             std::string& out) {
  const std::uint32_t interface = interface_of(data.process.get(), out);
  pcapng::append_packet({.interface = interface,
                         .time = data.time,
                         .bytes = std::string_view(packet_).substr(0, packet_.size() - missing),
                         .missing = missing,
                         .pid = data.process ? static_cast<std::uint32_t>(data.process->id.pid) : 0,
                         .comment = comment},
                        out);
}

void PacketLog::add_unrecorded(const flow::Data& facts, std::string_view why, std::string& out) {
  segments_.clear();
  Conversation(facts.conn).add(facts, segments_);
  render_packet(segments_.front(), facts.client, facts.server, packet_);
  std::string comment = comment_on(facts, facts.server.port());
  if (!comment.empty()) comment += "; ";
  write_packet(facts, comment + base::printable(why), 0, out);
}

void PacketLog::add_dns_message(const flow::Data& message, std::string& out) {
  const bool question = message.direction == Direction::request;
  const base::Endpoint server = on_port(message.server, kDnsPort);
  packet_.clear();
  base::append_udp_packet(packet_, question ? message.client : server,
                          question ? server : message.client, message.bytes);
  write_packet(message, question ? comment_on(message, kDnsPort) : std::string(), 0, out);
}

std::uint32_t PacketLog::interface_of(const procmap::ProcessFacts* process, std::string& out) {
  if (process == nullptr) return 0;
  const std::tuple key{process->id.pid, process->id.start_ticks, process->image};
  if (const auto found = interfaces_.find(key); found != interfaces_.end()) return found->second;
  if (interfaces_.size() >= kMaxProcesses) interfaces_.clear();
  pcapng::append_interface(name_of(*process), description_of(*process), out);
  pcapng::append_process(*process, out);
  return interfaces_.emplace(key, next_interface_++).first->second;
}

void PacketLog::add_names(const flow::DnsFlow& answer, std::string& out) {
  std::vector<base::Address> addresses;
  for (const auto& record : answer.answers) {
    if (record.type != "A" && record.type != "AAAA") continue;
    boost::system::error_code error;
    const auto address = boost::asio::ip::make_address(record.data, error);
    if (!error) addresses.push_back(address);
  }
  add_names(addresses, answer.name, out);
}

void PacketLog::add_names(const std::vector<base::Address>& addresses, std::string_view name,
                          std::string& out) {
  constexpr std::size_t kMaxName = 255;
  if (name.ends_with('.')) name.remove_suffix(1);
  if (name.empty() || name.size() > kMaxName) return;
  const std::string shown = base::printable(name);
  std::vector<base::Address> fresh;
  for (const base::Address& address : addresses) {
    const std::string text = address.to_string();
    const std::string* const known = names_.find(text);
    if (known != nullptr && *known == shown) continue;
    names_.put(text, shown);
    fresh.push_back(address);
  }
  if (!fresh.empty()) pcapng::append_names(fresh, shown, out);
}

}  // namespace mitm::format
