// Notices what others do to the packet filter during a run.
#pragma once

#include <chrono>
#include <functional>
#include <future>
#include <optional>
#include <string>
#include <vector>

#include "pfctl/loader.h"

namespace divert {

/// Decides when to look, and what is news. Never blocks.
class ForeignRulesWatch {
 public:
  using Clock = std::chrono::steady_clock;
  /// Several changes that belong together come within this time.
  static constexpr std::chrono::milliseconds kSettle{300};
  /// Between two looks; longer when looking takes long.
  static constexpr std::chrono::seconds kBetween{2};
  /// Also when nothing was announced: not everything is (legacy iptables).
  static constexpr std::chrono::seconds kAnyway{20};

  struct Looked {
    base::Result<pfctl::Standing> standing;
    Clock::duration took{};
  };
  struct Asks {
    std::function<bool()> changed;              ///< pfctl::Changes::take()
    std::function<std::future<Looked>()> look;  ///< begins one
  };
  /// `told`: conflicts that the user knows of.
  ForeignRulesWatch(Asks asks, std::vector<std::string> told, Clock::time_point now)
      : asks_(std::move(asks)), told_(std::move(told)), next_(now + kAnyway), earliest_(now) {}

  struct News {
    std::vector<std::string> lines;  ///< for the user
    bool lost = false;  ///< the rules are not in force; the last line says what was found
  };
  /// To be called several times a second while rules are in force.
  [[nodiscard]] News tick(Clock::time_point now);

 private:
  [[nodiscard]] News compare(const pfctl::Standing& standing);

  Asks asks_;
  std::vector<std::string> told_;
  std::optional<std::future<Looked>> looking_;
  Clock::time_point next_;      ///< when to look
  Clock::time_point earliest_;  ///< not before
};

}  // namespace divert
