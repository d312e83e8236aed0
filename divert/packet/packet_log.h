// Copies of packets, from the kernel's NFLOG: passive, never in the way of the originals.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/fd.h"

namespace divert {

class PacketLog {
 public:
  /// `group` or one behind it that is free. Errors: no nfnetlink_log in this kernel, no
  /// permission.
  [[nodiscard]] static base::Result<PacketLog> open(std::uint16_t group);

  [[nodiscard]] std::uint16_t group() const { return group_; }
  [[nodiscard]] int descriptor() const { return socket_.get(); }

  /// Hands over every copy that waits, from its IP header on; never blocks. True: some were lost
  /// before them, there was no room. An error is lasting.
  using Take = std::function<void(std::string_view bytes)>;
  [[nodiscard]] base::Result<bool> receive(const Take& take);

 private:
  PacketLog(base::UniqueFd socket, std::uint16_t group);

  base::UniqueFd socket_;
  std::uint16_t group_;
  std::vector<char> buffer_;
};

/// One for each CPU, by number, for questions; a last one for answers.
[[nodiscard]] base::Result<std::vector<PacketLog>> open_packet_logs();
/// Their groups, when all of our numbers are free.
[[nodiscard]] std::vector<std::uint16_t> usual_log_groups();

/// The bytes of the packets in one datagram of NFLOG messages (linux/netfilter/nfnetlink_log.h),
/// aligned as a netlink buffer (4). What is cut or none is passed over.
void decode_packet_log(std::string_view bytes, const PacketLog::Take& take);

}  // namespace divert
