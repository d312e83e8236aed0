#include "mitm/cli/following_source.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <set>
#include <thread>

#include <fcntl.h>
#include <fmt/format.h>

#include "base/fd.h"
#include "base/text.h"
#include "mitm/cli/log_line.h"
#include "mitm/cli/session_directory.h"
#include "mitm/cli/session_flows.h"
#include "mitm/store/session_file.h"
#include "mitm/store/session_lock.h"

namespace mitm::cli {
namespace {

using base::Result;

constexpr auto kLook = std::chrono::milliseconds{250};

/// Rows come in the order of their ids; those of flows that last come before the flow has ended.
class FollowingSource final : public FlowSource {
 public:
  FollowingSource(std::string name, base::UniqueFd file, std::unique_ptr<SessionFlows> flows,
                  std::function<void()> before_waiting)
      : name_(std::move(name)),
        file_(std::move(file)),
        flows_(std::move(flows)),
        before_waiting_(std::move(before_waiting)) {}

  Result<std::optional<flow::Flow>> next() override {
    for (;;) {
      auto flow = flows_->next();
      if (!flow || *flow) return flow;
      if (is_over()) return end();
      if (writer_ == Writer::writes) {
        before_waiting_();
        std::this_thread::sleep_for(kLook);
      }
      // Asked first: what its last batch brings is seen.
      if (store::writer_of(file_.get()))
        writer_ = Writer::writes;
      else
        writer_ = writer_ == Writer::unknown ? Writer::none : Writer::has_ended;
      if (auto looked = look(); !looked) {
        failed_ = true;
        return looked.error();
      }
    }
  }
  [[nodiscard]] bool goes_on() const override { return !failed_; }

 private:
  enum class Writer : std::uint8_t { unknown, writes, has_ended, none };

  [[nodiscard]] bool is_over() const {
    return writer_ == Writer::has_ended || writer_ == Writer::none;
  }

  std::optional<flow::Flow> end() {
    before_waiting_();
    log_line(writer_ == Writer::has_ended ? name_ + ": the run that wrote it has ended"
                                          : name_ + ": no run writes it: this is all of it",
             base::LogLevel::info);
    return std::nullopt;
  }

  /// At what has ended since it was looked at last. All of one moment: a flow that ends in between
  /// would be in neither.
  Result<> look() {
    store::Database& database = flows_->reader().database();
    const auto moment = store::ReadTransaction::begin(database);
    if (!moment) return moment.error();
    if (auto done = add_ended(database); !done) return done.error();
    const std::string new_ones = fmt::format("flow.id > {}", newest_);
    // What is live although nothing writes it was interrupted.
    const std::string has_ended = is_over() ? "1" : "flow.state <> 0";
    if (auto done = flows_->select(new_ones + " AND " + has_ended, "flow.id"); !done) return done;
    const auto newest = database.number("SELECT max(id) FROM flow");
    if (!newest) return newest.error();
    if (!is_over()) {
      if (auto done = add_live(database, new_ones); !done) return done.error();
    }
    newest_ = std::max(newest_, newest->value_or(0));
    return {};
  }

  /// Of those that were live.
  Result<> add_ended(store::Database& database) {
    auto state = database.prepare("SELECT state FROM flow WHERE id = ?");
    if (!state) return state.error();
    for (auto id = live_.begin(); id != live_.end();) {
      const auto known = state->bind(1, *id).step();
      if (!known) return known.error();
      const bool is_live = *known && !is_over() && state->number(0) == 0;
      state->reset();
      if (!is_live) flows_->add(*id);
      id = is_live ? std::next(id) : live_.erase(id);
    }
    return {};
  }

  Result<> add_live(store::Database& database, std::string_view new_ones) {
    auto live =
        database.prepare(fmt::format("SELECT id FROM flow WHERE state = 0 AND {}", new_ones));
    if (!live) return live.error();
    for (;;) {
      const auto row = live->step();
      if (!row) return row.error();
      if (!*row) return {};
      live_.insert(live->number(0));
    }
  }

  std::string name_;
  base::UniqueFd file_;  ///< closed after the reader, whose locks closing it releases
  std::unique_ptr<SessionFlows> flows_;
  std::function<void()> before_waiting_;
  std::int64_t newest_ = 0;
  std::set<std::int64_t> live_;  ///< ids up to the newest of flows that have not ended
  Writer writer_ = Writer::unknown;
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
  if (!store::is_session(file.get()))
    return base::failure(
        "--follow: {} is no session, as run and exec write it with --save; to read what is in it, "
        "leave out --follow",
        name);
  auto flows = SessionFlows::open(path, filter, {});
  if (!flows) return flows.error();
  return std::make_unique<FollowingSource>(name, std::move(file), std::move(*flows),
                                           std::move(before_waiting));
}

}  // namespace mitm::cli
