// How far a command has got, on a terminal.
#pragma once

#include <chrono>
#include <cstdint>

namespace mitm::cli {

/// A line on standard error, if that is a terminal, once the command has taken a second; it is
/// rewritten, and erased at the end. For one thread.
class Progress {
 public:
  Progress();
  explicit Progress(bool shown) : shown_(shown) {}
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress() { erase(); }

  /// So much of the source has been looked at; a `total` of 0: unknown. Cheap.
  void looked_at(std::uint64_t done, std::uint64_t total);
  /// A flow was taken.
  void add_flow() { ++flows_; }
  /// The flow that was taken last has no place in what is written.
  void leave_out_flow() { --flows_; }
  /// Shows the line if it is due.
  void show();
  /// To be called before anything else is written to the terminal.
  void erase();
  [[nodiscard]] std::uint64_t flows() const { return flows_; }

 private:
  using Clock = std::chrono::steady_clock;
  bool shown_;
  bool written_ = false;
  std::uint64_t done_ = 0, total_ = 0, flows_ = 0;
  Clock::time_point next_ = Clock::now() + std::chrono::seconds{1};
};

}  // namespace mitm::cli
