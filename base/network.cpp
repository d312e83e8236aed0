// Parsing and rendering of networks, port ranges and endpoints.
#include "base/network.h"

#include <charconv>

#include <boost/asio/ip/network_v4.hpp>
#include <boost/asio/ip/network_v6.hpp>
#include <fmt/format.h>

namespace base {
namespace {

namespace ip = boost::asio::ip;

template <class Number>
bool parse_number(std::string_view text, Number& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc{} && end == text.data() + text.size();
}

template <class Bytes>
bool same_prefix(const Bytes& a, const Bytes& b, unsigned bits) {
  for (std::size_t i = 0; i < a.size() && bits > 0; ++i, bits -= std::min(bits, 8U)) {
    const unsigned mask = bits >= 8 ? 0xffU : 0xffU << (8 - bits) & 0xffU;
    if ((a[i] ^ b[i]) & mask) return false;
  }
  return true;
}

Address without_host_bits(const Address& address, unsigned prefix) {
  if (address.is_v4()) return ip::make_network_v4(address.to_v4(), prefix).canonical().address();
  return ip::make_network_v6(address.to_v6(), prefix).canonical().address();
}

}  // namespace

bool Network::contains(const Address& other) const {
  const Address plain = unmapped(other);
  if (plain.is_v4() != address.is_v4()) return false;
  if (plain.is_v4())
    return same_prefix(address.to_v4().to_bytes(), plain.to_v4().to_bytes(), prefix);
  return same_prefix(address.to_v6().to_bytes(), plain.to_v6().to_bytes(), prefix);
}

Result<Network> parse_network(std::string_view text) {
  const Error bad = failure(
      "'{}' is not a network; expected for example 10.0.0.0/8, fe80::/10 or 192.0.2.1", text);
  const auto slash = text.find('/');
  boost::system::error_code ec;
  const Address address = ip::make_address(std::string(text.substr(0, slash)), ec);
  if (ec || (address.is_v6() && address.to_v6().scope_id() != 0)) return bad;
  const unsigned bits = address.is_v4() ? 32 : 128;
  unsigned prefix = bits;
  if (slash != text.npos && (!parse_number(text.substr(slash + 1), prefix) || prefix > bits))
    return bad;
  const Network network{without_host_bits(address, prefix), prefix};
  if (network.address != address) {
    return failure("'{}' has host bits set; the network is {}", text, to_string(network));
  }
  return network;
}

std::string to_string(const Network& network) {
  const unsigned bits = network.address.is_v4() ? 32 : 128;
  if (network.prefix == bits) return network.address.to_string();
  return fmt::format("{}/{}", network.address.to_string(), network.prefix);
}

Result<PortRange> parse_port_range(std::string_view text) {
  const auto dash = text.find('-');
  PortRange range;
  const bool good = parse_number(text.substr(0, dash), range.first) &&
                    (dash == text.npos || parse_number(text.substr(dash + 1), range.last));
  if (dash == text.npos) range.last = range.first;
  if (!good || range.first == 0 || range.last < range.first) {
    return failure("'{}' is not a port or a range of ports; expected for example 443 or 8000-8100",
                   text);
  }
  return range;
}

std::string to_string(const PortRange& range) {
  return range.first == range.last ? fmt::format("{}", range.first)
                                   : fmt::format("{}-{}", range.first, range.last);
}

std::string to_string(const Endpoint& endpoint) {
  const Address address = unmapped(endpoint.address());
  const auto host = address.to_string();
  return address.is_v4() ? fmt::format("{}:{}", host, endpoint.port())
                         : fmt::format("[{}]:{}", host, endpoint.port());
}

Result<Endpoint> parse_endpoint(std::string_view text) {
  const Error bad = failure(
      "'{}' is not an address and port; expected for example 192.0.2.1:443 or [::1]:443", text);
  const auto colon = text.rfind(':');
  if (colon == text.npos) return bad;
  std::string_view host = text.substr(0, colon);
  const bool bracketed = host.size() > 2 && host.front() == '[' && host.back() == ']';
  if (bracketed) host = host.substr(1, host.size() - 2);
  boost::system::error_code ec;
  const Address address = ip::make_address(std::string(host), ec);
  std::uint16_t port = 0;
  if (ec || address.is_v6() != bracketed || !parse_number(text.substr(colon + 1), port)) return bad;
  return Endpoint{address, port};
}

Address unmapped(const Address& address) {
  if (address.is_v6() && address.to_v6().is_v4_mapped()) {
    return ip::make_address_v4(ip::v4_mapped, address.to_v6());
  }
  return address;
}

}  // namespace base
