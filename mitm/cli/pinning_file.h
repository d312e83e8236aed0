// The programs that pass in the runs of a user because they refused the certificate. One file for
// each run, in ~/.local/state/osproxy: made by the run's config loader, written by its worker,
// shortened by `osproxy learned --forget`.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include <sys/types.h>

#include "base/error.h"
#include "base/fd.h"
#include "base/user.h"
#include "mitm/intercept/context/pinning_cache.h"

namespace mitm::cli {

/// An entry as the file has it.
struct PinnedEntry {
  std::string program;
  std::string host;
  std::string refusal;
  unsigned failures = 0;
  std::chrono::system_clock::time_point until;
  /// Owner of the program; empty: any user (files of older versions).
  std::optional<uid_t> uid{};

  bool operator==(const PinnedEntry&) const = default;
};
std::string render_pinned(const std::vector<PinnedEntry>& lines);
/// An empty file is an empty list.
[[nodiscard]] base::Result<std::vector<PinnedEntry>> parse_pinned(std::string_view text);

std::string pinning_directory(const std::string& home);
/// With the caller's rights: the empty file of the run whose broker is `pid`, which must not be
/// read by others.
[[nodiscard]] base::Result<base::UniqueFd> create_pinning_file(const std::string& directory,
                                                               pid_t pid);

/// For a run that has ended, by root: takes its file away, with the rights of `user`. Waits for a
/// second at most: the home may be on a disk that does not answer.
void remove_pinning_file(const base::User& user);

/// A run's end of the file. Blocks as long as the file system does.
class PinningFile {
 public:
  PinningFile(base::UniqueFd file, std::shared_ptr<intercept::PinningCache> cache)
      : file_(std::move(file)), cache_(std::move(cache)) {}
  PinningFile(const PinningFile&) = delete;
  PinningFile& operator=(const PinningFile&) = delete;
  ~PinningFile();  ///< empties it: the run has ended

  /// Forgets the entries that `osproxy learned` removed from the file, and adds the new ones.
  void sync(intercept::PinningCache::Time now);
  /// True if sync() must be called again even without a change in the cache: the file has entries,
  /// which may be removed, or a change is not written yet.
  [[nodiscard]] bool is_watched(intercept::PinningCache::Time now) const;

 private:
  base::UniqueFd file_;
  std::shared_ptr<intercept::PinningCache> cache_;
  std::vector<PinnedEntry> written_;
  std::uint64_t version_ = 0;
};

/// Keeps the file on a thread of its own: a home that does not answer (NFS) holds no connection up.
class PinningFileThread {
 public:
  PinningFileThread(base::UniqueFd file, std::shared_ptr<intercept::PinningCache> cache);
  PinningFileThread(const PinningFileThread&) = delete;
  PinningFileThread& operator=(const PinningFileThread&) = delete;
  /// Waits until the file is emptied, for a second at most.
  ~PinningFileThread();

  /// Starts the thread, if there is a file; to be called once. No fork(2) from then on.
  void start();
  /// For PinningCache::on_change(): has the file written soon. May be called from any thread, also
  /// when this object is gone.
  [[nodiscard]] std::function<void()> on_change() const;

 private:
  struct Shared;
  std::shared_ptr<Shared> shared_;
};

/// What all runs pass at `now`. Files of runs that have died are removed.
[[nodiscard]] std::vector<PinnedEntry> read_pinned(const std::string& directory,
                                                   std::chrono::system_clock::time_point now);
/// How often runs look for removed entries.
inline constexpr std::chrono::milliseconds kForgottenCheck{100};

/// Takes the entries out whose host or program is `item` ("all": every one) and returns them; their
/// runs follow at their next look.
[[nodiscard]] std::vector<PinnedEntry> forget_pinned(const std::string& directory,
                                                     std::string_view item,
                                                     std::chrono::system_clock::time_point now);

}  // namespace mitm::cli
