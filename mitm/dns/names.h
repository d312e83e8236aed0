// Which name a program had asked for when it got an address. A label, nothing more.
#pragma once

#include <deque>
#include <mutex>
#include <string>
#include <unordered_map>

#include "base/network.h"
#include "mitm/dns/message.h"

namespace mitm::dns {

/// DNS over TCP, and over TLS (RFC 7858).
[[nodiscard]] constexpr bool is_name_server(std::uint16_t port) {
  return port == 53 || port == 853;
}

/// Shared by all contexts.
class Names {
 public:
  static constexpr std::size_t kMax = 8192;

  /// The addresses of a response belong to the name of its question, whatever aliases led there.
  void learn(const Message& response);
  /// Empty: no program has asked. The name that was learned last, when there are several.
  [[nodiscard]] std::string find(const base::Address& address) const;

 private:
  mutable std::mutex mutex_;
  std::unordered_map<std::string, std::string> names_;  ///< by the address's text
  std::deque<std::string> order_;                       ///< oldest first
};

}  // namespace mitm::dns
