// Resolvers ask for IPv4 and IPv6 addresses at once. The answer that adds nothing to the other one
// is left out of the shortest text.
#pragma once

#include <chrono>
#include <cstddef>
#include <list>
#include <memory>

#include "mitm/flow/records.h"

namespace mitm::format {

/// Decides which lookups of addresses (A, AAAA, HTTPS) are shown. Of the lookups of one name by one
/// process within a second, an answer without such records is left out when another one has
/// addresses, and a failure is shown once. An answer without records that comes first is kept until
/// another one comes, or until a second has passed.
class DnsRepeats {
 public:
  using Flow = std::shared_ptr<const flow::DnsFlow>;

  /// Whether `dns` is to be shown now. False: never, or kept, see `take_overdue`.
  [[nodiscard]] bool shows(const Flow& dns);
  /// What was kept for longer than a second at `now`, in the order in which it came.
  [[nodiscard]] std::list<Flow> take_overdue(flow::Time now);
  /// Everything that is still kept: at the end of a run.
  [[nodiscard]] std::list<Flow> take_all();

 private:
  static constexpr std::chrono::seconds kWindow{1};
  static constexpr std::size_t kMost = 256;  ///< lookups that are remembered; more are shown

  struct Seen {
    Flow flow;
    bool kept;  ///< it has not been shown
  };

  /// Whether `other`, which came before `dns` and belongs to it, says all that `dns` says.
  [[nodiscard]] static bool covers(const Seen& other, const flow::DnsFlow& dns);
  /// Those that were shown and began before `time`.
  void forget_before(flow::Time time);

  std::list<Seen> seen_;
};

}  // namespace mitm::format
