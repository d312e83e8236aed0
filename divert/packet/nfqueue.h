// NFQUEUE over netlink, as bytes (linux/netfilter/nfnetlink_queue.h). No kernel needed.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace divert::nfqueue {

/// Asks for queue `number`; acknowledged.
std::string encode_bind(std::uint16_t number);
/// Copies of `bytes` of each packet and room for `length` packets; what finds none is dropped and
/// counted; acknowledged.
std::string encode_setup(std::uint16_t number, std::uint32_t bytes, std::uint32_t length);

/// NF_DROP, NF_ACCEPT and NF_REPEAT of linux/netfilter.h.
enum class Verdict : std::uint32_t { drop = 0, accept = 1, repeat = 4 };

/// `mark` replaces the packet's whole mark.
std::string encode_verdict(std::uint16_t number, std::uint32_t id, Verdict verdict,
                           std::uint32_t mark);

/// One netlink message from the kernel.
struct Message {
  enum class Kind : std::uint8_t { packet, acknowledged, other } kind = Kind::other;
  int error = 0;  ///< errno, of an acknowledgement; 0: done
  std::uint32_t id = 0;
  std::uint32_t mark = 0;
  std::uint32_t interface = 0;  ///< index of the device it is to leave by; 0: none
  std::optional<std::uint32_t>
      gid;                 ///< of the socket's maker, as the first user namespace numbers groups
  std::string_view bytes;  ///< of the packet, from its IP header on
};

/// The first message of `bytes`, which is shortened by it. Empty when the bytes are cut or lie
/// about a length.
std::optional<Message> decode(std::string_view& bytes);

/// Whether groups have the numbers of the first user namespace in one with this map
/// (/proc/self/gid_map): all of them, as the map says nothing of the namespaces between.
[[nodiscard]] bool numbers_as_first(std::string_view gid_map);

}  // namespace divert::nfqueue
