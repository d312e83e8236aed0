// Address vocabulary shared by all folders: endpoints are Boost's, networks and port ranges are
// ours.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include <boost/asio/ip/address.hpp>
#include <boost/asio/ip/tcp.hpp>

#include "base/error.h"

namespace base {

using Endpoint = boost::asio::ip::tcp::endpoint;
using Address = boost::asio::ip::address;

/// An IPv4 or IPv6 network; host bits of `address` are zero.
struct Network {
  Address address;
  unsigned prefix = 0;  ///< bits, 0-32 or 0-128

  [[nodiscard]] bool contains(const Address& other) const;
  bool operator==(const Network&) const = default;
};

/// "10.0.0.0/8", "fe80::/10" or a single address. Host bits set are an error that names the network
/// meant.
[[nodiscard]] Result<Network> parse_network(std::string_view text);
std::string to_string(const Network& network);

/// Both ends included, host byte order, first <= last, never 0.
struct PortRange {
  std::uint16_t first = 0;
  std::uint16_t last = 0;

  [[nodiscard]] bool contains(std::uint16_t port) const { return first <= port && port <= last; }
  bool operator==(const PortRange&) const = default;
};

/// "443" or "8000-8100".
[[nodiscard]] Result<PortRange> parse_port_range(std::string_view text);
std::string to_string(const PortRange& range);

/// "1.2.3.4:80" or "[::1]:80"; a v4-mapped IPv6 address is written as IPv4.
std::string to_string(const Endpoint& endpoint);

/// The reverse of to_string(Endpoint).
[[nodiscard]] Result<Endpoint> parse_endpoint(std::string_view text);

/// ::ffff:a.b.c.d becomes a.b.c.d; everything else stays.
Address unmapped(const Address& address);

}  // namespace base
