// Text of endpoints, the same for records and for rows.
#include "mitm/query/endpoint_text.h"

namespace mitm::query {

std::optional<base::Address> known_address(std::string_view text) {
  boost::system::error_code error;
  const auto address = boost::asio::ip::make_address(std::string(text), error);
  return error ? std::nullopt : known_address(address);
}

std::optional<base::Address> known_address(const base::Address& address) {
  if (address.is_unspecified()) return std::nullopt;
  return base::unmapped(address);
}

std::string endpoint_text(std::string_view host, std::uint16_t port) {
  boost::system::error_code error;
  const auto address = boost::asio::ip::make_address(std::string(host), error);
  if (host.empty() || (!error && address.is_unspecified())) return {};
  std::string text = error ? std::string(host) : base::unmapped(address).to_string();
  return text.append(":").append(std::to_string(port));
}

}  // namespace mitm::query
