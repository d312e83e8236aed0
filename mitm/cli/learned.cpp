// `osproxy learned`: what runs pass because a program refused osproxy's certificate, and taking it
// back.
#include <chrono>
#include <thread>

#include <pwd.h>
#include <unistd.h>

#include "base/text.h"
#include "divert/process/privilege.h"
#include "mitm/cli/commands.h"
#include "mitm/cli/pinning_file.h"

namespace mitm::cli {
namespace {

using std::chrono::system_clock;

/// "/usr/bin/curl (user alice)".
std::string who(const PinnedEntry& line) {
  if (!line.uid) return line.program + " (any user)";
  const passwd* const entry = ::getpwuid(*line.uid);
  return fmt::format("{} (user {})", line.program,
                     entry != nullptr ? entry->pw_name : std::to_string(*line.uid));
}

std::string text_of(const PinnedEntry& line, system_clock::time_point now) {
  const auto left = std::chrono::ceil<std::chrono::minutes>(line.until - now).count();
  return base::printable(
             fmt::format("{} to {}: passes undecrypted for {} more minute{}, because it refused "
                         "osproxy's certificate {} time{} ({})",
                         who(line), line.host, left, left == 1 ? "" : "s", line.failures,
                         line.failures == 1 ? "" : "s", line.refusal)) +
         "\n";
}

}  // namespace

base::Result<int> learned_command(const Invocation& invocation) {
  const auto user = divert::invoking_user();
  if (!user) return user.error();
  // The files are the user's own: root opens no path of a user's.
  if (const auto became = become_caller(invocation); !became) return became.error();
  const std::string directory = pinning_directory(user->home);
  const auto now = system_clock::now();
  const std::string& item = invocation.typed.forget;
  if (item.empty()) {
    const auto lines = read_pinned(directory, now);
    for (const auto& line : lines) fmt::print("{}", text_of(line, now));
    if (lines.empty())
      fmt::print(
          "nothing learned: in no running osproxy of {}'s has a program refused the certificate\n",
          base::printable(user->name));
    return 0;
  }
  const auto gone = forget_pinned(directory, item, now);
  // A program that is started right after this command must be intercepted.
  if (!gone.empty()) std::this_thread::sleep_for(2 * kForgottenCheck);
  for (const auto& line : gone) {
    fmt::print("{}\n", base::printable(
                           fmt::format("{} to {}: is intercepted again", who(line), line.host)));
  }
  if (gone.empty())
    return base::failure(
        "nothing learned names the host or the program '{}'; osproxy learned lists what there is",
        base::printable(item));
  return 0;
}

}  // namespace mitm::cli
