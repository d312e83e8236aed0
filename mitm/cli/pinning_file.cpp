// A file instead of a control socket: what the user may read and shorten needs no protocol and no
// listener in the worker. Both sides lock it (flock) and keep its inode.
#include "mitm/cli/pinning_file.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <condition_variable>
#include <filesystem>
#include <functional>
#include <iterator>
#include <mutex>
#include <optional>
#include <system_error>
#include <thread>

#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/signals_blocked.h"

namespace mitm::cli {
namespace {

using intercept::PinningCache;
using nlohmann::json;
using Time = std::chrono::system_clock::time_point;
using Lines = std::vector<PinnedEntry>;

constexpr std::size_t kMaxFile = 4 << 20;
constexpr std::string_view kPrefix = "learned-", kSuffix = ".json";

/// Held until its end; false: another process has it.
class Lock {
 public:
  Lock(int fd, bool wait) : fd_(fd), held_(::flock(fd, LOCK_EX | (wait ? 0 : LOCK_NB)) == 0) {}
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;
  ~Lock() {
    if (held_) ::flock(fd_, LOCK_UN);
  }
  explicit operator bool() const { return held_; }

 private:
  int fd_;
  bool held_;
};

std::optional<Lines> load(int fd) {
  struct stat facts {};
  if (::fstat(fd, &facts) != 0 || static_cast<std::size_t>(facts.st_size) > kMaxFile)
    return std::nullopt;
  std::string text(static_cast<std::size_t>(facts.st_size), '\0');
  const ssize_t got = ::pread(fd, text.data(), text.size(), 0);
  if (got != static_cast<ssize_t>(text.size())) return std::nullopt;
  auto lines = parse_pinned(text);
  if (!lines) return std::nullopt;
  return std::move(*lines);
}

bool store(int fd, const Lines& lines) {
  const std::string text = lines.empty() ? std::string() : render_pinned(lines);
  if (::ftruncate(fd, 0) != 0) return false;
  return ::pwrite(fd, text.data(), text.size(), 0) == static_cast<ssize_t>(text.size());
}

Lines lines_of(const PinningCache& cache, Time now) {
  Lines lines;
  for (auto& entry : cache.list(now)) {
    lines.push_back({std::move(entry.program), std::move(entry.host),
                     std::string{to_string(entry.refusal)}, entry.failures,
                     std::chrono::floor<std::chrono::seconds>(entry.until), entry.uid});
  }
  return lines;
}

bool names_same(const PinnedEntry& a, const PinnedEntry& b) {
  return a.uid == b.uid && a.program == b.program && a.host == b.host;
}

/// Process id in a file's name; 0: it is no such file.
pid_t pid_of(const std::string& name) {
  if (!name.starts_with(kPrefix) || !name.ends_with(kSuffix)) return 0;
  const char* const first = name.data() + kPrefix.size();
  const char* const last = name.data() + name.size() - kSuffix.size();
  pid_t pid = 0;
  const auto [end, error] = std::from_chars(first, last, pid);
  return error == std::errc{} && end == last ? pid : 0;
}

std::string path_of(const std::string& directory, pid_t pid) {
  return fmt::format("{}/{}{}{}", directory, kPrefix, pid, kSuffix);
}

bool lives(pid_t pid) {
  return ::kill(pid, 0) == 0 || errno == EPERM;
}

/// Calls `use` with the open file of each living run.
template <class Use>
void each_run(const std::string& directory, Use use) {
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(directory, error)) {
    const pid_t pid = pid_of(entry.path().filename().string());
    if (pid <= 0) continue;
    if (!lives(pid)) {
      ::unlink(entry.path().c_str());
      continue;
    }
    const base::UniqueFd file{::open(entry.path().c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW)};
    if (file) use(file.get());
  }
}

}  // namespace

std::string render_pinned(const Lines& lines) {
  json list = json::array();
  for (const auto& line : lines) {
    const auto until =
        std::chrono::duration_cast<std::chrono::seconds>(line.until.time_since_epoch());
    list.push_back({{"program", line.program},
                    {"host", line.host},
                    {"refusal", line.refusal},
                    {"failures", line.failures},
                    {"until", until.count()}});
    if (line.uid) list.back()["uid"] = *line.uid;
  }
  return list.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
}

base::Result<Lines> parse_pinned(std::string_view text) {
  Lines lines;
  if (text.empty()) return lines;
  const json list = json::parse(text, nullptr, false);
  if (!list.is_array()) return base::failure("not a list of what was learned");
  for (const auto& item : list) {
    const auto is_text = [&](const char* key) {
      return item.contains(key) && item[key].is_string();
    };
    const auto is_number = [&](const char* key) {
      return item.contains(key) && item[key].is_number_unsigned() &&
             item[key].get<std::uint64_t>() <= 0xffff'ffff;
    };
    const bool good = item.is_object() && is_text("program") && is_text("host") &&
                      is_text("refusal") && is_number("failures") && is_number("until") &&
                      (is_number("uid") || !item.contains("uid"));
    if (!good) return base::failure("entry {} is not one of osproxy's", lines.size() + 1);
    const auto until = std::chrono::seconds{item["until"].get<std::int64_t>()};
    std::optional<uid_t> uid;
    if (item.contains("uid")) uid = item["uid"].get<uid_t>();
    lines.push_back({item["program"], item["host"], item["refusal"],
                     item["failures"].get<unsigned>(), Time{until}, uid});
  }
  return lines;
}

