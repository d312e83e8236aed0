// sock_diag names the socket's inode; /proc says who holds it. Processes are asked in the order in
// which the answer is likely: just started ones, newest first; those that answered lately; those of
// the socket's user; all.
#include <algorithm>
#include <cerrno>
#include <deque>
#include <unordered_map>

#include <unistd.h>

#include "procmap/account_names.h"
#include "procmap/attribution.h"
#include "procmap/cgroup_path.h"
#include "procmap/diag_socket_linux.h"
#include "procmap/facts.h"
#include "procmap/io_uring_linux.h"
#include "procmap/proc_linux.h"
#include "procmap/process_list.h"

namespace procmap {
namespace {

using Clock = std::chrono::steady_clock;

/// Process ids that are asked as "just started"; more of them come after those that answered
/// lately.
constexpr pid_t kNewest = 32;
constexpr pid_t kNewLimit = 4096;
constexpr std::size_t kLately = 32;
/// Processes that are asked when there is no time for a search.
constexpr std::size_t kSoon = 6;
/// A descriptor is looked for around where the last one was, then among the low numbers, before the
/// whole table is read.
constexpr int kAround = 6;
constexpr int kLow = 24;

}  // namespace

class Attributor::State {
 public:
  State(Proc proc, DiagSocketFd diag)
      : proc_(std::move(proc)),
        facts_(proc_),
        rings_(proc_),
        diag_(std::move(diag)),
        last_pid_(proc_.last_pid()) {}

  Owner owner_of(const SocketQuery& sought, std::chrono::milliseconds limit) {
    Owner owner{socket_of(sought), nullptr};
    if (owner.socket && owner.socket->inode != 0) {
      const auto deadline = Clock::now() + limit;
      const pid_t pid = find_where_likely(*owner.socket, deadline);
      pid != 0 ? complete(owner, pid) : search_for(owner, deadline);
    }
    describe(owner);
    return owner;
  }

  std::vector<Owner> owners_of(std::span<const SocketQuery> sought,
                               std::chrono::milliseconds limit) {
    std::vector<Owner> owners;
    std::vector<std::size_t> missing;
    const auto start = Clock::now(), deadline = start + limit;
    for (const SocketQuery& one : sought) {
      Owner& owner = owners.emplace_back(Owner{socket_of(one), nullptr});
      if (!owner.socket || owner.socket->inode == 0) continue;
      // Of very many not even the likely places can be looked at: one walk finds them all.
      const bool soon = sought.size() == 1 || Clock::now() < start + limit / 2;
      const pid_t pid = soon ? find_where_likely(*owner.socket, start + limit / 2) : 0;
      if (pid == 0) missing.push_back(owners.size() - 1);
      complete(owner, pid);
    }
    if (missing.size() == 1) search_for(owners[missing.front()], deadline);
    if (missing.size() > 1) search_for(owners, missing, deadline);
    for (Owner& owner : owners) describe(owner);
    return owners;
  }

  CachedOwner cached_owner(const SocketQuery& sought) {
    Owner owner{socket_of(sought), nullptr};
    if (!owner.socket || owner.socket->inode == 0) {
      describe(owner);
      return {std::move(owner)};
    }
    const std::size_t looks = std::min(lately_.size(), kSoon);
    for (std::size_t i = 0; i < looks; ++i) {
      Lately& entry = lately_[i];
      if (!entry.folder) entry.folder = proc_.descriptors(entry.pid);
      const int descriptor = look_where_likely(entry.folder, entry.descriptor, owner.socket->inode);
      if (descriptor < 0) continue;
      if (!entry.stat) entry.stat = proc_.open_stat(entry.pid);
      const auto stat = Proc::read_stat(entry.stat);
      if (!stat) break;
      owner.process = facts_.kept(entry.pid, owner.socket->uid, *stat);
      owner.descriptor = entry.descriptor = descriptor;
      std::rotate(lately_.begin(), lately_.begin() + static_cast<std::ptrdiff_t>(i),
                  lately_.begin() + static_cast<std::ptrdiff_t>(i) + 1);
      if (owner.process) return {std::move(owner)};
      break;
    }
    return {{owner.socket, nullptr}, true};
  }

  void learn(const Owner& owner) {
    if (!owner.process || owner.descriptor < 0) return;
    remember(owner.process->id.pid, owner.descriptor);
    facts_.keep(owner.process);
  }

