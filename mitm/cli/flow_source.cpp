#include "mitm/cli/flow_source.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <span>

#include <fcntl.h>
#include <fmt/format.h>
#include <sqlite3.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/text.h"
#include "mitm/cli/error_codes.h"
#include "mitm/format/flow_file.h"
#include "mitm/query/sql_functions.h"
#include "mitm/store/session_reader.h"

namespace mitm::cli {
namespace {

using base::Result;

/// How SQLite's files begin, with the zero.
constexpr std::string_view kSessionHeader{"SQLite format 3\0", 16};

struct Order {
  std::string_view name;
  std::string_view sql;
};
constexpr Order kOrders[] = {
    {"duration", "flow.duration"},
    {"host", "flow.host"},
    {"method", "flow.method"},
    {"process", "(SELECT name FROM process WHERE process.id = flow.process)"},
    {"size", "coalesce(flow.request_bytes, 0) + coalesce(flow.response_bytes, 0)"},
    {"status", "flow.status"},
    {"time", "flow.began"},
    {"type", "flow.type"},
    {"url", "flow.url"},
};

/// The ORDER BY of what was typed.
Result<std::string> order_of(std::string_view sort) {
  if (sort.empty()) return std::string("flow.id");
  const bool down = sort.front() == '-';
  const std::string_view name = sort.substr(down ? 1 : 0);
  const auto* const order = std::ranges::find(kOrders, name, &Order::name);
  if (order != std::end(kOrders))
    return fmt::format("{}{}, flow.id", order->sql, down ? " DESC" : "");
  std::vector<std::string_view> names;
  for (const Order& one : kOrders) names.push_back(one.name);
  return base::Error{fmt::format("--sort: expected {}, or one of them behind a -, found '{}'",
                                 fmt::join(names, ", "), base::printable(sort)),
                     kUsageError};
}

/// Reads the ids at once, then flow by flow: no statement is open for long.
class SessionSource final : public FlowSource {
 public:
  static Result<std::unique_ptr<FlowSource>> open(const std::string& path,
                                                  const query::Filter& filter,
                                                  const std::string& order) {
    auto reader = store::SessionReader::open(path);
    if (!reader) return reader.error();
    std::unique_ptr<SessionSource> source{new SessionSource{std::move(*reader), filter}};
    if (auto selected = source->select(order); !selected) return selected.error();
    return source;
  }

  Result<std::optional<flow::Flow>> next() override {
    while (next_ < ids_.size()) {
      const Selected& one = ids_[next_++];
      auto flow = reader_->flow(one.id, store::SessionReader::kWholeBody);
      if (!flow) return flow.error();
      // A ring may have deleted it meanwhile.
      if (*flow && (one.certain || filter_.matches(**flow))) return flow;
    }
    return std::nullopt;
  }
  [[nodiscard]] bool goes_on() const override { return true; }

 private:
  struct Selected {
    std::uint32_t id : 31;
    std::uint32_t certain : 1;
  };

  SessionSource(std::unique_ptr<store::SessionReader> reader, query::Filter filter)
      : reader_(std::move(reader)), filter_(std::move(filter)) {}

  Result<> select(const std::string& order) {
    store::Database& database = reader_->database();
    if (auto added = query::register_sql_functions(database.handle()); !added) return added.error();
    const query::SqlFilter sql = filter_.sql();
    auto rows =
        database.prepare(fmt::format("SELECT flow.id, {} FROM {} WHERE {} ORDER BY {}",
                                     sql.exact ? "1" : sql.certain, sql.from, sql.where, order));
    if (!rows) return rows.error();
    if (sql.bind(rows->handle()) != SQLITE_OK) return database.error();
    for (;;) {
      const auto row = rows->step();
      if (!row) return row.error();
      if (!*row) return {};
      ids_.push_back({static_cast<std::uint32_t>(rows->number(0)) & 0x7fffffffU,
                      rows->number(1) != 0 ? 1U : 0U});
    }
  }

  std::unique_ptr<store::SessionReader> reader_;
  query::Filter filter_;
  std::vector<Selected> ids_;
  std::size_t next_ = 0;
};

class FileSource final : public FlowSource {
 public:
  FileSource(std::string path, std::unique_ptr<format::FlowReader> reader, query::Filter filter)
      : path_(std::move(path)), reader_(std::move(reader)), filter_(std::move(filter)) {}

  Result<std::optional<flow::Flow>> next() override {
    for (;;) {
      auto flow = reader_->next();
      if (!flow)
        return base::Error{fmt::format("{}: {}", path_, flow.error().text), flow.error().os_code};
      if (!*flow || filter_.matches(**flow)) return flow;
    }
  }
  [[nodiscard]] bool goes_on() const override { return reader_->goes_on(); }

 private:
  std::string path_;
  std::unique_ptr<format::FlowReader> reader_;
  query::Filter filter_;
};

bool is_session(int fd) {
  std::array<char, kSessionHeader.size()> header{};
  const ssize_t n = ::pread(fd, header.data(), header.size(), 0);
  return n == static_cast<ssize_t>(header.size()) &&
         std::string_view(header.data(), header.size()) == kSessionHeader;
}

format::ByteSource bytes_of(base::UniqueFd fd, std::string name) {
  // A function object is copied: the descriptor is shared by its copies.
  return [file = std::make_shared<base::UniqueFd>(std::move(fd)),
          name = std::move(name)](std::span<char> room) -> Result<std::size_t> {
    for (;;) {
      const ssize_t n = ::read(file->get(), room.data(), room.size());
      if (n >= 0) return static_cast<std::size_t>(n);
      if (errno != EINTR) return base::os_error("cannot read " + name, errno);
    }
  };
}

}  // namespace

Result<std::unique_ptr<FlowSource>> open_flow_source(const std::string& path,
                                                     const query::Filter& filter,
                                                     const std::string& sort) {
  const auto order = order_of(sort);
  if (!order) return order.error();
  const std::string name = path == "-" ? "standard input" : base::printable(path);
  base::UniqueFd fd{path == "-" ? ::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)
                                : ::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (!fd) return base::os_error("cannot open " + name, errno);
  if (is_session(fd.get())) {
    fd.reset();  // closed later, it would take SQLite's locks along (fcntl(2))
    return SessionSource::open(path, filter, *order);
  }
  if (!sort.empty())
    return base::failure("--sort: {} is no session; make one of it with: osproxy import", name);
  auto file = format::open_flow_file(bytes_of(std::move(fd), name));
  if (!file)
    return base::Error{fmt::format("{}: {}", name, file.error().text), file.error().os_code};
  return std::make_unique<FileSource>(name, std::move(file->reader), filter);
}

}  // namespace mitm::cli
