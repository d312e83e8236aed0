// Lines to a descriptor that may take nothing for ever: a terminal that is stopped, a pipe that
// is not read.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

namespace base {

/// A thread writes them, one write(2) a line. Errors of writing are ignored: there is no way to
/// report them.
class LineWriter {
 public:
  /// Queued at once; what does not find room is dropped and counted.
  struct Limits {
    std::size_t lines = 1000;
    std::size_t bytes = 256 << 10;
  };
  /// Makes the line, newline included, that is written before the next one when `count` were
  /// dropped; empty: none is.
  using Dropped = std::function<std::string(std::size_t count)>;
  /// Writes a line in its own way; may wait.
  using Write = std::function<void(std::string_view line)>;

  /// `fd` stays open as long as this process lasts. The thread starts with the first line: do not
  /// fork(2) and go on as the same program from then on.
  LineWriter(int fd, Dropped dropped) : LineWriter(fd, std::move(dropped), Limits{}) {}
  LineWriter(int fd, Dropped dropped, Limits limits);
  /// `write` is called on the thread, `dropped` there and in put(), which must not be called by it;
  /// both may be called after the end of this object: what they need must last as long as they do.
  LineWriter(Write write, Dropped dropped, Limits limits);
  LineWriter(const LineWriter&) = delete;
  LineWriter& operator=(const LineWriter&) = delete;
  /// What is not written by now may never be; the thread ends by itself, or with the process.
  ~LineWriter();

  /// Any thread; never waits for the reader. `line` ends with a newline.
  void put(std::string line);
  /// Waits until everything is written, for `limit` at most. False: it is not.
  bool wait(std::chrono::milliseconds limit);

 private:
  struct Shared;

  std::shared_ptr<Shared> shared_;
};

}  // namespace base