  std::shared_ptr<const ProcessFacts> facts_of(pid_t pid) { return facts_.facts_of(pid); }

  base::Result<std::vector<SocketRow>> table() {
    std::vector<SocketRow> rows;
    auto holders = all_holders(Clock::time_point::max());
    add_those_of_rings(holders, Clock::time_point::max());
    for (const Family family : {Family::v4, Family::v6}) {
      const auto sockets = diag_.dump(family);
      if (!sockets && family == Family::v6) break;  // a kernel without IPv6
      if (!sockets) return base::os_error("cannot list the TCP sockets", errno);
      for (const auto& socket : *sockets) {
        const auto holder = holders.by_inode.find(socket.facts.inode);
        rows.push_back(
            {socket.local,
             socket.remote,
             state_name(socket.state),
             {socket.facts,
              holder == holders.by_inode.end() ? nullptr : facts_.facts_of(holder->second.pid)}});
      }
    }
    return rows;
  }

 private:
  /// An inode of 0: the program has closed it, the kernel still works on it.
  std::optional<SocketFacts> socket_of(const SocketQuery& sought) {
    std::optional<DiagSocket> socket;
    if (sought.source.address().is_v4()) socket = diag_.exact(Family::v4, sought);
    if (!socket) socket = diag_.exact(Family::v6, sought);
    return socket ? std::optional{socket->facts} : std::nullopt;
  }

  /// What can be said of a socket whose process is not known.
  void describe(Owner& owner) {
    if (owner.process || !owner.socket) return;
    if (owner.socket->uid_known) owner.socket->user = names_.user(owner.socket->uid);
    owner.socket->cgroup = cgroups_.path_of(owner.socket->cgroup_id);
  }

  /// `pid`: the process that remember() was told of last; 0: none.
  void complete(Owner& owner, pid_t pid) {
    if (pid == 0) return;
    owner.process = facts_.facts_of(pid, owner.socket->uid);
    owner.descriptor = lately_.front().descriptor;
  }

  /// Where a process kept the socket that it was last asked about.
  struct Lately {
    pid_t pid = 0;
    int descriptor = 0;
    // Kept open where there is no time to open them again.
    Proc::Descriptors folder;
    base::UniqueFd stat;
  };

  /// 0: not there. Otherwise it is the first of those that answered lately.
  pid_t find_where_likely(const SocketFacts& socket, Clock::time_point deadline) {
    const pid_t newest = proc_.last_pid();
    // Numbers start again from the bottom after kernel.pid_max: then the last look is no limit.
    const pid_t oldest = std::max(newest >= last_pid_ ? last_pid_ + 1 : 1, newest - kNewLimit);
    last_pid_ = newest;
    pid_t pid = find_among_new(newest, std::max(oldest, newest - kNewest), socket.inode);
    if (pid == 0) pid = find_lately(socket.inode);
    if (pid == 0) pid = find_among_new(newest - kNewest - 1, oldest, socket.inode);
    return pid != 0 ? pid : of_ring(rings_.find_lately(socket.inode, deadline));
  }

  /// Processes started since the last look, from `newest` down to `oldest`. Threads are passed
  /// over: their processes come with their own numbers, here or later.
  pid_t find_among_new(pid_t newest, pid_t oldest, std::uint32_t inode) {
    for (pid_t pid = newest; pid >= oldest; --pid) {
      const auto status = proc_.status(pid);
      if (!status || status->tgid != pid) continue;
      if (find_in(pid, 0, inode)) return pid;
    }
    return 0;
  }

  /// The likely places of all of them before the whole table of any: reading one with thousands of
  /// descriptors takes milliseconds.
  pid_t find_lately(std::uint32_t inode) {
    for (const Look look : {Look::likely, Look::whole}) {
      for (std::size_t i = 0; i < lately_.size(); ++i) {
        const pid_t pid = lately_[i].pid;
        if (find_in(pid, lately_[i].descriptor, inode, look)) return pid;
      }
    }
    return 0;
  }

  void search_for(Owner& owner, Clock::time_point deadline) {
    const auto pid = find_among_all(*owner.socket, deadline);
    owner.in_time = pid.has_value();
    if (pid != 0) return complete(owner, pid.value_or(0));
    complete(owner, of_ring(rings_.find(owner.socket->inode, deadline, owner.in_time)));
  }