std::string pinning_directory(const std::string& home) {
  return home + "/.local/state/osproxy";
}

void remove_pinning_file(const base::User& user) {
  constexpr int kTries = 100;
  const std::string path = path_of(pinning_directory(user.home), ::getpid());
  const pid_t child = ::fork();
  if (child == 0) {
    // As the user: a link in the home does not make root remove a file elsewhere.
    if (user.uid == ::geteuid() || base::become(user)) ::unlink(path.c_str());
    ::_exit(0);
  }
  for (int i = 0; child > 0 && i < kTries && ::waitpid(child, nullptr, WNOHANG) == 0; ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds{10});
}

base::Result<base::UniqueFd> create_pinning_file(const std::string& directory, pid_t pid) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) return base::os_error("cannot create " + directory, error.value());
  each_run(directory, [](int) {});
  const std::string path = path_of(directory, pid);
  ::unlink(path.c_str());  // of another run that had the number
  base::UniqueFd file{
      ::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600)};
  if (!file) return base::os_error("cannot create " + path, errno);
  return file;
}

PinningFile::~PinningFile() {
  if (!file_) return;
  const Lock lock{file_.get(), true};
  (void)store(file_.get(), {});
}

void PinningFile::sync(PinningCache::Time now) {
  if (!file_) return;
  const Lock lock{file_.get(), false};
  if (!lock) return;
  if (!written_.empty()) {
    const auto left = load(file_.get());
    if (!left) return;
    for (const auto& line : written_) {
      const auto same = [&](const PinnedEntry& other) { return names_same(line, other); };
      if (std::ranges::none_of(*left, same))
        cache_->forget({line.uid.value_or(0), line.program}, line.host);
    }
  }
  const auto version = cache_->version();
  if (version == version_) return;
  Lines lines = lines_of(*cache_, now);
  if (!store(file_.get(), lines)) return;
  written_ = std::move(lines);
  version_ = version;
}

bool PinningFile::is_watched(PinningCache::Time now) const {
  const auto passes = [now](const PinnedEntry& line) { return line.until >= now; };
  return file_ && (version_ != cache_->version() || std::ranges::any_of(written_, passes));
}

/// Outlives its PinningFileThread when the file system hangs.
struct PinningFileThread::Shared {
  std::optional<PinningFile> file;  ///< of the thread
  std::mutex mutex;
  std::condition_variable woken;
  bool changed = false;
  bool stopping = false;
  bool running = false;

  /// New entries are written at once; as long as there are entries, they may be removed.
  void run() {
    std::unique_lock lock{mutex};
    while (!stopping) {
      const auto is_due = [&] { return changed || stopping; };
      if (file->is_watched(std::chrono::system_clock::now())) {
        woken.wait_for(lock, kForgottenCheck, is_due);
      } else {
        woken.wait(lock, is_due);
      }
      changed = false;
      lock.unlock();
      file->sync(std::chrono::system_clock::now());
      lock.lock();
    }
    lock.unlock();
    file.reset();
    lock.lock();
    running = false;
    woken.notify_all();
  }

  void wake(bool stop) {
    const std::lock_guard lock{mutex};
    changed = true;
    stopping = stopping || stop;
    woken.notify_all();
  }
};

PinningFileThread::PinningFileThread(base::UniqueFd file, std::shared_ptr<PinningCache> cache)
    : shared_(std::make_shared<Shared>()) {
  if (file) shared_->file.emplace(std::move(file), std::move(cache));
}

PinningFileThread::~PinningFileThread() {
  shared_->wake(true);
  std::unique_lock lock{shared_->mutex};
  const bool ended =
      shared_->woken.wait_for(lock, std::chrono::seconds{1}, [this] { return !shared_->running; });
  lock.unlock();
  if (ended) shared_->file.reset();  // of a thread that was never started
}

void PinningFileThread::start() {
  if (!shared_->file) return;
  const base::SignalsBlocked inherited_by_the_thread;
  shared_->running = true;
  try {
    std::thread{[kept = shared_] { kept->run(); }}.detach();
  } catch (const std::system_error&) {
    shared_->running = false;  // nothing is listed, then
  }
}

std::function<void()> PinningFileThread::on_change() const {
  return [kept = shared_] { kept->wake(false); };
}

Lines read_pinned(const std::string& directory, Time now) {
  Lines all;
  each_run(directory, [&](int file) {
    const Lock lock{file, true};
    for (auto& line : load(file).value_or(Lines{})) {
      if (line.until >= now) all.push_back(std::move(line));
    }
  });
  return all;
}

Lines forget_pinned(const std::string& directory, std::string_view item, Time now) {
  Lines gone;
  each_run(directory, [&](int file) {
    const Lock lock{file, true};
    Lines lines = load(file).value_or(Lines{});
    const auto meant = [&](const PinnedEntry& line) {
      return item == "all" || line.host == item || line.program == item;
    };
    const auto rest = std::stable_partition(lines.begin(), lines.end(), std::not_fn(meant));
    if (rest == lines.end()) return;
    std::copy_if(rest, lines.end(), std::back_inserter(gone),
                 [&](const PinnedEntry& line) { return line.until >= now; });
    lines.erase(rest, lines.end());
    (void)store(file, lines);
  });
  return gone;
}

}  // namespace mitm::cli
