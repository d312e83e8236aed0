#include <cerrno>
#include <csignal>
#include <filesystem>
#include <thread>

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <unistd.h>

#include "mitm/format/output.h"
#include "mitm/format/sinks.h"
#include "tests/mitm/sample_flows.h"
#include "tests/test.h"

namespace mitm::format {
namespace {

struct Pipe {
  base::UniqueFd read;
  base::UniqueFd write;
};

Pipe make_pipe(int flags) {
  int ends[2];
  REQUIRE(::pipe2(ends, O_CLOEXEC | flags) == 0);
  return {base::UniqueFd{ends[0]}, base::UniqueFd{ends[1]}};
}

std::string read_to_end(int fd) {
  std::string all;
  char block[1000];
  for (;;) {
    const ssize_t n = ::read(fd, block, sizeof block);
    if (n > 0) all.append(block, static_cast<std::size_t>(n));
    if (n == 0) return all;
    if (n < 0) std::this_thread::sleep_for(std::chrono::milliseconds{1});
  }
}

/// As the program does.
void ignore_broken_pipes() {
  std::signal(SIGPIPE, SIG_IGN);
}

flow::Event data_event(std::size_t size) {
  auto made = std::make_shared<flow::Data>();
  flow::Data& data = *made;
  data.conn = 1;
  data.client = base::parse_endpoint("10.0.0.1:41000").value();
  data.server = base::parse_endpoint("10.0.0.2:80").value();
  data.time = sample_time();
  data.bytes.assign(size, 'x');
  return flow::TcpData{std::move(made)};
}

/// Writes until the sink notices; what it says.
base::Error error_on_full_disk(flow::Subscriber& sink) {
  for (int i = 0; i < 1000; ++i) {
    auto result = sink.write(test::to_event(sample_http()));
    if (result) result = sink.write(data_event(4000));
    if (result) result = sink.flush();
    if (!result) return result.error();
  }
  return base::failure("it never noticed");
}

/// Runs `test` with a 64 KiB file system at the given directory, in a mount namespace of its
/// thread's own.
template <class Test>
bool with_small_disk(const std::string& directory, Test test) {
  bool ran = false;
  std::thread([&] {
    if (::unshare(CLONE_NEWNS) != 0) return;
    if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return;
    if (::mount("osproxy-test", directory.c_str(), "tmpfs", 0, "size=64k") != 0) return;
    ran = true;
    test();
  }).join();
  return ran;
}

}  // namespace

TEST_CASE("output: bytes pass a small pipe, blocking or not, whole and in order") {
  std::string bytes;
  for (int i = 0; i < 100'000; ++i) bytes += fmt::format("{}\n", i);
  for (const int flags : {0, O_NONBLOCK}) {
    CAPTURE(flags);
    Pipe pipe = make_pipe(flags);
    REQUIRE(::fcntl(pipe.write.get(), F_SETPIPE_SZ, 4096) > 0);
    std::string seen;
    std::thread reader([&] { seen = read_to_end(pipe.read.get()); });
    {
      Output out(std::move(pipe.write));
      out.buffer() = bytes;
      CHECK(out.write_if_large());
      out.buffer() += "end";
      CHECK(out.write_if_large());
      CHECK(out.buffer() == "end");
      CHECK(out.flush());
      CHECK(out.buffer().empty());
    }
    reader.join();
    CHECK(seen == bytes + "end");
  }
}

TEST_CASE("output: signals do not cut a write short") {
  struct sigaction action = {};
  struct sigaction before = {};
  action.sa_handler = [](int) {};
  REQUIRE(::sigaction(SIGUSR1, &action, &before) == 0);
  Pipe pipe = make_pipe(0);
  REQUIRE(::fcntl(pipe.write.get(), F_SETPIPE_SZ, 4096) > 0);
  const std::string bytes(500'000, 'x');
  std::atomic<bool> done{false};
  std::thread writer([&] {
    Output out(std::move(pipe.write));
    out.buffer() = bytes;
    CHECK(out.flush());
    done = true;
  });
  std::size_t seen = 0;
  char block[3000];
  for (ssize_t n = 0; (n = ::read(pipe.read.get(), block, sizeof block)) > 0;) {
    seen += static_cast<std::size_t>(n);
    if (!done) ::pthread_kill(writer.native_handle(), SIGUSR1);
  }
  writer.join();
  CHECK(seen == bytes.size());
  ::sigaction(SIGUSR1, &before, nullptr);
}

TEST_CASE("output: a reader that went away and a full disk are errors") {
  ignore_broken_pipes();
  Pipe pipe = make_pipe(0);
  pipe.read.reset();
  Output broken(std::move(pipe.write));
  broken.buffer() = "x";
  const auto nobody = broken.flush();
  REQUIRE_FALSE(nobody);
  CHECK(nobody.error().os_code == EPIPE);
  CHECK(nobody.error().text == "cannot write: Broken pipe");

  Output full(base::UniqueFd{::open("/dev/full", O_WRONLY | O_CLOEXEC)});
  full.buffer() = "x";
  const auto no_space = full.flush();
  REQUIRE_FALSE(no_space);
  CHECK(no_space.error().os_code == ENOSPC);
  CHECK(no_space.error().text == "cannot write: No space left on device");
}

TEST_CASE("sinks: each says when the disk is full") {
  const char* makers[] = {"text", "jsonl", "pcap"};
  for (const std::string maker : makers) {
    CAPTURE(maker);
    base::UniqueFd full{::open("/dev/full", O_WRONLY | O_CLOEXEC)};
    base::Error error;
    if (maker == "pcap") {
      const auto sink = make_pcap_sink(std::move(full), maker);
      REQUIRE_FALSE(sink);
      error = sink.error();
    } else {
      const auto sink = maker == "text" ? make_text_sink(std::move(full), maker, {})
                                        : make_jsonl_sink(std::move(full), maker, {});
      CHECK(sink->name() == maker);
      error = error_on_full_disk(*sink);
    }
    CHECK(error.text == "cannot write: No space left on device");
    CHECK(error.os_code == ENOSPC);
  }
}

TEST_CASE("sinks: a disk that fills up later is noticed") {
  char directory[] = "/tmp/osproxy-disk-XXXXXX";
  REQUIRE(::mkdtemp(directory) != nullptr);
  std::vector<base::Error> errors;
  const bool ran = with_small_disk(directory, [&] {
    const auto open = [&](const char* name) {
      return base::UniqueFd{::open(fmt::format("{}/{}", directory, name).c_str(),
                                   O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600)};
    };
    if (auto pcap = make_pcap_sink(open("pcap"), "pcap"))
      errors.push_back(error_on_full_disk(**pcap));
    std::filesystem::remove(fmt::format("{}/pcap", directory));
    if (auto pcap = make_pcap_sink(open("large"), "pcap")) {
      if (auto written = (*pcap)->write(data_event(1U << 20U)); !written)
        errors.push_back(written.error());
    }
    std::filesystem::remove(fmt::format("{}/large", directory));
    errors.push_back(
        error_on_full_disk(*make_jsonl_sink(open("jsonl"), "jsonl", {.bodies = true})));
  });
  std::filesystem::remove(directory);
  if (!ran) {
    MESSAGE("no mount namespace here (needs root): not tested");
    return;
  }
  REQUIRE(errors.size() == 3);
  for (const base::Error& error : errors)
    CHECK(error.text == "cannot write: No space left on device");
}

TEST_CASE("sinks: on a bus, a reader that went away is reported once by the sink's name") {
  ignore_broken_pipes();
  Pipe pipe = make_pipe(0);
  pipe.read.reset();
  std::vector<std::string> reports;
  {
    std::vector<std::unique_ptr<flow::Subscriber>> sinks;
    sinks.push_back(make_text_sink(std::move(pipe.write), "standard output", {}));
    flow::Bus bus(
        std::move(sinks),
        [](void* context, const flow::Subscriber& sink, const base::Error& error) {
          static_cast<std::vector<std::string>*>(context)->push_back(sink.name() + ": " +
                                                                     error.text);
        },
        &reports);
    bus.start();
    for (int i = 0; i < 10; ++i) {
      bus.publish(test::to_event(sample_http()));
      std::this_thread::sleep_for(std::chrono::milliseconds{3});
    }
  }
  REQUIRE(reports.size() == 1);
  CHECK(reports[0] == "standard output: cannot write: Broken pipe");
}

}  // namespace mitm::format
