#include "mitm/cli/following_source.h"

#include <cerrno>
#include <chrono>
#include <deque>
#include <set>
#include <thread>

#include <fcntl.h>
#include <fmt/format.h>

#include "base/fd.h"
#include "base/text.h"
#include "mitm/cli/log_line.h"
#include "mitm/cli/session_directory.h"
#include "mitm/store/session_file.h"
#include "mitm/store/session_lock.h"
#include "mitm/store/session_reader.h"

namespace mitm::cli {
namespace {

using base::Result;

constexpr auto kLook = std::chrono::milliseconds{250};
/// A flow that is heard of so many flows before one that ends has ended, or lasts and is known.
constexpr std::int64_t kLateIds = 2000;

class FollowingSource final : public FlowSource {
 public:
  FollowingSource(std::string name, base::UniqueFd file,
                  std::unique_ptr<store::SessionReader> reader, query::Filter filter,
                  std::function<void()> before_waiting)
      : name_(std::move(name)),
        file_(std::move(file)),
        reader_(std::move(reader)),
        filter_(std::move(filter)),
        before_waiting_(std::move(before_waiting)) {}

  Result<std::optional<flow::Flow>> next() override {
    for (;;) {
      while (!ended_.empty()) {
        const std::int64_t id = ended_.front();
        ended_.pop_front();
        auto flow = reader_->flow(id, store::SessionReader::kWholeBody);
        if (!flow) return flow.error();
        if (*flow && filter_.matches(**flow)) return flow;
      }
      // Asked first: what its last batch brings is seen.
      const bool was_written = store::writer_of(file_.get()).has_value();
      if (auto looked = look(was_written); !looked) return looked.error();
      if (!ended_.empty()) continue;
      if (!was_written) return end();
      before_waiting_();
      waited_ = true;
      std::this_thread::sleep_for(kLook);
    }
  }
  [[nodiscard]] bool goes_on() const override { return !failed_; }

 private:
  std::optional<flow::Flow> end() {
    before_waiting_();
    log_line(waited_ ? name_ + ": the run that wrote it has ended"
                     : name_ + ": no run writes it: this is all of it",
             base::LogLevel::info);
    return std::nullopt;
  }

  /// Rows come at the end of their flow, in any order; those of flows that last come before that.
  Result<> look(bool was_written) {
    failed_ = true;
    store::Database& database = reader_->database();
    auto rows = database.prepare(
        fmt::format("SELECT id, state FROM flow WHERE id > {} ORDER BY id", newest_));
    if (!rows) return rows.error();
    auto state = database.prepare("SELECT state FROM flow WHERE id = ?");
    if (!state) return state.error();
    for (auto id = open_.begin(); id != open_.end();) {
      const auto known = state->bind(1, *id).step();
      if (!known) return known.error();
      const bool is_live = !*known || (was_written && state->number(0) == 0);
      state->reset();
      if (!is_live) ended_.push_back(*id);
      const bool is_given_up = !*known && *id < newest_ - kLateIds;
      id = is_live && !is_given_up ? std::next(id) : open_.erase(id);
    }
    for (;;) {
      const auto row = rows->step();
      if (!row) return row.error();
      if (!*row) break;
      const std::int64_t id = rows->number(0);
      // Gaps: flows that are under way, or that a ring has deleted.
      for (auto gap = std::max<std::int64_t>({newest_ + 1, id - kLateIds, 1}); gap < id; ++gap)
        open_.insert(gap);
      newest_ = id;
      if (was_written && rows->number(1) == 0)
        open_.insert(id);
      else
        ended_.push_back(id);
    }
    failed_ = false;
    return {};
  }

  std::string name_;
  base::UniqueFd file_;  ///< closed after the reader, whose locks closing it releases
  std::unique_ptr<store::SessionReader> reader_;
  query::Filter filter_;
  std::function<void()> before_waiting_;
  std::int64_t newest_ = 0;
  std::set<std::int64_t> open_;  ///< ids up to the newest that have not ended
  std::deque<std::int64_t> ended_;
  bool waited_ = false;
  bool failed_ = false;
};

}  // namespace

Result<std::unique_ptr<FlowSource>> open_following_source(const std::string& typed,
                                                          const query::Filter& filter,
                                                          std::function<void()> before_waiting) {
  const std::string path = find_session(typed);
  const std::string name = base::printable(path);
  base::UniqueFd file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (!file) return base::os_error("cannot open " + name, errno);
  if (!store::is_session(file.get())) return base::failure("--follow: {} is no session", name);
  auto reader = store::SessionReader::open(path);
  if (!reader) return reader.error();
  return std::make_unique<FollowingSource>(name, std::move(file), std::move(*reader), filter,
                                           std::move(before_waiting));
}

}  // namespace mitm::cli
