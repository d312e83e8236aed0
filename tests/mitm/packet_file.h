// Reads what the writers of packets write: with libpcap, and block by block.
#pragma once

#include <cstring>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include <fmt/ranges.h>
#include <pcap/pcap.h>
#include <unistd.h>

#include "mitm/format/sinks.h"
#include "mitm/format/synthetic_tcp_stream.h"
#include "tests/mitm/sample_flows.h"
#include "tests/test.h"

namespace mitm::format {

inline constexpr const char* kClient = "10.0.0.1:41000";
inline constexpr const char* kServer = "93.184.216.34:443";

inline std::uint32_t number(std::string_view bytes, std::size_t at, std::size_t size) {
  std::uint32_t value = 0;
  for (const char c : bytes.substr(at, size)) value = value << 8U | static_cast<unsigned char>(c);
  return value;
}

/// RFC 1071, word by word, written apart from the code under test. 0 for data with a right checksum
/// in it.
inline std::uint16_t checksum(std::string_view bytes) {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < bytes.size(); i += 2)
    sum += i + 1 < bytes.size() ? number(bytes, i, 2) : number(bytes, i, 1) << 8U;
  while (sum > 0xffff) sum = (sum & 0xffffU) + (sum >> 16U);
  return static_cast<std::uint16_t>(~sum);
}

inline std::string be16(std::size_t value) {
  return {static_cast<char>(value >> 8U), static_cast<char>(value)};
}

struct Packet {
  timeval time = {};
  std::string source;  ///< "address:port"
  std::uint32_t seq = 0;
  std::uint32_t ack = 0;
  unsigned flags = 0;
  std::string payload;
};

/// Checks lengths and checksums on the way.
inline Packet parsed(std::string_view ip) {
  const bool v4 = number(ip, 0, 1) == 0x45;
  REQUIRE((v4 || number(ip, 0, 1) == 0x60));
  const std::size_t address = v4 ? 4 : 16;
  const std::size_t source = v4 ? 12 : 8;
  const std::size_t header = v4 ? 20 : 40;
  const std::string_view tcp = ip.substr(header);
  CHECK(number(ip, v4 ? 2 : 4, 2) == (v4 ? ip.size() : tcp.size()));
  CHECK(number(ip, v4 ? 9 : 6, 1) == 6);
  if (v4) CHECK(checksum(ip.substr(0, 20)) == 0);
  std::string covered(ip.substr(source, 2 * address));
  covered.append(be16(6)).append(be16(tcp.size())).append(tcp);
  CHECK(checksum(covered) == 0);

  Packet packet;
  if (v4) {
    packet.source =
        base::to_string(base::Endpoint(boost::asio::ip::address_v4(number(ip, source, 4)),
                                       static_cast<std::uint16_t>(number(tcp, 0, 2))));
  } else {
    boost::asio::ip::address_v6::bytes_type bytes;
    std::copy_n(ip.begin() + source, bytes.size(), bytes.begin());
    packet.source = base::to_string(base::Endpoint(boost::asio::ip::address_v6(bytes),
                                                   static_cast<std::uint16_t>(number(tcp, 0, 2))));
  }
  packet.seq = number(tcp, 4, 4);
  packet.ack = number(tcp, 8, 4);
  packet.flags = number(tcp, 13, 1);
  packet.payload = tcp.substr(number(tcp, 12, 1) / 16 * 4);
  return packet;
}

inline std::vector<Packet> read_back(const std::string& path) {
  char message[PCAP_ERRBUF_SIZE] = "";
  const std::unique_ptr<pcap_t, void (*)(pcap_t*)> file(pcap_open_offline(path.c_str(), message),
                                                        pcap_close);
  REQUIRE_MESSAGE(file, message);
  CHECK(pcap_datalink(file.get()) == DLT_RAW);
  std::vector<Packet> packets;
  pcap_pkthdr* header = nullptr;
  const u_char* bytes = nullptr;
  int status = 0;
  while ((status = pcap_next_ex(file.get(), &header, &bytes)) == 1) {
    CHECK(header->caplen == header->len);
    packets.push_back(parsed({reinterpret_cast<const char*>(bytes), header->caplen}));
    packets.back().time = header->ts;
  }
  CHECK(status == PCAP_ERROR_BREAK);
  return packets;
}

struct Interface {
  std::string name;
  std::string description;
};

struct Framing {
  std::uint32_t interface = 0;
  std::uint64_t nanoseconds = 0;
  std::uint32_t captured = 0;
  std::uint32_t length = 0;
  std::string bytes;
  std::string comment;
  std::uint32_t pid = 0;
};

struct Blocks {
  std::vector<Interface> interfaces;
  std::vector<Framing> packets;
  std::vector<std::string> processes;  ///< bodies of custom blocks
  std::vector<std::string> names;      ///< bodies of name resolution blocks
};

