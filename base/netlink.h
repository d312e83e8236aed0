// Netlink messages as bytes (linux/netlink.h): written, and read within their bounds. Layouts are
// written out by offset, so that whatever is built on this compiles and is tested on all systems.
// Headers are in the host's byte order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace base::netlink {

inline constexpr std::uint16_t kError = 2, kDone = 3;  // NLMSG_ERROR, NLMSG_DONE
inline constexpr std::uint16_t kRequest = 0x1, kAck = 0x4, kDump = 0x300;  // NLM_F_*
inline constexpr std::size_t kHeader = 16, kAttributeHeader = 4;           // nlmsghdr, nlattr

/// One message under construction.
class Writer {
 public:
  /// NLM_F_REQUEST is added to `flags`.
  Writer(std::uint16_t type, std::uint16_t flags, std::uint32_t sequence);

  /// A struct behind the header, before all attributes; padded to 4 bytes.
  void append(std::string_view bytes);

  void text(std::uint16_t type, std::string_view value);     ///< a zero is added
  void number(std::uint16_t type, std::uint32_t value);      ///< 32 bits, big-endian
  void big_number(std::uint16_t type, std::uint64_t value);  ///< 64 bits, big-endian
  void bytes(std::uint16_t type, std::span<const unsigned char> value);

  /// An attribute that holds those that `body` writes.
  template <class Body>
  void nest(std::uint16_t type, Body body) {
    constexpr std::uint16_t kNested = 0x8000;  // NLA_F_NESTED
    const std::size_t start = bytes_.size();
    attribute(kNested | type, {});
    body();
    set_size(start);
  }

  [[nodiscard]] const std::string& view() const { return bytes_; }

 private:
  void attribute(std::uint16_t type, std::string_view value);
  void set_size(std::size_t nest);

  std::string bytes_;
};

struct Message {
  std::uint16_t type = 0;
  std::uint32_t sequence = 0;
  std::string_view body;  ///< behind the header

  /// Of an NLMSG_ERROR: the kernel's errno, 0: done. Empty: it is cut short.
  [[nodiscard]] std::optional<int> error() const;
};

/// The first message of `bytes`, which are shortened by it. Empty: it is not there in full.
std::optional<Message> take_message(std::string_view& bytes);

struct Attribute {
  std::uint16_t type = 0;  ///< without its flags
  std::string_view value;
};

/// The first attribute of `bytes`, which are shortened by it. Empty: it is not there in full.
std::optional<Attribute> take_attribute(std::string_view& bytes);

/// Calls `visit(const Attribute&)` for each attribute up to the first that is not there in full.
template <class Visit>
void for_each_attribute(std::string_view bytes, Visit visit) {
  while (const auto attribute = take_attribute(bytes)) visit(*attribute);
}

/// Behind a struct of `size` bytes at the start of a message's body.
std::string_view behind_struct(std::string_view body, std::size_t size);

/// The number at `offset`, in the host's order; the bytes must be there.
template <class Number>
Number number_at(std::string_view bytes, std::size_t offset) {
  Number value;
  std::memcpy(&value, bytes.data() + offset, sizeof value);
  return value;
}

/// A value's first 32 bits, in the host's order or in network order; 0 when it is shorter.
std::uint32_t host_number(std::string_view value);
std::uint32_t network_number(std::string_view value);

/// A value's text, with or without the zero at its end.
std::string text_of(std::string_view value);

}  // namespace base::netlink
