// Netlink messages that put our table into the kernel, take it out and ask for it, as bytes. No
// kernel needed.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "pfctl/ruleset.h"

namespace pfctl {

/// What a message of a batch is there for, so that a refusal can be told in the user's words.
struct Step {
  enum class Kind : std::uint8_t { batch, table, chain, rule };

  Kind kind = Kind::batch;
  std::string rule;  ///< text of the rule that the message belongs to; empty for the other kinds
};

/// One nfnetlink batch: taken whole or not at all.
struct Batch {
  std::string bytes;
  std::vector<Step>
      steps;  ///< by sequence number; the first and the last are the brackets of the batch

  /// The last message between the brackets, the only one that asks to be acknowledged. Its
  /// acknowledgement without an error in front of it means that the whole batch is in place.
  [[nodiscard]] std::uint32_t acknowledged() const {
    return static_cast<std::uint32_t>(steps.size() - 2);
  }
};

/// The whole table, owned by the socket that sends it. `ruleset` must be validated.
Batch install_batch(const Ruleset& ruleset);

/// Puts `return` in front of all rules of `ruleset` that divert or hold. They stay: without any
/// redirect the kernel would switch connection tracking off, and the connections that are diverted
/// would no longer be translated.
Batch stop_batch(const Ruleset& ruleset);

/// After stop_batch(): the same rules without what was put in front of them.
Batch resume_batch(const Ruleset& ruleset);

/// Removes the table of our name, with all that is in it.
Batch removal_batch();

/// A table that changes nothing, owned by the socket that sends it: as long as it is there the
/// kernel goes on translating the addresses of connections that were diverted. A chain of type nat
/// keeps address translation on, a rule that asks for `ct state` connection tracking.
Batch nat_batch(std::string table);

/// copying_chains() in a table of this name, owned by the socket that sends it.
Batch copying_batch(std::string table, std::uint16_t group);

/// Asks for the table of our name.
std::string table_query(std::uint32_t sequence);

}  // namespace pfctl
