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

/// Bytes of texts that are kept at most.
inline constexpr std::size_t kLargestJar = 1 << 20;

/// Cookies that responses have set, by domain, port and path. What is longer than kLongestCookie
/// (RFC 6265 section 6.1) and, once the jar is full, the next new cookie are left out.
class CookieJar {
 public:
  void keep(const flow::HttpFlow& flow, flow::Time now);
  /// The Cookie field for the request, of at most kLongestField bytes; empty: none is known for it.
  [[nodiscard]] std::string cookies_for(const flow::HttpFlow& flow) const;

 private:
  static constexpr std::size_t kMost = 10'000;
  static constexpr std::size_t kLongestCookie = 4 << 10;
  static constexpr std::size_t kLongestField = 8 << 10;
  using Place = std::tuple<std::string, std::uint16_t, std::string>;  ///< domain, port, path
  void keep(const flow::HttpFlow& flow, std::string_view cookie, flow::Time now);
  void put(Place place, const std::string& name, std::string_view value);
  void erase(const Place& place, const std::string& name);

  mutable std::mutex mutex_;
  std::map<Place, std::map<std::string, std::string>> places_;
  std::size_t size_ = 0;   ///< cookies
  std::size_t bytes_ = 0;  ///< of their texts, those of their places with each
};

/// The last Authorization of each host; once kMost are known, or kLargestJar, of no further ones.
class Credentials {
 public:
  void keep(const std::string& host, std::string_view value);
  /// Empty: none is known.
  [[nodiscard]] std::string credentials_for(const std::string& host) const;

 private:
  static constexpr std::size_t kMost = 10'000;
  static constexpr std::size_t kLongest = 8 << 10;
  mutable std::mutex mutex_;
  std::map<std::string, std::string> hosts_;
  std::size_t bytes_ = 0;
};

/// Of the URL, without port.
[[nodiscard]] std::string host_of(const flow::HttpFlow& flow);

}  // namespace mitm::control
