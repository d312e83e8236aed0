// Notices what others do to pf while our rules are loaded.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "base/error.h"
#include "pfctl/pf_plan.h"

namespace pfctl {

/// What decides whether our rules are in force, and mean what they meant.
struct PfView {
  bool enabled = false;
  bool skips_lo0 = false;
  std::string main;
  std::string anchor;
  std::vector<base::Address> addresses;  ///< this machine's (own_addresses)

  bool operator==(const PfView&) const = default;
};

/// Error: pfctl's; without pf's module there is nothing to see.
[[nodiscard]] base::Result<PfView> query_view(const Machine& machine);

/// A thread of its own that runs pfctl and ifconfig, so that nobody waits for them. Mostly one `pfctl -v -s
/// info`: whether pf is enabled, and the checksum of the main ruleset's filter rules; and the interfaces'
/// addresses. All of a PfView is looked at when that has changed, and every few times, for the checksum
/// leaves out translation rules and anchors.
class PfWatch {
 public:
  /// Errors: no pipe.
  [[nodiscard]] static base::Result<std::unique_ptr<PfWatch>> start(Machine machine, PfView good,
                                                                    std::chrono::milliseconds every);
  PfWatch(const PfWatch&) = delete;
  PfWatch& operator=(const PfWatch&) = delete;
  /// A pfctl that hangs is left to end by itself.
  ~PfWatch();

  /// Readable when what was seen differs from what is good.
  [[nodiscard]] int descriptor() const;

  /// This is good from now on. The descriptor is no longer readable.
  void expect(PfView good);

 private:
  struct Shared;

  explicit PfWatch(std::shared_ptr<Shared> shared);
  static void run(Shared& shared);

  std::shared_ptr<Shared> shared_;
};

}  // namespace pfctl
