// Not by fmt::print, which throws: on the bus's thread, or out of a callback of OpenSSL's, that
// would be the end of the worker. Paths, hosts and what other programs print come in here as they
// are.
#include "mitm/cli/log_line.h"

#include <chrono>
#include <mutex>
#include <string>

#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "base/line_writer.h"
#include "base/text.h"

namespace mitm::cli {
namespace {

using namespace std::chrono_literals;

/// Lasts as long as the process: a thread that hangs in write(2) may still use it.
base::LineWriter* writer = nullptr;

/// Held while a line is published: the bus is there until that is over.
std::mutex publishing;
flow::Bus* bus = nullptr;

bool publish(std::string_view line, base::LogLevel level) {
  const std::lock_guard lock{publishing};
  if (bus == nullptr) return false;
  bus->publish(flow::LogLine{level, std::chrono::system_clock::now(), std::string(line)});
  return true;
}

void write_line(std::string_view line) {
  std::string text = fmt::format("osproxy: {}\n", base::printable(line));
  if (writer != nullptr) return writer->put(std::move(text));
  (void)base::write_all(STDERR_FILENO, text);
}

bool is_standard_error(int fd) {
  struct stat one {};
  struct stat other {};
  return ::fstat(fd, &one) == 0 && ::fstat(STDERR_FILENO, &other) == 0 &&
         one.st_dev == other.st_dev && one.st_ino == other.st_ino;
}

class LogSink final : public flow::Subscriber {
 public:
  explicit LogSink(bool among_flows) : among_flows_(among_flows) {}

  base::Result<> write(const flow::Event& event) override {
    write_line(std::get<flow::LogLine>(event).text);
    // The flow that comes next is written by this thread, the line by another.
    if (among_flows_) flush_log();
    return {};
  }
  base::Result<> flush() override { return {}; }
  [[nodiscard]] flow::EventSet wants() const override {
    return flow::EventSet::of<flow::LogLine>();
  }
  [[nodiscard]] flow::Delivery delivery() const override {
    return among_flows_ ? flow::Delivery::lossy : flow::Delivery::retaining;
  }
  [[nodiscard]] const std::string& name() const override { return name_; }

 private:
  const bool among_flows_;
  const std::string name_ = "standard error";
};

}  // namespace

void log_line(std::string_view line, base::LogLevel level) {
  if (!publish(line, level)) write_line(line);
}

LogLinesOnBus::LogLinesOnBus(flow::Bus& given) {
  const std::lock_guard lock{publishing};
  bus = &given;
}

LogLinesOnBus::~LogLinesOnBus() {
  const std::lock_guard lock{publishing};
  bus = nullptr;
}

std::unique_ptr<flow::Subscriber> make_log_sink(int flows) {
  return std::make_unique<LogSink>(is_standard_error(flows));
}

void log_without_waiting() {
  if (writer != nullptr) return;
  writer = new base::LineWriter{
      STDERR_FILENO, [](std::size_t count) {
        return fmt::format("osproxy: {} lines are missing here: they were not read\n", count);
      }};
}

void flush_log() {
  if (writer != nullptr) (void)writer->wait(1s);
}

}  // namespace mitm::cli
