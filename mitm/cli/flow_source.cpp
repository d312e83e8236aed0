#include "mitm/cli/flow_source.h"

#include <array>
#include <cerrno>
#include <span>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/text.h"
#include "mitm/cli/error_codes.h"
#include "mitm/cli/session_directory.h"
#include "mitm/cli/session_flows.h"
#include "mitm/format/flow_file.h"
#include "mitm/store/session_file.h"
#include "mitm/view/order.h"

namespace mitm::cli {
namespace {

using base::Result;

class SessionSource final : public FlowSource {
 public:
  static Result<std::unique_ptr<FlowSource>> open(const std::string& path,
                                                  const query::Filter& filter,
                                                  const view::Order& order, Progress& progress) {
    auto flows =
        SessionFlows::open(path, filter, [&progress](std::uint64_t asked, std::uint64_t added) {
          progress.looked_at(asked, added);
        });
    if (!flows) return flows.error();
    std::unique_ptr<SessionSource> source{new SessionSource{std::move(*flows)}};
    sqlite3_progress_handler(source->database().handle(), 100'000, show_progress, &progress);
    if (auto selected = source->select(order); !selected) return selected.error();
    return source;
  }

  Result<std::optional<flow::Flow>> next() override {
    for (;;) {
      auto flow = flows_->next();
      if (flow && *flow) return flow;
      if (flow) break;
      damaged_ = true;
      ++lost_;
    }
    if (std::exchange(damaged_, false)) return damage();
    return std::nullopt;
  }
  [[nodiscard]] bool goes_on() const override { return true; }

 private:
  explicit SessionSource(std::unique_ptr<SessionFlows> flows)
      : flows_(std::move(flows)), damaged_(flows_->reader().is_cut_off()) {}

  store::Database& database() { return flows_->reader().database(); }

  /// While SQLite works, every so many of its steps.
  static int show_progress(void* progress) {
    static_cast<Progress*>(progress)->show();
    return 0;
  }

  Result<> select(const view::Order& order) {
    auto selected = flows_->select("1", order.sql());
    if (selected) return selected;
    damaged_ = damaged_ || store::is_damage(selected.error());
    return damaged_ ? salvage() : selected;
  }

  base::Error damage() {
    const std::string rest = lost_ == 0 ? "" : fmt::format(", {} could not be read", lost_);
    return base::failure("{}: the file is damaged; the flows that are whole were read{}",
                         base::printable(database().path()), rest);
  }

  /// The ids of what can be read, beside the pages that cannot; all of them are asked.
  Result<> salvage() {
    constexpr std::int64_t kMost = std::int64_t{1} << 31;
    auto rows = database().prepare("SELECT id FROM flow WHERE id >= ? ORDER BY id");
    if (!rows) return rows.error();
    const auto is_readable = [&](std::int64_t from) {
      const bool good = rows->bind(1, from).step().has_value();
      rows->reset();
      return good;
    };
    for (std::int64_t next = 1; next < kMost;) {
      rows->bind(1, next);
      auto row = rows->step();
      for (; row && *row; row = rows->step()) {
        flows_->add(rows->number(0));
        next = rows->number(0) + 1;
      }
      if (row) return {};
      std::int64_t bad = next, good = next + 1;
      while (good < kMost && !is_readable(good)) {
        bad = good;
        good += good - next + 1;
      }
      while (good < kMost && bad + 1 < good) {
        const std::int64_t middle = bad + (good - bad) / 2;
        (is_readable(middle) ? good : bad) = middle;
      }
      next = good;
    }
    return {};
  }

  std::unique_ptr<SessionFlows> flows_;
  bool damaged_;
  std::uint64_t lost_ = 0;
};

/// A file that is being read.
struct OpenFile {
  base::UniqueFd fd;
  std::string name;
  std::uint64_t size = 0;  ///< 0: unknown
  std::uint64_t done = 0;
};

class FileSource final : public FlowSource {
 public:
  FileSource(std::shared_ptr<const OpenFile> file, std::unique_ptr<format::FlowReader> reader,
             query::Filter filter, Progress& progress)
      : file_(std::move(file)),
        reader_(std::move(reader)),
        filter_(std::move(filter)),
        progress_(progress) {}

  Result<std::optional<flow::Flow>> next() override {
    for (;;) {
      auto flow = reader_->next();
      if (!flow)
        return base::Error{fmt::format("{}: {}", file_->name, flow.error().text),
                           flow.error().os_code};
      progress_.looked_at(file_->done, file_->size);
      if (!*flow || filter_.matches(**flow)) return flow;
    }
  }
  [[nodiscard]] bool goes_on() const override { return reader_->goes_on(); }

 private:
  std::shared_ptr<const OpenFile> file_;
  std::unique_ptr<format::FlowReader> reader_;
  query::Filter filter_;
  Progress& progress_;
};

std::shared_ptr<OpenFile> open_file(base::UniqueFd fd, std::string name) {
  struct stat facts {};
  const bool regular = ::fstat(fd.get(), &facts) == 0 && S_ISREG(facts.st_mode);
  return std::make_shared<OpenFile>(OpenFile{
      std::move(fd), std::move(name), regular ? static_cast<std::uint64_t>(facts.st_size) : 0});
}

format::ByteSource bytes_of(std::shared_ptr<OpenFile> file) {
  return [file = std::move(file)](std::span<char> room) -> Result<std::size_t> {
    for (;;) {
      const ssize_t n = ::read(file->fd.get(), room.data(), room.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return base::os_error("cannot read " + file->name, errno);
      file->done += static_cast<std::uint64_t>(n);
      return static_cast<std::size_t>(n);
    }
  };
}

}  // namespace

Result<std::unique_ptr<FlowSource>> open_flow_source(const std::string& typed,
                                                     const query::Filter& filter,
                                                     const std::string& sort, Progress& progress) {
  const auto order = view::parse_order(sort);
  const std::string path = find_session(typed);
  if (!order) return base::Error{"--sort: " + order.error().text, kUsageError};
  const std::string name = path == "-" ? "standard input" : base::printable(path);
  base::UniqueFd fd{path == "-" ? ::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)
                                : ::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (!fd) return base::os_error("cannot open " + name, errno);
  if (store::is_session(fd.get())) {
    fd.reset();  // closed later, it would take SQLite's locks along (fcntl(2))
    return SessionSource::open(path, filter, *order, progress);
  }
  if (!sort.empty())
    return base::failure("--sort: {} is no session; make one of it with: osproxy import", name);
  const auto source = open_file(std::move(fd), name);
  auto file = format::open_flow_file(bytes_of(source));
  if (!file)
    return base::Error{fmt::format("{}: {}", name, file.error().text), file.error().os_code};
  return std::make_unique<FileSource>(source, std::move(file->reader), filter, progress);
}

}  // namespace mitm::cli
