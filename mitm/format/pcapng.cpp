// Every block is its type, its length, what it says in words of four bytes, and its length again.
#include "mitm/format/pcapng.h"

#include <cstring>

namespace mitm::format::pcapng {
namespace {

constexpr std::uint32_t kSection = 0x0a0d0d0a, kInterface = 1, kPacket = 6;
constexpr std::uint32_t kByteOrder = 0x1a2b3c4d;
/// DLT_RAW of Linux, macOS and FreeBSD. Not LINKTYPE_RAW (101): of that libpcap 1.10 reads one
/// interface only.
constexpr std::uint16_t kRawIp = 12;
constexpr std::uint16_t kEndOfOptions = 0, kComment = 1, kName = 2, kDescription = 3,
                        kApplication = 4;

template <class Number>
void put(std::string& out, Number value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void put_padded(std::string& out, std::string_view bytes) {
  out.append(bytes);
  out.append((4 - bytes.size() % 4) % 4, '\0');
}

void put_option(std::string& out, std::uint16_t code, std::string_view text) {
  if (text.empty()) return;
  text = text.substr(0, 0xffff);
  put(out, code);
  put(out, static_cast<std::uint16_t>(text.size()));
  put_padded(out, text);
}

void end_options(std::string& out) {
  put(out, kEndOfOptions);
  put(out, std::uint16_t{0});
}

template <class Body>
void append_block(std::uint32_t type, std::string& out, Body body) {
  const std::size_t start = out.size();
  put(out, type);
  put(out, std::uint32_t{0});
  body();
  const auto length = static_cast<std::uint32_t>(out.size() - start + sizeof(std::uint32_t));
  put(out, length);
  std::memcpy(out.data() + start + sizeof type, &length, sizeof length);
}

}  // namespace

void append_section(std::string& out) {
  append_block(kSection, out, [&] {
    put(out, kByteOrder);
    put(out, std::uint16_t{1});  // version 1.0
    put(out, std::uint16_t{0});
    put(out, std::int64_t{-1});
    put_option(out, kComment, "Decrypted. Wireshark shows HTTP/2 with: -d tcp.port==443,http");
    put_option(out, kApplication, "osproxy");
    end_options(out);
  });
}

void append_interface(std::string_view name, std::string_view description, std::string& out) {
  append_block(kInterface, out, [&] {
    put(out, kRawIp);
    put(out, std::uint16_t{0});
    put(out, kSnapLength);
    put_option(out, kName, name);
    put_option(out, kDescription, description);
    end_options(out);
  });
}

void append_packet(std::uint32_t interface, std::chrono::system_clock::time_point time,
                   std::string_view packet, std::string_view comment, std::string& out) {
  const auto micros = static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::microseconds>(time.time_since_epoch()).count());
  append_block(kPacket, out, [&] {
    put(out, interface);
    put(out, static_cast<std::uint32_t>(micros >> 32U));
    put(out, static_cast<std::uint32_t>(micros));
    put(out, static_cast<std::uint32_t>(packet.size()));
    put(out, static_cast<std::uint32_t>(packet.size()));
    put_padded(out, packet);
    if (comment.empty()) return;
    put_option(out, kComment, comment);
    end_options(out);
  });
}

}  // namespace mitm::format::pcapng
