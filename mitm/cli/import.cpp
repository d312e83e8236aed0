// `osproxy import`: flows of files of other programs, or of other sessions, into a session.
#include <chrono>
#include <cstdio>

#include <fmt/format.h>
#include <unistd.h>

#include "base/text.h"
#include "mitm/cli/commands.h"
#include "mitm/cli/flow_source.h"
#include "mitm/cli/log_line.h"
#include "mitm/store/session_writer.h"

namespace mitm::cli {
namespace {

using base::Result;

/// Flows in one transaction.
constexpr std::uint64_t kBatch = 1000;

/// A line on a terminal that counts, once it has taken a second.
class Progress {
 public:
  explicit Progress(bool shown) : shown_(shown) {}
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  ~Progress() {
    if (written_) fmt::print(stderr, "\r\033[K");
  }

  void show(std::uint64_t flows) {
    const auto now = Clock::now();
    if (!shown_ || now - last_ < std::chrono::seconds{1}) return;
    last_ = now;
    written_ = true;
    fmt::print(stderr, "\rosproxy: {} flows", flows);
  }

 private:
  using Clock = std::chrono::steady_clock;
  bool shown_;
  bool written_ = false;
  Clock::time_point last_ = Clock::now();
};

class Import {
 public:
  explicit Import(store::SessionWriter& session)
      : session_(session), progress_(::isatty(STDERR_FILENO) == 1) {}

  /// What is damaged is said; an error is that of the session.
  Result<> take(FlowSource& source) {
    for (;;) {
      auto flow = source.next();
      if (!flow) {
        ++damaged_;
        log_line(flow.error().text, base::LogLevel::warning);
        if (source.goes_on()) continue;
        return {};
      }
      if (!*flow) return {};
      if (auto put = write(**flow); !put) return put.error();
    }
  }

  Result<> end() {
    if (!session_.is_in_transaction()) return {};
    return session_.commit();
  }
  [[nodiscard]] std::uint64_t flows() const { return flows_; }
  [[nodiscard]] bool has_damage() const { return damaged_ > 0; }

 private:
  Result<> write(const flow::Flow& flow) {
    if (!session_.is_in_transaction()) {
      if (auto begun = session_.begin(); !begun) return begun.error();
    }
    if (auto put = session_.put(flow); !put) return put.error();
    progress_.show(++flows_);
    return flows_ % kBatch == 0 ? session_.commit() : Result<>{};
  }

  store::SessionWriter& session_;
  Progress progress_;
  std::uint64_t flows_ = 0;
  std::uint64_t damaged_ = 0;
};

}  // namespace

Result<int> import_command(const Invocation& invocation) {
  // All of them first: a name that is wrong leaves no session behind.
  const auto everything = query::Filter::parse("");
  std::vector<std::unique_ptr<FlowSource>> sources;
  for (const std::string& path : invocation.positional) {
    auto source = open_flow_source(path, *everything, "");
    if (!source) return source.error();
    sources.push_back(std::move(*source));
  }
  auto session = store::SessionWriter::open(invocation.typed.save);
  if (!session) return base::Error{"--save: " + session.error().text, session.error().os_code};
  Import import{**session};
  for (const auto& source : sources) {
    if (auto taken = import.take(*source); !taken) return taken.error();
  }
  if (auto ended = import.end(); !ended) return ended.error();
  fmt::print("added {} flow{} to {}\n", import.flows(), import.flows() == 1 ? "" : "s",
             base::printable(invocation.typed.save));
  return import.has_damage() ? 1 : 0;
}

}  // namespace mitm::cli
