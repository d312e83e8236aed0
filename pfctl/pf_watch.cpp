#include "pfctl/pf_watch.h"

#include <algorithm>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>

#include <unistd.h>

#include "base/fd.h"
#include "pfctl/pf_machine.h"
#include "pfctl/pf_query.h"

namespace pfctl {
namespace {

/// Every so often all is looked at, whatever the checksum says.
constexpr int kWholeViewEvery = 5;
constexpr std::chrono::milliseconds kEnd{500};
/// Of the usual distance between two looks: that to the second one, and the longest one between two
/// attempts.
constexpr int kSecondLookAfter = 3;
constexpr int kLongestPause = 20;

using Clock = std::chrono::steady_clock;

/// What of `pfctl -v -s info` changes only when pf is changed, and this machine's addresses;
/// empty: pf cannot be asked.
std::string pulse_of(const Machine& machine) {
  const auto info = machine.run({kPfctl, "-v", "-s", "info"}, {});
  if (!info || info->status != 0) return {};
  const auto enabled = parse_enabled(info->out);
  if (!enabled) return {};
  const auto addresses = query_addresses(machine);
  if (!addresses) return {};
  std::string pulse = fmt::format("{} {}", *enabled, parse_checksum(info->out));
  for (const auto& each : *addresses) pulse += " " + each.to_string();
  return pulse;
}

}  // namespace

struct PfWatch::Shared {
  Machine machine;
  std::chrono::milliseconds every{};
  base::Pipe pipe;
  std::mutex mutex;
  std::condition_variable wakened;
  bool stopping = false;
  bool ended = false;
  bool told = false;  ///< the pipe is readable
  PfView good;
  std::string pulse;                     ///< that goes with `good`; empty: not known yet
  unsigned expected = 0;                 ///< how often `good` was set
  int rounds = 0;                        ///< since the last whole view
  std::optional<PfView> changed;         ///< what the last look saw, and the one before did not
  std::optional<Clock::time_point> due;  ///< `good` is not: when to tell it again
  std::chrono::milliseconds pause{};     ///< until then

  [[nodiscard]] std::chrono::milliseconds wait() const {
    return changed ? every / kSecondLookAfter : every;
  }

  /// Without the lock: programs are run. Empty: nothing that has to be compared.
  [[nodiscard]] std::optional<PfView> look(const std::string& known, bool whole,
                                           std::string& pulse_now) const {
    pulse_now = pulse_of(machine);
    if (!whole && pulse_now == known) return {};
    auto view = query_view(machine);
    return view ? std::move(*view) : PfView{};
  }
};

base::Result<std::unique_ptr<PfWatch>> PfWatch::start(Machine machine, PfView good,
                                                      std::chrono::milliseconds every) {
  auto pipe = base::make_pipe(base::Blocking::no);
  if (!pipe) return pipe.error();
  auto shared = std::make_shared<Shared>();
  shared->machine = std::move(machine);
  shared->every = every;
  shared->pause = every;
  shared->pipe = std::move(*pipe);
  shared->good = std::move(good);
  return std::unique_ptr<PfWatch>(new PfWatch(std::move(shared)));
}

PfWatch::PfWatch(std::shared_ptr<Shared> shared) : shared_(std::move(shared)) {
  std::thread([held = shared_] { run(*held); }).detach();
}

PfWatch::~PfWatch() {
  std::unique_lock lock(shared_->mutex);
  shared_->stopping = true;
  shared_->wakened.notify_all();
  shared_->wakened.wait_for(lock, kEnd, [&] { return shared_->ended; });
}

int PfWatch::descriptor() const {
  return shared_->pipe.out.get();
}

void PfWatch::expect(PfView good) {
  const std::scoped_lock lock(shared_->mutex);
  set_good(std::move(good));
  shared_->due.reset();
  shared_->pause = shared_->every;
}

void PfWatch::try_again(PfView found) {
  const std::scoped_lock lock(shared_->mutex);
  set_good(std::move(found));
  shared_->due = Clock::now() + shared_->pause;
  shared_->pause = std::min(2 * shared_->pause, kLongestPause * shared_->every);
}

void PfWatch::set_good(PfView good) {
  char told = 0;
  (void)!::read(shared_->pipe.out.get(), &told, 1);
  shared_->told = false;
  shared_->good = std::move(good);
  shared_->pulse.clear();
  shared_->changed.reset();
  ++shared_->expected;
}

void PfWatch::run(Shared& shared) {
  std::unique_lock lock(shared.mutex);
  while (!shared.wakened.wait_for(lock, shared.wait(), [&] { return shared.stopping; })) {
    if (shared.told) continue;
    const std::string known = shared.pulse;
    const unsigned expected = shared.expected;
    const bool due = shared.due && Clock::now() >= *shared.due;
    const bool whole = known.empty() || due || shared.changed || ++shared.rounds >= kWholeViewEvery;
    lock.unlock();
    std::string pulse;
    auto seen = shared.look(known, whole, pulse);
    lock.lock();
    // Something else is good by now: what was seen may be older.
    if (!seen || expected != shared.expected) continue;
    shared.rounds = 0;
    if (*seen == shared.good && !due) {
      shared.changed.reset();
      shared.pulse = std::move(pulse);
    } else if (shared.changed != seen) {
      shared.changed = std::move(seen);
    } else {
      shared.told = ::write(shared.pipe.in.get(), "", 1) == 1;
    }
  }
  shared.ended = true;
  shared.wakened.notify_all();
}

std::vector<std::string> put_right(PfSession& session, Ruleset& ruleset, Loaded& loaded,
                                   const Machine& machine, PfWatch& watch) {
  // Before anything is made of them: later changes are seen at the next look.
  const auto addresses = query_addresses(machine);
  // Where it fails, rules with the old ones do what they did.
  (void)follow_tunnels(machine, ruleset, loaded);
  auto lines = session.put_right(loaded);
  auto seen = query_view(machine);
  PfView view = seen ? std::move(*seen) : PfView{};
  // What others have done since the session looked is in it as well.
  const bool settled = session.is_settled(view, loaded);
  if (seen && addresses) view.addresses = *addresses;
  if (settled) {
    watch.expect(std::move(view));
  } else {
    watch.try_again(std::move(view));
  }
  return lines;
}

}  // namespace pfctl