  /// Those of `owners` that are `missing`, by number.
  void search_for(std::vector<Owner>& owners, std::span<const std::size_t> missing,
                  Clock::time_point deadline) {
    Holders holders = all_holders(deadline);
    const auto is_held = [&](std::size_t i) {
      return holders.by_inode.contains(owners[i].socket->inode);
    };
    if (!std::ranges::all_of(missing, is_held)) add_those_of_rings(holders, deadline);
    for (const std::size_t i : missing) {
      const auto found = holders.by_inode.find(owners[i].socket->inode);
      if (found == holders.by_inode.end()) {
        owners[i].in_time = holders.all;
        continue;
      }
      remember(found->second.pid, found->second.descriptor);
      complete(owners[i], found->second.pid);
    }
  }

  pid_t of_ring(const std::optional<Rings::Ring>& ring) {
    if (!ring) return 0;
    remember(ring->pid, ring->descriptor);
    return ring->pid;
  }

  /// 0: no process holds it. Empty: the time is over.
  std::optional<pid_t> find_among_all(const SocketFacts& socket, Clock::time_point deadline) {
    const auto pids = proc_.pids();
    for (const bool of_its_user : {true, false}) {
      for (auto pid = pids.rbegin(); pid != pids.rend(); ++pid) {
        if (Clock::now() > deadline) return std::nullopt;
        const auto owner = proc_.owner(*pid);
        if (!owner || (*owner == socket.uid) != of_its_user) continue;
        if (find_in(*pid, 0, socket.inode)) return *pid;
      }
    }
    for (const pid_t pid : pids) {
      if (Clock::now() > deadline) return std::nullopt;
      if (find_in_threads(pid, socket.inode)) return pid;
    }
    return 0;
  }

  /// Threads can have descriptors that their process has not (unshare(2), CLONE_FILES).
  bool find_in_threads(pid_t pid, std::uint32_t inode) {
    for (const pid_t thread : proc_.threads_apart(pid)) {
      const auto descriptors = proc_.descriptors(thread);
      for (const int number : descriptors ? descriptors.numbers() : std::vector<int>{}) {
        if (descriptors.socket_at(number) != inode) continue;
        remember(pid, number);
        return true;
      }
    }
    return false;
  }

  enum class Look { likely, whole };

  bool find_in(pid_t pid, int near, std::uint32_t inode, Look look = Look::whole) {
    const auto descriptors = proc_.descriptors(pid);
    if (!descriptors) return false;
    int descriptor = look_where_likely(descriptors, near, inode);
    if (descriptor < 0 && look == Look::whole)
      descriptor = look_everywhere(pid, descriptors, inode);
    if (descriptor < 0) return false;
    remember(pid, descriptor);
    return true;
  }

  /// A new socket takes the lowest free number: beside the one before it (`near`; 0: there was
  /// none), or, in a full table, at its end, or low. A small table is read whole just as fast, when
  /// nothing is known of it.
  static int look_where_likely(const Proc::Descriptors& descriptors, int near,
                               std::uint32_t inode) {
    const auto look = [&](int first, int last) {
      for (int i = std::max(first, 0); i <= last; ++i) {
        if (descriptors.socket_at(i) == inode) return i;
      }
      return -1;
    };
    int found = -1;
    if (near > 0) found = look(near, near + kAround);
    if (found < 0 && near > 0) found = look(near - kAround, near - 1);
    if (found >= 0) return found;
    const int count = descriptors.count();
    if (count > kLow) found = look(count - kAround, count + kAround);
    if (found < 0 && (near > 0 || count > kLow)) found = look(3, kLow);
    return found;
  }

  int look_everywhere(pid_t pid, const Proc::Descriptors& descriptors, std::uint32_t inode) {
    const auto numbers = descriptors.numbers();
    if (numbers.empty()) {
      // The descriptors went with the first thread; another thread still has them.
      const pid_t thread = proc_.thread_of_zombie(pid);
      const auto its = thread != 0 ? proc_.descriptors(thread) : Proc::Descriptors{};
      return its ? look_everywhere(thread, its, inode) : -1;
    }
    const auto hit = std::find_if(numbers.rbegin(), numbers.rend(), [&](int number) {
      return descriptors.socket_at(number) == inode;
    });
    return hit == numbers.rend() ? -1 : *hit;
  }

