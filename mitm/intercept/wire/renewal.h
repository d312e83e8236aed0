// A leaf is worth no more than the intermediate that signs it: looked at before each.
#pragma once

#include <chrono>
#include <functional>
#include <string>

#include <boost/asio/awaitable.hpp>

#include "mitm/tls/leaf.h"

namespace mitm::intercept {

/// Of one io_context. A timer alone would be late: it stands still while the machine is suspended.
class Renewal {
 public:
  /// `ask` has the broker send another intermediate, which reaches `leaves` by LeafCache::renew();
  /// empty: there is nobody to ask. `patience`: how long a leaf is held back for it.
  explicit Renewal(std::function<void()> ask,
                   std::chrono::milliseconds patience = std::chrono::seconds{5})
      : ask_(std::move(ask)), patience_(patience) {}

  /// To be awaited before a leaf is asked of `leaves`. Asks for another intermediate when the one
  /// at hand ends within tls::kRenewBefore, at most once in ten seconds, and waits for it when a
  /// leaf would be worth nothing. Returns why there is none; empty: there is one.
  boost::asio::awaitable<std::string> before_leaf(const tls::LeafCache& leaves);

 private:
  std::function<void()> ask_;
  std::chrono::milliseconds patience_;
  std::chrono::steady_clock::time_point next_;  ///< not asked again before that
};

}  // namespace mitm::intercept
