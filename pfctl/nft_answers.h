// What nf_tables answers, from bytes, and what its refusals mean to the user. No kernel needed.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "pfctl/nft_messages.h"

namespace pfctl {

/// The kernel's word on one message.
struct Ack {
  std::uint32_t sequence = 0;
  int error = 0;  ///< errno, 0: done

  bool operator==(const Ack&) const = default;
};

/// All acknowledgements and errors of one datagram. An error when the datagram is cut short.
[[nodiscard]] base::Result<std::vector<Ack>> parse_acks(std::string_view bytes);

/// The answer to table_query().
struct TableAnswer {
  bool exists = false;
  std::optional<std::uint32_t> owner;  ///< netlink port of the owning socket
};

/// `bytes`: one datagram. Errors: cut short, of another sequence, the kernel's own (with
/// os_code).
[[nodiscard]] base::Result<TableAnswer> parse_table_answer(std::string_view bytes,
                                                           std::uint32_t sequence);

/// Why the table could not be put in place although nf_tables works: a table of that name is there.
/// `owner` as rules_owner() gives it.
base::Error table_in_the_way(long owner);

/// Whether `refusal` says that a table of our name is there already.
bool is_in_the_way(const Batch& batch, const Ack& refusal);

/// `refusal` of a message of `batch`, in any other case. `kernel`: release of the running kernel,
/// for example 6.1.0-13.
base::Error explain(const Batch& batch, const Ack& refusal, std::string_view kernel);

}  // namespace pfctl