/// In this machine's byte order.
template <class Number>
Number native(std::string_view bytes, std::size_t at) {
  Number value;
  REQUIRE(at + sizeof value <= bytes.size());
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

/// By code, up to the end of options.
inline std::map<unsigned, std::string> options_of(std::string_view bytes) {
  std::map<unsigned, std::string> options;
  while (!bytes.empty()) {
    const unsigned code = native<std::uint16_t>(bytes, 0);
    const std::size_t size = native<std::uint16_t>(bytes, 2);
    if (code == 0) {
      CHECK(bytes.size() == 4);
      break;
    }
    options[code] = bytes.substr(4, size);
    bytes.remove_prefix(4 + (size + 3) / 4 * 4);
  }
  return options;
}

inline Framing framing_of(std::string_view body) {
  Framing framing;
  framing.interface = native<std::uint32_t>(body, 0);
  framing.nanoseconds =
      std::uint64_t{native<std::uint32_t>(body, 4)} << 32U | native<std::uint32_t>(body, 8);
  framing.captured = native<std::uint32_t>(body, 12);
  framing.length = native<std::uint32_t>(body, 16);
  framing.bytes = body.substr(20, framing.captured);
  auto options = options_of(body.substr(20 + (framing.captured + 3) / 4 * 4));
  framing.comment = options[1];
  if (options.contains(8)) {
    CHECK(options[8].size() == 8);
    framing.pid = native<std::uint32_t>(options[8], 0);
    CHECK(native<std::uint32_t>(options[8], 4) == 0);
  }
  return framing;
}

/// What libpcap does not tell.
inline Blocks blocks_of(std::string_view file) {
  Blocks blocks;
  for (bool first = true; !file.empty(); first = false) {
    const auto type = native<std::uint32_t>(file, 0);
    const auto length = native<std::uint32_t>(file, 4);
    REQUIRE(length % 4 == 0);
    REQUIRE(length <= file.size());
    CHECK(native<std::uint32_t>(file, length - 4) == length);
    CHECK(first == (type == 0x0a0d0d0a));
    const std::string_view body = file.substr(8, length - 12);
    if (type == 1) {
      auto options = options_of(body.substr(8));
      blocks.interfaces.push_back({options[2], options[3]});
      CHECK(options[9] == "\x09");  // nanoseconds
    } else if (type == 6) {
      blocks.packets.push_back(framing_of(body));
      CHECK(blocks.packets.back().interface < blocks.interfaces.size());
    } else if (type == 0xbad) {
      blocks.processes.emplace_back(body);
    } else if (type == 4) {
      blocks.names.emplace_back(body);
    }
    file.remove_prefix(length);
  }
  return blocks;
}

/// A pcapng file made of events.
class Capture {
 public:
  Capture() {
    base::UniqueFd fd{::mkstemp(path_)};
    REQUIRE(fd);
    sink_ = std::move(make_pcap_sink(std::move(fd), "test").value());
  }
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;
  ~Capture() { std::filesystem::remove(path_); }

  void write(const flow::Data& data) {
    REQUIRE(sink_->write(flow::TcpData{std::make_shared<const flow::Data>(data)}));
  }
  void write(const flow::DnsFlow& dns) {
    REQUIRE(sink_->write(flow::DnsEnd{std::make_shared<const flow::DnsFlow>(dns)}));
  }
  std::vector<Packet> packets() {
    REQUIRE(sink_->flush());
    return read_back(path_);
  }
  Blocks blocks() {
    REQUIRE(sink_->flush());
    return blocks_of(base::read_file(path_).value());
  }
  [[nodiscard]] const char* path() const { return path_; }

 private:
  char path_[32] = "/tmp/osproxy-pcap-XXXXXX";
  std::unique_ptr<flow::Subscriber> sink_;
};

inline flow::Data event(flow::Direction direction, std::uint64_t offset, std::string bytes,
                        std::uint64_t conn = 1, const char* client = kClient,
                        const char* server = kServer) {
  flow::Data data;
  data.conn = conn;
  data.client = base::parse_endpoint(client).value();
  data.server = base::parse_endpoint(server).value();
  data.direction = direction;
  data.time = sample_time();
  data.bytes = std::move(bytes);
  data.offset = offset;
  return data;
}

inline std::string random_bytes(std::size_t size, unsigned seed) {
  std::mt19937 random(seed);
  std::string bytes(size, '\0');
  for (char& c : bytes) c = static_cast<char>(random());
  return bytes;
}

/// Pieces of one side's stream by offset, from packets whose SYN comes first.
inline std::map<std::uint32_t, std::string> stream_of(const std::vector<Packet>& packets,
                                                      const std::string& source) {
  std::map<std::uint32_t, std::string> pieces;
  std::optional<std::uint32_t> first;
  for (const Packet& packet : packets) {
    if (packet.source != source) continue;
    if ((packet.flags & kSyn) != 0) first = packet.seq + 1;
    REQUIRE(first);
    if (!packet.payload.empty()) pieces.emplace(packet.seq - *first, packet.payload);
  }
  return pieces;
}

/// What `command` prints, errors too.
inline std::string output_of(const std::string& command) {
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> pipe(
      ::popen((command + " 2>&1").c_str(), "r"), ::pclose);
  REQUIRE(pipe);
  std::string output;
  char block[4096];
  while (const std::size_t n = std::fread(block, 1, sizeof block, pipe.get()))
    output.append(block, n);
  return output;
}

/// What tshark says without any hint: a line of `fields` for each packet that the display filter
/// `show` selects. `more`: other options.
inline std::string shown_by_tshark(const std::string& path, std::string_view show,
                                   std::initializer_list<const char*> fields,
                                   std::string_view more = "-n") {
  const std::string output = output_of(fmt::format("tshark -r {} -Y '{}' -T fields {} -e {}", path,
                                                   show, more, fmt::join(fields, " -e ")));
  std::string lines;
  for (std::string_view rest = output; !rest.empty();) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    if (!line.starts_with("Running as user")) lines.append(line).push_back('\n');
  }
  return lines;
}

}  // namespace mitm::format
