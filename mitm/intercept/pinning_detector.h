// Whether a program refuses our certificate, and what follows from it.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "divert/policy/policy.h"
#include "mitm/intercept/context/flow_recorder.h"
#include "mitm/intercept/context/pinning_cache.h"
#include "mitm/intercept/wire/side.h"

namespace mitm::intercept {

/// Looks at one connection; what it finds is kept in the run's PinningCache.
class PinningDetector {
 public:
  PinningDetector(const FlowRecorder& recorder, Side& client, Side& server)
      : recorder_(recorder), client_(client), server_(server) {}

  /// Makes a connection to `host` (empty: to its address) pass, when the program has refused us
  /// there often enough.
  void apply_bypass(divert::Verdict& verdict, std::string_view host) const;

  /// The program's hello offers no protocols (ALPN): what only looks at certificates does not.
  void set_offers_no_protocol(bool none) { offers_no_protocol_ = none; }
  /// TLS with the program has been agreed on just now.
  void tls_agreed() { agreed_ = std::chrono::steady_clock::now(); }
  /// The program has used the connection: its refusals so far were not about the certificate.
  void accepted() const;
  /// Counts a refusal; what follows from it goes behind `why`.
  [[nodiscard]] std::string refused(Refusal how, std::string why) const;
  /// See the function of that name in program_tls.h.
  [[nodiscard]] bool left_at_once() const;
  /// Looks back at a connection whose TLS was agreed on. Returns the error to be reported, if any.
  [[nodiscard]] std::optional<std::string> judge_ending() const;

 private:
  [[nodiscard]] PinningCache& cache() const { return *recorder_.context().settings.learned; }

  const FlowRecorder& recorder_;
  Side& client_;
  Side& server_;
  std::chrono::steady_clock::time_point agreed_;
  bool offers_no_protocol_ = false;
};

}  // namespace mitm::intercept
