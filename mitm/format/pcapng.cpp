// Every block is its type, its length, what it says in words of four bytes, and its length again.
#include "mitm/format/pcapng.h"

#include <bit>
#include <cstring>

#include "base/text.h"

namespace mitm::format::pcapng {
namespace {

constexpr std::uint32_t kSection = 0x0a0d0d0a, kInterface = 1, kNames = 4, kPacket = 6,
                        kCustom = 0xbad;
constexpr std::uint32_t kByteOrder = 0x1a2b3c4d;
/// DLT_RAW of Linux, macOS and FreeBSD. Not LINKTYPE_RAW (101): of that libpcap 1.10 reads one
/// interface only.
constexpr std::uint16_t kRawIp = 12;
constexpr char kNanoseconds = 9;  ///< as the exponent of 1/10
constexpr std::uint16_t kEndOfOptions = 0, kComment = 1, kName = 2, kDescription = 3,
                        kApplication = 4, kTimeResolution = 9, kPacketProcess = 8;
/// Wireshark's number among IANA's private enterprises, and what its custom block is of.
constexpr std::uint32_t kWireshark = 32622, kProcessInformation = 3;
constexpr std::uint16_t kProcessName = 2, kProcessPath = 3, kProcessArguments = 4,
                        kProcessParent = 5, kProcessUid = 6, kProcessUser = 7, kProcessStart = 9;
constexpr std::uint16_t kIpv4Name = 1, kIpv6Name = 2;
/// Of all arguments of a process; an option holds 64 KiB.
constexpr std::size_t kMaxArguments = 4096;

template <class Number>
void put(std::string& out, Number value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

/// Wireshark's custom blocks are little-endian on every machine.
template <class Number>
void put_little(std::string& out, Number value) {
  if constexpr (std::endian::native == std::endian::little) {
    put(out, value);
  } else {
    for (std::size_t i = 0; i < sizeof value; ++i) out += static_cast<char>(value >> 8 * i & 0xffU);
  }
}

void put_padding(std::string& out, std::size_t size) {
  out.append((4 - size % 4) % 4, '\0');
}

void put_padded(std::string& out, std::string_view bytes) {
  out.append(bytes);
  put_padding(out, bytes.size());
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

void put_little_option(std::string& out, std::uint16_t code, std::string_view bytes) {
  if (bytes.empty()) return;
  put_little(out, code);
  put_little(out, static_cast<std::uint16_t>(bytes.size()));
  put_padded(out, bytes);
}

template <class Number>
void put_little_number(std::string& out, std::uint16_t code, Number value) {
  std::string bytes;
  put_little(bytes, value);
  put_little_option(out, code, bytes);
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

/// As the kernel has them: each ends with a zero.
std::string arguments_of(const procmap::ProcessFacts& process) {
  std::string arguments;
  for (const std::string& argument : process.argv) arguments.append(argument).push_back('\0');
  if (arguments.size() > kMaxArguments) arguments.resize(kMaxArguments);
  return arguments;
}

std::uint64_t nanoseconds_of(std::chrono::system_clock::time_point time) {
  return static_cast<std::uint64_t>(
      std::chrono::duration_cast<std::chrono::nanoseconds>(time.time_since_epoch()).count());
}

std::string process_entry(const procmap::ProcessFacts& process) {
  std::string entry;
  put_little(entry, static_cast<std::uint32_t>(process.id.pid));
  put_little_option(entry, kProcessName, base::printable(process.name));
  put_little_option(entry, kProcessPath, base::printable(process.exe));
  put_little_option(entry, kProcessArguments, arguments_of(process));
  put_little_number(entry, kProcessParent, static_cast<std::uint32_t>(process.ppid));
  put_little_number(entry, kProcessUid, static_cast<std::uint32_t>(process.uid));
  put_little_option(entry, kProcessUser, base::printable(process.user));
  if (process.start_time.time_since_epoch().count() > 0)
    put_little_number(entry, kProcessStart, nanoseconds_of(process.start_time));
  put_little(entry, kEndOfOptions);
  put_little(entry, std::uint16_t{0});
  return entry;
}

std::string bytes_of(const base::Address& address) {
  std::string bytes;
  const auto append = [&bytes](const auto& raw) {
    bytes.assign(reinterpret_cast<const char*>(raw.data()), raw.size());
  };
  if (address.is_v4()) {
    append(address.to_v4().to_bytes());
  } else {
    append(address.to_v6().to_bytes());
  }
  return bytes;
}

}  // namespace

void append_section(std::string& out) {
  append_block(kSection, out, [&] {
    put(out, kByteOrder);
    put(out, std::uint16_t{1});  // version 1.0
    put(out, std::uint16_t{0});
    put(out, std::int64_t{-1});
    put_option(out, kComment, "Decrypted: TCP and IP headers are made up around the bytes.");
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
    put_option(out, kTimeResolution, {&kNanoseconds, 1});
    end_options(out);
  });
}

void append_process(const procmap::ProcessFacts& process, std::string& out) {
  const std::string entry = process_entry(process);
  append_block(kCustom, out, [&] {
    put(out, kWireshark);
    put_little(out, kProcessInformation);
    put_little(out, static_cast<std::uint32_t>(entry.size()));
    put_padded(out, entry);
  });
}

void append_packet(const Packet& packet, std::string& out) {
  const std::uint64_t time = nanoseconds_of(packet.time);
  append_block(kPacket, out, [&] {
    put(out, packet.interface);
    put(out, static_cast<std::uint32_t>(time >> 32U));
    put(out, static_cast<std::uint32_t>(time));
    put(out, static_cast<std::uint32_t>(packet.bytes.size()));
    put(out, static_cast<std::uint32_t>(packet.bytes.size() + packet.missing));
    put_padded(out, packet.bytes);
    if (packet.pid == 0 && packet.comment.empty()) return;
    put_option(out, kComment, packet.comment);
    if (packet.pid != 0) {
      put(out, kPacketProcess);
      put(out, std::uint16_t{8});
      put(out, packet.pid);
      put(out, std::uint32_t{0});  // no thread is known
    }
    end_options(out);
  });
}

void append_names(const std::vector<base::Address>& addresses, std::string_view name,
                  std::string& out) {
  append_block(kNames, out, [&] {
    for (const base::Address& address : addresses) {
      const std::string bytes = bytes_of(address);
      const std::size_t size = bytes.size() + name.size() + 1;
      put(out, address.is_v4() ? kIpv4Name : kIpv6Name);
      put(out, static_cast<std::uint16_t>(size));
      out.append(bytes).append(name).push_back('\0');
      put_padding(out, size);
    }
    put(out, std::uint32_t{0});  // the end of the records
  });
}

}  // namespace mitm::format::pcapng
