// DNS over TCP and TLS.
#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace mitm::dns {

/// One direction of a connection: each message follows its length, two bytes in network order
/// (RFC 1035, section 4.2.2; RFC 7858).
class Stream {
 public:
  /// Calls `take` for every message that is whole now, without its length. Holds one unfinished
  /// message at most (64 KiB).
  void feed(std::string_view bytes, const std::function<void(std::string_view message)>& take);

 private:
  std::string unfinished_;
};

}  // namespace mitm::dns
