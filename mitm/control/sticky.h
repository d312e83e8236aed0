// What programs are made to send again: cookies and credentials that were seen (mitmproxy's
// stickycookie and stickyauth). Shared by all threads.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>

#include "mitm/flow/records.h"

namespace mitm::control {

/// Cookies that responses have set, by domain, port and path. Of a jar that is full the next new
/// cookie is left out.
class CookieJar {
 public:
  void keep(const flow::HttpFlow& flow, flow::Time now);
  /// The Cookie field for the request; empty: none is known for it.
  [[nodiscard]] std::string cookies_for(const flow::HttpFlow& flow) const;

 private:
  static constexpr std::size_t kMost = 10'000;
  using Place = std::tuple<std::string, std::uint16_t, std::string>;  ///< domain, port, path
  void keep(const flow::HttpFlow& flow, std::string_view cookie, flow::Time now);

  mutable std::mutex mutex_;
  std::map<Place, std::map<std::string, std::string>> places_;
  std::size_t size_ = 0;
};

/// The last Authorization of each host.
class Credentials {
 public:
  void keep(const std::string& host, std::string_view value);
  /// Empty: none is known.
  [[nodiscard]] std::string credentials_for(const std::string& host) const;

 private:
  static constexpr std::size_t kMost = 10'000;
  mutable std::mutex mutex_;
  std::map<std::string, std::string> hosts_;
};

/// Of the URL, without port.
[[nodiscard]] std::string host_of(const flow::HttpFlow& flow);

}  // namespace mitm::control
