// Signals as something to read: handlers only remember them.
#pragma once

#include <span>
#include <vector>

#include <signal.h>

#include "base/error.h"
#include "base/fd.h"

namespace divert {

/// One at a time in a process. Once it is destroyed they have no effect at all: the process is
/// about to end. A child keeps the handlers: base::restore_signals() there, and keep signals
/// blocked (base::SignalsBlocked) from fork(2) until then.
class Signals {
 public:
  [[nodiscard]] static base::Result<Signals> watch(std::span<const int> numbers);
  Signals(Signals&& other) noexcept = default;
  Signals& operator=(Signals&&) = delete;
  ~Signals();

  /// Readable when take() has something.
  [[nodiscard]] int descriptor() const { return bell_.out.get(); }
  /// Those that have come since, each once however often it came, in the order in which they were
  /// named.
  [[nodiscard]] std::vector<int> take();

 private:
  explicit Signals(base::Pipe bell, std::span<const int> numbers)
      : bell_(std::move(bell)), numbers_(numbers.begin(), numbers.end()) {}

  base::Pipe bell_;
  std::vector<int> numbers_;
};

}  // namespace divert