  void remember(pid_t pid, int descriptor) {
    const auto known = std::ranges::find(lately_, pid, &Lately::pid);
    if (known != lately_.end()) lately_.erase(known);
    lately_.push_front({pid, descriptor, {}, {}});
    // Only those that are asked soon keep anything open.
    if (lately_.size() > kSoon) {
      lately_[kSoon].folder = {};
      lately_[kSoon].stat.reset();
    }
    if (lately_.size() > kLately) lately_.pop_back();
  }

  /// Every socket's holder; of several the one with the lowest pid, which is usually the one that
  /// shared it.
  struct Holder {
    pid_t pid = 0;
    int descriptor = 0;
  };
  struct Holders {
    std::unordered_map<std::uint32_t, Holder> by_inode;
    std::vector<std::pair<Rings::Ring, pid_t>> rings;  ///< and whose: not looked into yet
    bool all = true;  ///< false: the time was over before every process had been asked
  };

  Holders all_holders(Clock::time_point deadline) {
    Holders holders;
    for (const pid_t pid : proc_.pids()) {
      if (Clock::now() > deadline) {
        holders.all = false;
        break;
      }
      if (!add_sockets(pid, pid, holders)) {
        if (const pid_t thread = proc_.thread_of_zombie(pid)) add_sockets(thread, pid, holders);
      }
      for (const pid_t thread : proc_.threads_apart(pid)) add_sockets(thread, pid, holders);
    }
    return holders;
  }

  /// Those of `task` as those of process `pid`. False: it has no descriptors.
  bool add_sockets(pid_t task, pid_t pid, Holders& holders) {
    const auto descriptors = proc_.descriptors(task);
    const auto numbers = descriptors ? descriptors.numbers() : std::vector<int>{};
    for (const int number : numbers) {
      const auto file = descriptors.file_at(number);
      if (file.socket) holders.by_inode.emplace(file.socket, Holder{pid, number});
      if (file.ring) holders.rings.push_back({{task, number}, pid});
    }
    return !numbers.empty();
  }

  /// Takes longer than all descriptors do where programs have many rings.
  void add_those_of_rings(Holders& holders, Clock::time_point deadline) {
    for (const auto& [ring, pid] : holders.rings) {
      if (Clock::now() > deadline) {
        holders.all = false;
        return;
      }
      for (const auto inode : rings_.sockets_of(ring, deadline))
        holders.by_inode.emplace(inode, Holder{pid, ring.descriptor});
    }
  }

  Proc proc_;
  FactsCache facts_;
  Rings rings_;
  AccountNames names_;
  CgroupPaths cgroups_;
  DiagSocketFd diag_;
  pid_t last_pid_ = 0;
  std::deque<Lately> lately_;
};

base::Result<Attributor> Attributor::open() {
  auto proc = Proc::open();
  if (!proc) return proc.error();
  auto diag = DiagSocketFd::open();
  if (!diag) return diag.error();
  return Attributor{std::make_unique<State>(std::move(*proc), std::move(*diag))};
}

Attributor::Attributor(std::unique_ptr<State> state) : state_(std::move(state)) {}
Attributor::Attributor(Attributor&&) noexcept = default;
Attributor& Attributor::operator=(Attributor&&) noexcept = default;
Attributor::~Attributor() = default;

Owner Attributor::owner_of(const SocketQuery& sought, std::chrono::milliseconds limit) {
  return state_->owner_of(sought, limit);
}

std::vector<Owner> Attributor::owners_of(std::span<const SocketQuery> sought,
                                         std::chrono::milliseconds limit) {
  return state_->owners_of(sought, limit);
}

CachedOwner Attributor::cached_owner(const SocketQuery& sought) {
  return state_->cached_owner(sought);
}

void Attributor::learn(const Owner& owner) {
  state_->learn(owner);
}

std::shared_ptr<const ProcessFacts> Attributor::facts_of(pid_t pid) {
  return state_->facts_of(pid);
}

std::vector<pid_t> live_processes() {
  const auto proc = Proc::open();
  return proc ? proc->pids() : std::vector<pid_t>{};
}

base::Result<std::vector<SocketRow>> socket_table(Attributor& attributor) {
  return attributor.state_->table();
}

}  // namespace procmap
