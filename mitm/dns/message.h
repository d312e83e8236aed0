// A DNS message (RFC 1035) as text.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <boost/asio/ip/address.hpp>

namespace mitm::dns {

struct Record {
  std::string name;  ///< without the last dot; escaped as in master files
  std::string type;  ///< "A", "AAAA", "CNAME", ..., "TYPE65534"
  std::uint32_t ttl = 0;
  std::string data;  ///< address, name or text; hexadecimal for types without a text of their own
};

struct Message {
  std::uint16_t id = 0;
  bool response = false;
  bool truncated = false;
  std::string rcode;  ///< "NOERROR", "NXDOMAIN", ..., "RCODE42"
  std::string name;   ///< of the question; empty: an answer that repeats none, as FORMERR may
  std::string type;
  std::vector<Record> answers;  ///< the answer section, at most kMaxRecords of it
};

inline constexpr std::size_t kMaxRecords = 64;

/// Empty: not a DNS message with exactly one question (an answer: at most one), or damaged.
[[nodiscard]] std::optional<Message> parse(std::string_view bytes);

}  // namespace mitm::dns
