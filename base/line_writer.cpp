// The thread outlives its LineWriter when it hangs in write(2): so what both use is shared.
#include "base/line_writer.h"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <system_error>
#include <thread>
#include <utility>

#include "base/fd.h"
#include "base/signals_blocked.h"

namespace base {

struct LineWriter::Shared {
  Shared(Write how, Dropped drop, Limits most)
      : write(std::move(how)), dropped_line(std::move(drop)), limits(most) {}

  const Write write;
  const Dropped dropped_line;
  const Limits limits;
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<std::string> lines;
  std::size_t bytes = 0;    ///< of `lines`
  std::size_t dropped = 0;  ///< since that was last said
  bool started = false;
  bool writing = false;
  bool stopping = false;

  void add(std::string line) {
    bytes += line.size();
    lines.push_back(std::move(line));
  }
  void run();
};

LineWriter::LineWriter(int fd, Dropped dropped, Limits limits)
    : LineWriter([fd](std::string_view line) { (void)write_all(fd, line); }, std::move(dropped),
                 limits) {}

LineWriter::LineWriter(Write write, Dropped dropped, Limits limits)
    : shared_(std::make_shared<Shared>(std::move(write), std::move(dropped), limits)) {}

LineWriter::~LineWriter() {
  const std::lock_guard lock{shared_->mutex};
  shared_->stopping = true;
  shared_->changed.notify_all();
}

void LineWriter::put(std::string line) {
  const std::lock_guard lock{shared_->mutex};
  Shared& shared = *shared_;
  if (shared.lines.size() >= shared.limits.lines ||
      shared.bytes + line.size() > shared.limits.bytes) {
    ++shared.dropped;
  } else {
    // In the place of those that are missing.
    if (shared.dropped > 0) shared.add(shared.dropped_line(std::exchange(shared.dropped, 0)));
    shared.add(std::move(line));
  }
  shared.changed.notify_all();
  if (shared.started) return;
  const SignalsBlocked inherited_by_the_thread;
  try {
    std::thread{[kept = shared_] { kept->run(); }}.detach();
    shared.started = true;
  } catch (const std::system_error&) {
    // No thread to be had now: with the next line, perhaps.
  }
}

bool LineWriter::wait(std::chrono::milliseconds limit) {
  std::unique_lock lock{shared_->mutex};
  return shared_->changed.wait_for(lock, limit, [&] {
    return shared_->lines.empty() && shared_->dropped == 0 && !shared_->writing;
  });
}

void LineWriter::Shared::run() {
  std::unique_lock lock{mutex};
  for (;;) {
    changed.wait(lock, [&] { return stopping || !lines.empty() || dropped > 0; });
    std::string line;
    if (!lines.empty()) {
      line = std::move(lines.front());
      lines.pop_front();
      bytes -= line.size();
    } else if (dropped > 0) {
      line = dropped_line(std::exchange(dropped, 0));
    } else {
      return;
    }
    writing = true;
    lock.unlock();
    if (!line.empty()) write(line);
    lock.lock();
    writing = false;
    changed.notify_all();
  }
}

}  // namespace base
