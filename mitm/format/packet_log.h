// Decrypted streams as a pcapng file: each connection is a TCP conversation in raw IP packets, and
// every packet names its process.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <vector>

#include "base/lru_cache.h"
#include "mitm/flow/event.h"
#include "mitm/format/synthetic_tcp_stream.h"

namespace mitm::format {

/// What is appended to `out` is whole: a file may end behind each call.
///
/// Wireshark looks for HTTP/2 on ports of HTTP only. A connection that begins as HTTP/2 on another
/// one is written with port 80 for its server, and its first packet has the true one in a comment.
///
/// What an HTTP proxy's tunnel carries, behind CONNECT and its answer, is a conversation of its
/// own.
class PacketLog {
 public:
  PacketLog();
  PacketLog(const PacketLog&) = delete;
  PacketLog& operator=(const PacketLog&) = delete;

  /// What stands in front of the first packet.
  void begin(std::string& out);
  /// The packets of `data`. Those of a connection that may be HTTP/2 come when that is known. The
  /// last `missing` bytes are a filling of less than a segment in place of what was not recorded:
  /// it is left out.
  void add(const std::shared_ptr<const flow::Data>& data, std::size_t missing, std::string& out);
  void add(const std::shared_ptr<const flow::Data>& data, std::string& out) { add(data, 0, out); }
  /// The first packet only of a connection that was not recorded; `why` stands in its comment.
  void add_unrecorded(const flow::Data& facts, std::string_view why, std::string& out);
  /// One datagram to a name server or from it, on the port of DNS whatever its own is.
  void add_dns_message(const flow::Data& message, std::string& out);
  /// The names of the addresses in an answer that were not written before, or were another's.
  void add_names(const flow::DnsFlow& answer, std::string& out);
  void add_names(const std::vector<base::Address>& addresses, std::string_view name,
                 std::string& out);

 private:
  using Data = std::shared_ptr<const flow::Data>;

  /// What was said before it is known whether it is HTTP/2.
  struct Held {
    explicit Held(std::size_t& connections) : held(connections) { ++held; }
    Held(const Held&) = delete;
    Held& operator=(const Held&) = delete;
    ~Held() { --held; }

    std::size_t& held;
    std::size_t bytes = 0;
    std::vector<Data> data;
  };
  enum class Protocol : std::uint8_t { unknown, http2, other };
  struct Stream {
    explicit Stream(std::uint64_t conn) : conversation(conn) {}

    Conversation conversation;
    Protocol protocol = Protocol::unknown;
    std::unique_ptr<Held> held;
    bool asked_for_tunnel = false;            ///< the last that the client said was CONNECT
    bool in_tunnel = false;                   ///< what comes now is what the tunnel carries
    std::uint64_t behind[2] = {0, 0};         ///< where the next bytes of each side would stand
    std::uint64_t tunnel_begins[2] = {0, 0};  ///< likewise, of the tunnel
  };

  static Protocol protocol_of(const std::vector<Data>& beginning);
  Stream& stream_of(std::uint64_t conn);
  void look_for_tunnel(Stream& stream, const flow::Data& data);
  void add_to(Stream& stream, const Data& data, std::size_t missing, std::string& out);
  void hold(Stream& stream, const Data& data, std::string& out);
  void write_held(Stream& stream, std::string& out);
  void write(Stream& stream, const flow::Data& data, std::size_t missing, std::string& out);
  void write_packet(const flow::Data& data, std::string_view comment, std::size_t missing,
                    std::string& out);
  std::uint32_t interface_of(const procmap::ProcessFacts* process, std::string& out);

  std::size_t held_ = 0;                           ///< connections
  base::LruCache<std::uint64_t, Stream> streams_;  ///< by conn
  /// By pid, start and image of the process.
  std::map<std::tuple<pid_t, std::uint64_t, std::uint64_t>, std::uint32_t> interfaces_;
  base::LruCache<std::string, std::string> names_;  ///< by the address's text
  std::uint32_t next_interface_ = 0;
  std::vector<Segment> segments_;
  std::string packet_;
};

}  // namespace mitm::format
