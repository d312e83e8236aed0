// What has to be undone on this machine, on disk before it is done. pf has no owner who could be
// asked: when everything of osproxy is killed at once, this file is what is left to put things
// right from.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "base/fd.h"

namespace pfctl {

inline constexpr const char* kJournalPath = "/var/run/osproxy/state.json";

struct Undo {
  enum class Kind : std::uint8_t {
    flush_anchor,      ///< value: empty
    release_token,     ///< the number that `pfctl -E` gave; empty: it was not known yet
    restore_main,      ///< the main ruleset as it was
    disable_pf,        ///< empty
    remove_alias,      ///< an address of lo0
    destroy_loopback,  ///< an interface of our own: its name
    set_mtu,           ///< of lo0, as it was
    unload_module,     ///< a name as for kldunload(8)
  };

  Kind kind = Kind::flush_anchor;
  std::string value;

  bool operator==(const Undo&) const = default;
};

/// In the order in which it was done: to be undone from the end.
struct Journal {
  long pid = 0;  ///< the process that did it; 0: nothing was done
  std::vector<Undo> undo;

  bool operator==(const Journal&) const = default;
};

/// JSON. Bytes of a value that are not UTF-8 are replaced.
std::string render_journal(const Journal& journal);

/// Errors: not JSON of this kind, an unknown kind, a value that its kind cannot have.
[[nodiscard]] base::Result<Journal> parse_journal(std::string_view text);

/// Empty when there is no file. Errors: unreadable, corrupt; both say what to do.
[[nodiscard]] base::Result<Journal> read_journal(const std::string& path);

/// The file, and the right to change this machine's pf: a lock on a second file beside it that ends
/// with the process, however it ends. Close-on-exec; a forked child shares it.
class JournalFile {
 public:
  /// Makes the folder (0700) when it is missing. Error: another process has it open (names its pid;
  /// os_code EWOULDBLOCK).
  [[nodiscard]] static base::Result<JournalFile> open(std::string path);

  [[nodiscard]] base::Result<Journal> read() const { return read_journal(path_); }

  /// On disk (0600) when it returns. Without anything to undo the file is removed.
  [[nodiscard]] base::Result<> write(const Journal& journal) const;

  /// Gives up the right; a forked child's part of it.
  void abandon() { lock_.reset(); }

 private:
  JournalFile(std::string path, base::UniqueFd lock)
      : path_(std::move(path)), lock_(std::move(lock)) {}

  std::string path_;
  base::UniqueFd lock_;
};

/// The process that has the journal open: 0 when there is neither one nor a journal, kNoOwner
/// (rules_owner.h) when a journal was left behind, kUnseenOwner when the owner has written nothing
/// yet.
[[nodiscard]] base::Result<long> journal_owner(const std::string& path);

}  // namespace pfctl
