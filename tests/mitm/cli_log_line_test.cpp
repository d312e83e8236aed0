#include <unistd.h>

#include "base/fd.h"
#include "mitm/cli/log_line.h"
#include "mitm/format/sinks.h"
#include "tests/mitm/sample_flows.h"
#include "tests/test.h"

namespace mitm::cli {
namespace {

/// Standard error is a pipe for as long as it lives.
class StandardError {
 public:
  StandardError() : saved_(::dup(STDERR_FILENO)) {
    auto pipe = base::make_pipe(base::Blocking::yes);
    REQUIRE(pipe.has_value());
    reader_ = std::move(pipe->out);
    REQUIRE(::dup2(pipe->in.get(), STDERR_FILENO) == STDERR_FILENO);
  }
  StandardError(const StandardError&) = delete;
  StandardError& operator=(const StandardError&) = delete;
  ~StandardError() { restore(); }

  /// All that was written; ends the redirection.
  std::string text() {
    restore();
    std::string all;
    char part[4096];
    for (ssize_t n = 0; (n = ::read(reader_.get(), part, sizeof part)) > 0;)
      all.append(part, static_cast<std::size_t>(n));
    return all;
  }

 private:
  void restore() {
    if (saved_) ::dup2(saved_.get(), STDERR_FILENO);
    saved_ = {};
  }

  base::UniqueFd saved_;
  base::UniqueFd reader_;
};

class LineCollector final : public flow::Subscriber {
 public:
  explicit LineCollector(std::vector<flow::LogLine>& lines) : lines_(lines) {}
  base::Result<> write(const flow::Event& event) override {
    lines_.push_back(std::get<flow::LogLine>(event));
    return {};
  }
  base::Result<> flush() override { return {}; }
  [[nodiscard]] flow::EventSet wants() const override {
    return flow::EventSet::of<flow::LogLine>();
  }
  [[nodiscard]] const std::string& name() const override { return name_; }

 private:
  std::vector<flow::LogLine>& lines_;
  std::string name_ = "lines";
};

void no_error(void*, const flow::Subscriber&, const base::Error& error) {
  FAIL_CHECK(error.text);
}

}  // namespace

TEST_CASE("log_line: an event while there is a bus, else a line on standard error") {
  std::vector<flow::LogLine> lines;
  StandardError standard_error;
  log_line("before");
  {
    std::vector<std::unique_ptr<flow::Subscriber>> subscribers;
    subscribers.push_back(std::make_unique<LineCollector>(lines));
    flow::Bus bus{std::move(subscribers), no_error, nullptr};
    const LogLinesOnBus on_bus{bus};
    log_line("the \x1b[1mterminal\n", base::LogLevel::error);
  }
  log_line("after");
  CHECK(standard_error.text() == "osproxy: before\nosproxy: after\n");
  REQUIRE(lines.size() == 1);
  CHECK(lines[0].text == "the \x1b[1mterminal\n");
  CHECK(lines[0].level == base::LogLevel::error);
  CHECK(std::chrono::system_clock::now() - lines[0].time < std::chrono::minutes{1});
}

TEST_CASE("log_line: on one terminal, lines and flows come in the order of their events") {
  StandardError standard_error;
  {
    base::UniqueFd out{::dup(STDERR_FILENO)};
    std::vector<std::unique_ptr<flow::Subscriber>> subscribers;
    auto log_sink = make_log_sink(out.get());
    CHECK(log_sink->delivery() == flow::Delivery::lossy);
    subscribers.push_back(format::make_text_sink(std::move(out), "flows", {}));
    subscribers.push_back(std::move(log_sink));
    flow::Bus bus{std::move(subscribers), no_error, nullptr};
    const LogLinesOnBus on_bus{bus};
    for (int i = 1; i <= 2; ++i) {
      bus.publish(test::to_event(format::sample_http()));
      log_line(fmt::format("line \x1b{}", i));
    }
  }
  const std::string flow = format::render_text(test::to_event(format::sample_http()), {});
  const std::string text = standard_error.text();
  std::string printed;
  for (int i = 1; i <= 2; ++i) printed += flow + fmt::format("osproxy: line \\x1b{}\n", i);
  CHECK(text == printed);
}

TEST_CASE("log_line: elsewhere, lines do not wait for a reader of flows") {
  auto pipe = base::make_pipe(base::Blocking::yes);
  REQUIRE(pipe.has_value());
  CHECK(make_log_sink(pipe->in.get())->delivery() == flow::Delivery::retaining);
}

}  // namespace mitm::cli
