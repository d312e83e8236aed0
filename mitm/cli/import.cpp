// `osproxy import`: flows of files of other programs, or of other sessions, into a session.
#include <chrono>
#include <cstdio>

#include <fmt/format.h>
#include <unistd.h>

#include "base/text.h"
#include "base/user.h"
#include "mitm/cli/commands.h"
#include "mitm/cli/flow_transfer.h"
#include "mitm/cli/session_directory.h"
#include "mitm/store/session_writer.h"

namespace mitm::cli {
namespace {

using base::Result;

/// Flows in one transaction.
constexpr std::uint64_t kBatch = 1000;

class Import {
 public:
  explicit Import(store::SessionWriter& session) : session_(session) {}

  Result<> end() {
    if (!session_.is_in_transaction()) return {};
    return session_.commit();
  }
  [[nodiscard]] std::uint64_t flows() const { return flows_; }

  Result<> write(const flow::Flow& flow) {
    if (!session_.is_in_transaction()) {
      if (auto begun = session_.begin(); !begun) return begun.error();
    }
    if (auto put = session_.put(flow); !put) return put.error();
    return ++flows_ % kBatch == 0 ? session_.commit() : Result<>{};
  }

 private:
  store::SessionWriter& session_;
  std::uint64_t flows_ = 0;
};

/// False: there was damage.
Result<bool> take_all(const std::vector<std::unique_ptr<FlowSource>>& sources, Import& import,
                      Progress& progress) {
  bool whole = true;
  for (const auto& source : sources) {
    const auto taken =
        transfer(*source, progress, [&](const flow::Flow& flow) { return import.write(flow); });
    if (!taken) return taken.error();
    whole = whole && *taken;
  }
  if (auto ended = import.end(); !ended) return ended.error();
  return whole;
}

Result<std::string> session_path(const std::string& typed) {
  if (typed != kAutomaticName) return typed;
  auto path =
      create_session_file(base::current_user().home, "import", std::chrono::system_clock::now());
  if (!path) return base::Error{"--save: " + path.error().text, path.error().os_code};
  return path;
}

}  // namespace

Result<int> import_command(const Invocation& invocation) {
  if (auto became = become_caller(invocation); !became) return became.error();
  // All of them first: a name that is wrong leaves no session behind.
  Progress progress;
  const auto everything = query::Filter::parse("");
  const auto sources = sources_of_files(invocation, *everything, progress);
  if (!sources) return sources.error();
  const auto path = session_path(invocation.typed.save);
  if (!path) return path.error();
  auto session = store::SessionWriter::open(*path);
  if (!session) return base::Error{"--save: " + session.error().text, session.error().os_code};
  Import import{**session};
  const auto whole = take_all(*sources, import, progress);
  const bool unused = invocation.typed.save == kAutomaticName && import.flows() == 0;
  if (unused) {
    session->reset();
    ::unlink(path->c_str());
  }
  if (!whole) return whole.error();
  progress.erase();
  if (unused)
    fmt::print("there were no flows: no session is kept\n");
  else
    fmt::print("added {} flow{} to {}\n", import.flows(), import.flows() == 1 ? "" : "s",
               base::printable(*path));
  return *whole ? 0 : 1;
}

}  // namespace mitm::cli
