// Notices what others do to pf while our rules are loaded.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "pfctl/pf_query.h"
#include "pfctl/pf_session.h"

namespace pfctl {

/// A thread of its own that runs pfctl and ifconfig, so that no other thread waits for them. Mostly
/// one `pfctl -v -s info`: whether pf is enabled, and the checksum of the main ruleset's filter
/// rules; and the interfaces' addresses. All of a PfView is looked at when that has changed, and
/// every few times, for the checksum leaves out translation rules and anchors. What others do takes
/// several steps (`service pf start`: flush, load, enable), and to load something in their middle
/// makes theirs fail: only what two looks in a row have seen alike, a third of `every` apart, is
/// told.
class PfWatch {
 public:
  /// Errors: no pipe.
  [[nodiscard]] static base::Result<std::unique_ptr<PfWatch>> start(
      Machine machine, PfView good, std::chrono::milliseconds every);
  PfWatch(const PfWatch&) = delete;
  PfWatch& operator=(const PfWatch&) = delete;
  /// A pfctl that hangs is left to end by itself.
  ~PfWatch();

  /// Readable when what was seen differs from what is good, or when it is time to try again.
  [[nodiscard]] int descriptor() const;

  /// This is good from now on. The descriptor is no longer readable.
  void expect(PfView good);
  /// This is how it is, and not good: the descriptor becomes readable when it has changed, and at
  /// the latest after `every`; each further time in a row after twice as long, up to twenty times
  /// `every`.
  void try_again(PfView found);

 private:
  struct Shared;

  explicit PfWatch(std::shared_ptr<Shared> shared);
  void set_good(PfView good);
  static void run(Shared& shared);

  std::shared_ptr<Shared> shared_;
};

/// When the watch is readable: has the session put right what others have changed, and tells the
/// watch what is good from now on, or that it has to be tried again. A line each, for the user.
/// `ruleset`: what `loaded` was made of; both follow this machine's VPNs.
[[nodiscard]] std::vector<std::string> put_right(PfSession& session, Ruleset& ruleset,
                                                 Loaded& loaded, const Machine& machine,
                                                 PfWatch& watch);

}  // namespace pfctl
