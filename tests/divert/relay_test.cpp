// The relay between real loopback sockets: program <-> client | relay | server <-> origin. The test plays the
// program and the origin with blocking calls, the relay runs on a context and thread of its own.
#include "divert/relay.h"

#include <csignal>
#include <cstddef>
#include <filesystem>
#include <fstream>
#include <functional>
#include <future>
#include <random>
#include <thread>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/fd.h"
#include "tests/test.h"

namespace {

using base::UniqueFd;
using boost::asio::io_context;
using boost::asio::ip::tcp;
using divert::Outcome;
using namespace std::chrono_literals;

constexpr auto kPatience =
    20s;  // far beyond what anything here takes, also under sanitizers on a busy machine

struct Pair {
  UniqueFd active, passive;
};

/// Two connected TCP sockets, non-inheriting; `buffer` bounds the kernel's buffers when not 0.
Pair connected(int family = AF_INET, int buffer = 0) {
  const UniqueFd listener(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  UniqueFd active(::socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (buffer > 0) {
    for (const int fd : {listener.get(), active.get()}) {
      ::setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
      ::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
    }
  }
  sockaddr_storage address{};
  address.ss_family = static_cast<sa_family_t>(family);
  socklen_t size = sizeof address;
  if (family == AF_INET6) {
    reinterpret_cast<sockaddr_in6&>(address).sin6_addr = in6addr_loopback;
  } else {
    reinterpret_cast<sockaddr_in&>(address).sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  }
  auto* plain = reinterpret_cast<sockaddr*>(&address);
  REQUIRE(::bind(listener.get(), plain, size) == 0);
  REQUIRE(::listen(listener.get(), 1) == 0);
  REQUIRE(::getsockname(listener.get(), plain, &size) == 0);
  REQUIRE(::connect(active.get(), plain, size) == 0);
  UniqueFd passive(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  REQUIRE(passive);
  return {std::move(active), std::move(passive)};
}

tcp::socket adopt(io_context& context, UniqueFd fd, int family) {
  tcp::socket socket(context);
  socket.assign(family == AF_INET6 ? tcp::v6() : tcp::v4(), fd.release());
  return socket;
}

/// A context with its thread. Ends what still runs when it is destroyed.
class Context {
 public:
  explicit Context(std::function<void()> first = [] {})
      : thread_([this, run_first = std::move(first)] {
          run_first();
          context.run();
        }) {}
  Context(const Context&) = delete;
  Context& operator=(const Context&) = delete;
  ~Context() {
    context.stop();
    thread_.join();
  }

  io_context context{1};

 private:
  boost::asio::executor_work_guard<io_context::executor_type> work_{context.get_executor()};
  std::thread thread_;
};

/// One relayed connection, seen from both ends.
struct Ends {
  UniqueFd program, origin;
  std::future<Outcome> outcome;

  Outcome wait() {
    REQUIRE(outcome.wait_for(kPatience) == std::future_status::ready);
    return outcome.get();
  }
};

template <class Finish>
void spawn(io_context& context, UniqueFd client, UniqueFd server, int family, Finish finish) {
  // Sockets are made and used on the context's thread only.
  boost::asio::post(context, [&context, family, finish = std::move(finish), c = client.release(),
                              s = server.release()]() mutable {
    boost::asio::co_spawn(
        context, divert::relay(adopt(context, UniqueFd(c), family), adopt(context, UniqueFd(s), family)),
        std::move(finish));
  });
}

Ends relayed(io_context& context, int family = AF_INET, int buffer = 0) {
  Pair front = connected(family, buffer);
  Pair back = connected(family, buffer);
  auto promise = std::make_shared<std::promise<Outcome>>();
  auto future = promise->get_future();
  spawn(context, std::move(front.passive), std::move(back.active), family,
        [promise](const std::exception_ptr& failure, Outcome outcome) {
          failure ? promise->set_exception(failure) : promise->set_value(std::move(outcome));
        });
  return {std::move(front.active), std::move(back.passive), std::move(future)};
}

/// A stream whose byte at each place is known: a block of a length that fits no buffer, again and again.
class Stream {
 public:
  explicit Stream(unsigned seed) : block_(65521, '\0') {
    std::mt19937 random(seed);
    for (char& c : block_) c = static_cast<char>(random());
  }
  /// At most `size` bytes of the stream at `offset`.
  [[nodiscard]] std::string_view at(std::uint64_t offset, std::uint64_t size) const {
    const auto begin = offset % block_.size();
    return std::string_view(block_).substr(begin, std::min<std::uint64_t>(size, block_.size() - begin));
  }

 private:
  std::string block_;
};

bool becomes(int fd, short events, std::chrono::milliseconds limit = kPatience) {
  pollfd ask{fd, events, 0};
  return ::poll(&ask, 1, static_cast<int>(limit.count())) > 0;
}

/// Bytes written until all are, or the other side fails.
std::uint64_t write_stream(int fd, const Stream& stream, std::uint64_t size) {
  std::uint64_t sent = 0;
  while (sent < size) {
    const auto piece = stream.at(sent, size - sent);
    const ssize_t n = ::send(fd, piece.data(), piece.size(), MSG_NOSIGNAL);
    if (n <= 0) break;
    sent += static_cast<std::uint64_t>(n);
  }
  return sent;
}

struct Read {
  std::uint64_t bytes = 0;
  bool exact = true;
  int error = 0;  ///< 0: a clean end
};

/// Up to the end or `limit` bytes, compared with the stream from its byte `offset` on.
Read read_stream(int fd, const Stream& stream, std::uint64_t limit = ~0ULL, std::uint64_t offset = 0) {
  Read got;
  std::vector<char> buffer(64 << 10);
  while (got.bytes < limit) {
    if (!becomes(fd, POLLIN)) return {got.bytes, false, ETIMEDOUT};
    const ssize_t n = ::recv(fd, buffer.data(), std::min<std::uint64_t>(buffer.size(), limit - got.bytes), 0);
    if (n == 0) break;
    if (n < 0) {
      got.error = errno;
      break;
    }
    for (ssize_t done = 0; done < n;) {
      const auto expected = stream.at(offset + got.bytes, static_cast<std::uint64_t>(n - done));
      got.exact = got.exact && std::string_view(buffer.data() + done, expected.size()) == expected;
      done += static_cast<ssize_t>(expected.size());
      got.bytes += expected.size();
    }
  }
  return got;
}

void write_text(int fd, std::string_view text) {
  REQUIRE(::send(fd, text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size()));
}

/// `size` bytes, or fewer when the stream ends before.
std::string read_text(int fd, std::size_t size) {
  std::string text(size, '\0');
  std::size_t got = 0;
  while (got < size && becomes(fd, POLLIN)) {
    const ssize_t n = ::recv(fd, text.data() + got, size - got, 0);
    if (n <= 0) break;
    got += static_cast<std::size_t>(n);
  }
  text.resize(got);
  return text;
}

void close_with_reset(UniqueFd fd) {
  const linger now{1, 0};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

/// Until the other end's kernel has all that was written.
void wait_until_taken(int fd) {
  for (int left = 1; left > 0; std::this_thread::sleep_for(5ms)) REQUIRE(::ioctl(fd, SIOCOUTQ, &left) == 0);
}

/// Reads up to the end: 0 for a clean one, else errno.
int how_it_ends(int fd) {
  std::vector<char> buffer(64 << 10);
  for (;;) {
    if (!becomes(fd, POLLIN)) return ETIMEDOUT;
    const ssize_t n = ::recv(fd, buffer.data(), buffer.size(), 0);
    if (n <= 0) return n == 0 ? 0 : errno;
  }
}

/// Whether a RST arrives. Not asked by reading: after a FIN a reader sees no more than the end.
bool is_reset(int fd) {
  pollfd ask{fd, 0, 0};
  int error = 0;
  socklen_t size = sizeof error;
  return ::poll(&ask, 1, std::chrono::milliseconds(kPatience).count()) > 0 && (ask.revents & POLLERR) != 0 &&
         ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 &&
         (error == ECONNRESET || error == EPIPE);
}

/// Until nothing more is taken for a while: bytes that the way has taken in.
std::uint64_t fill_up(int fd, const Stream& stream) {
  std::uint64_t sent = 0;
  while (becomes(fd, POLLOUT, 100ms)) {
    const auto piece = stream.at(sent, ~0ULL);
    const ssize_t n = ::send(fd, piece.data(), piece.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno != EAGAIN) break;
    if (n > 0) sent += static_cast<std::uint64_t>(n);
  }
  return sent;
}

long resident_kib() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmRSS:")) return std::stol(line.substr(6));
  }
  return 0;
}

struct Descriptors {
  int sockets = 0, pipes = 0;
};

Descriptors open_descriptors() {
  Descriptors count;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    const auto target = std::filesystem::read_symlink(entry.path(), gone).string();
    count.sockets += target.starts_with("socket:");
    count.pipes += target.starts_with("pipe:");
  }
  return count;
}

/// From now on the system call fails with `error` in this thread, when its argument is (or is not) `value`.
void refuse(std::uint32_t call, unsigned argument, bool equal, std::uint32_t value, std::uint32_t error) {
  const auto offset =
      static_cast<std::uint32_t>(offsetof(seccomp_data, args) + argument * sizeof(std::uint64_t));
  const sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, static_cast<__u8>(equal ? 0 : 1),
               static_cast<__u8>(equal ? 1 : 0)),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog filter{std::size(program), const_cast<sock_filter*>(program)};
  ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter);
}

/// `size` bytes each way at once, then FIN each way; everything must arrive as it was sent.
void exchange(Ends& ends, std::uint64_t size) {
  const Stream up(1), down(2);
  std::uint64_t sent_up = 0, sent_down = 0;
  Read at_program;
  std::thread program_writes([&] {
    sent_up = write_stream(ends.program.get(), up, size);
    ::shutdown(ends.program.get(), SHUT_WR);
  });
  std::thread origin_writes([&] {
    sent_down = write_stream(ends.origin.get(), down, size);
    ::shutdown(ends.origin.get(), SHUT_WR);
  });
  std::thread program_reads([&] { at_program = read_stream(ends.program.get(), down); });
  const Read at_origin = read_stream(ends.origin.get(), up);
  program_writes.join();
  origin_writes.join();
  program_reads.join();
  CHECK(sent_up == size);
  CHECK(sent_down == size);
  for (const Read& got : {at_origin, at_program}) {
    CHECK(got.bytes == size);
    CHECK(got.exact);
    CHECK(got.error == 0);
  }
  const auto outcome = ends.wait();
  CHECK(outcome.request_bytes == size);
  CHECK(outcome.response_bytes == size);
  CHECK(outcome.error == "");
}

}  // namespace

TEST_CASE("relay: 64 MiB each way at once, byte for byte") {
  Context relay;
  for (const int family : {AF_INET, AF_INET6}) {
    CAPTURE(family);
    auto ends = relayed(relay.context, family);
    exchange(ends, 64 << 20);
  }
}

TEST_CASE("relay: passes a half-close on and keeps the other direction") {
  Context relay;
  for (const bool program_first : {true, false}) {
    CAPTURE(program_first);
    auto ends = relayed(relay.context);
    const int first = program_first ? ends.program.get() : ends.origin.get();
    const int second = program_first ? ends.origin.get() : ends.program.get();
    write_text(first, "question");
    ::shutdown(first, SHUT_WR);
    CHECK(read_text(second, 100) == "question");  // up to the end
    CHECK_FALSE(becomes(first, POLLIN, 100ms));
    write_text(second, "an answer");
    CHECK(read_text(first, 9) == "an answer");
    write_text(second, ", later");
    CHECK(read_text(first, 7) == ", later");
    CHECK(ends.outcome.wait_for(50ms) == std::future_status::timeout);
    ::shutdown(second, SHUT_WR);
    CHECK(how_it_ends(first) == 0);
    const auto outcome = ends.wait();
    CHECK(outcome.error == "");
    CHECK(outcome.request_bytes == (program_first ? 8 : 16));
    CHECK(outcome.response_bytes == (program_first ? 16 : 8));
  }
}

TEST_CASE("relay: a plain close of one side after the other's is a clean end") {
  Context relay;
  auto ends = relayed(relay.context);
  write_text(ends.origin.get(), "bye");
  ends.origin.reset();
  CHECK(read_text(ends.program.get(), 10) == "bye");
  ends.program.reset();
  CHECK(ends.wait().error == "");
}

TEST_CASE("relay: a reset of one side resets the other, in every phase") {
  using Phase = std::function<void(Ends&, int resetter, int other)>;
  const Stream stream(3);
  struct Case {
    std::string name;
    Phase before;
  };
  const Case cases[] = {
      {"at once", [](Ends&, int, int) {}},
      {"idle, after an exchange",
       [](Ends&, int resetter, int other) {
         write_text(resetter, "ping");
         CHECK(read_text(other, 4) == "ping");
         write_text(other, "pong");
         CHECK(read_text(resetter, 4) == "pong");
         std::this_thread::sleep_for(20ms);
       }},
      {"while it sends and nobody reads",
       [&](Ends&, int resetter, int) { CHECK(fill_up(resetter, stream) > 0); }},
      {"while the other sends and it does not read",
       [&](Ends&, int, int other) { CHECK(fill_up(other, stream) > 0); }},
      {"while both send and nobody reads",
       [&](Ends&, int resetter, int other) {
         CHECK(fill_up(resetter, stream) > 0);
         CHECK(fill_up(other, stream) > 0);
       }},
      {"with bytes that it has not read",
       [](Ends&, int resetter, int other) {
         write_text(other, "unread");
         CHECK(becomes(resetter, POLLIN));
       }},
      {"after its own half-close",
       [](Ends&, int resetter, int other) {
         ::shutdown(resetter, SHUT_WR);
         CHECK(read_text(other, 1).empty());
       }},
      {"after the other's half-close",
       [](Ends&, int resetter, int other) {
         ::shutdown(other, SHUT_WR);
         CHECK(read_text(resetter, 1).empty());
       }},
      {"after the other's half-close, while it sends and nobody reads",
       [&](Ends&, int resetter, int other) {
         ::shutdown(other, SHUT_WR);
         CHECK(fill_up(resetter, stream) > 0);
       }},
      {"after its own half-close, while the other sends",
       [&](Ends&, int resetter, int other) {
         ::shutdown(resetter, SHUT_WR);
         CHECK(fill_up(other, stream) > 0);
       }},
  };
  struct Broken {
    std::string name;
    bool by_program = false;
    Ends ends;
  };
  Context relay;
  std::vector<Broken> all;
  for (const auto& [name, before] : cases) {
    for (const bool by_program : {true, false}) {
      CAPTURE(name);
      CAPTURE(by_program);
      auto& ends = all.emplace_back(Broken{name, by_program, relayed(relay.context, AF_INET, 32 << 10)}).ends;
      UniqueFd& resetter = by_program ? ends.program : ends.origin;
      const UniqueFd& other = by_program ? ends.origin : ends.program;
      before(ends, resetter.get(), other.get());
      close_with_reset(std::move(resetter));
    }
  }
  // The news travels by itself, not only when somebody reads or writes next.
  for (auto& [name, by_program, ends] : all) {
    CAPTURE(name);
    CAPTURE(by_program);
    CHECK(ends.wait().error == (by_program ? "client reset" : "server reset"));
    CHECK(is_reset((by_program ? ends.origin : ends.program).get()));
  }
}

TEST_CASE("relay: the answer to an upload that the server does not want to the end arrives") {
  Context relay;
  const Stream stream(9);
  const std::string answer = "413 too large" + std::string(20000, '.');
  for (int i = 0; i < 50; ++i) {
    auto ends = relayed(relay.context);
    std::thread upload([&] { write_stream(ends.program.get(), stream, 64 << 20); });  // stops with the reset
    CHECK(read_stream(ends.origin.get(), stream, 1000).exact);
    write_text(ends.origin.get(), answer);
    wait_until_taken(ends.origin.get());
    close_with_reset(std::move(ends.origin));
    upload.join();
    CHECK((read_text(ends.program.get(), answer.size()) == answer));
    CHECK(ends.wait().error == "server reset");
  }
}

TEST_CASE("relay: what was said before a reset waits for a side that is slow") {
  Context relay;
  const Stream stream(10);
  auto ends = relayed(relay.context);
  const int little = 4096;
  ::setsockopt(ends.program.get(), SOL_SOCKET, SO_RCVBUF, &little, sizeof little);
  CHECK(write_stream(ends.origin.get(), stream, 64 << 10) == 64 << 10);
  wait_until_taken(ends.origin.get());
  close_with_reset(std::move(ends.origin));
  std::this_thread::sleep_for(200ms);
  const Read got = read_stream(ends.program.get(), stream);
  CHECK(got.bytes == 64 << 10);
  CHECK(got.exact);
  CHECK(got.error == ECONNRESET);
  CHECK(ends.wait().error == "server reset");
}

TEST_CASE("relay: bytes that came before a reset are delivered when there is room") {
  Context relay;
  auto ends = relayed(relay.context);
  write_text(ends.origin.get(), "413 too large");
  close_with_reset(std::move(ends.origin));
  CHECK(read_text(ends.program.get(), 13) == "413 too large");
  CHECK(how_it_ends(ends.program.get()) == ECONNRESET);
  CHECK(ends.wait().error == "server reset");
}

TEST_CASE("relay: writing to a side that closed its socket is an error for the writer") {
  Context relay;
  auto ends = relayed(relay.context);
  ends.origin.reset();
  CHECK(how_it_ends(ends.program.get()) == 0);
  const Stream stream(4);
  write_stream(ends.program.get(), stream, 64 << 20);  // stops with the reset
  CHECK(ends.wait().error == "server reset");
  char byte = 0;
  CHECK(::send(ends.program.get(), &byte, 1, MSG_NOSIGNAL) < 0);
}

TEST_CASE("relay: a slow reader stops the writer, and memory stays as it was") {
  Context relay;
  auto ends = relayed(relay.context, AF_INET, 64 << 10);
  const Stream stream(5);
  const long before = resident_kib();
  const auto taken = fill_up(ends.program.get(), stream);
  CHECK(taken > 0);
  CHECK(taken < 4 << 20);
  CHECK(resident_kib() - before < 4096);
  // Slow, but nothing is lost.
  std::uint64_t got = 0;
  for (; got < taken; got += 8192) {
    const auto part = read_stream(ends.origin.get(), stream, std::min<std::uint64_t>(8192, taken - got), got);
    REQUIRE(part.exact);
    REQUIRE(part.error == 0);
  }
  ends.program.reset();
  CHECK(how_it_ends(ends.origin.get()) == 0);
  ends.origin.reset();
  const auto outcome = ends.wait();
  CHECK(outcome.request_bytes == taken);
  CHECK(outcome.error == "");
}

TEST_CASE("relay: 200 connections on one thread") {
  Context relay;
  std::vector<Ends> all;
  for (int i = 0; i < 200; ++i) all.push_back(relayed(relay.context));
  constexpr std::uint64_t kSize = 100'000;
  const Stream up(6), down(7);
  for (auto& ends : all) {
    CHECK(write_stream(ends.program.get(), up, kSize) == kSize);
    CHECK(write_stream(ends.origin.get(), down, kSize) == kSize);
    ::shutdown(ends.program.get(), SHUT_WR);
    ::shutdown(ends.origin.get(), SHUT_WR);
  }
  for (auto& ends : all) {
    const Read at_origin = read_stream(ends.origin.get(), up);
    const Read at_program = read_stream(ends.program.get(), down);
    CHECK((at_origin.bytes == kSize && at_origin.exact && at_origin.error == 0));
    CHECK((at_program.bytes == kSize && at_program.exact && at_program.error == 0));
    const auto outcome = ends.wait();
    CHECK(outcome.error == "");
    CHECK(outcome.request_bytes == kSize);
  }
}

TEST_CASE("relay: an idle connection holds no pipe") {
  Context relay;
  const auto before = open_descriptors();
  std::vector<Ends> all;
  for (int i = 0; i < 40; ++i) {
    all.push_back(relayed(relay.context));
    write_text(all.back().program.get(), "hello");
    REQUIRE(read_text(all.back().origin.get(), 5) == "hello");
    write_text(all.back().origin.get(), "world");
    REQUIRE(read_text(all.back().program.get(), 5) == "world");
  }
  const auto after = open_descriptors();
  CHECK(after.sockets - before.sockets == 40 * 4);
  CHECK(after.pipes - before.pipes <= 2 * 2);  // two directions at most were busy at one time
}

TEST_CASE("relay: sockets and pipes are closed at the end, whatever the end") {
  const auto before = open_descriptors();
  {
    Context relay;
    const Stream stream(9);
    std::vector<Ends> all;
    for (int i = 0; i < 6; ++i) {
      auto& ends = all.emplace_back(relayed(relay.context, AF_INET, 32 << 10));
      fill_up(ends.program.get(), stream);
      close_with_reset(std::move(i % 2 == 0 ? ends.origin : ends.program));
    }
    for (auto& ends : all) CHECK_FALSE(ends.wait().error.empty());
    all.clear();
    CHECK(open_descriptors().sockets == before.sockets);
  }
  CHECK(open_descriptors().pipes == before.pipes);  // the pool goes with its thread
}

TEST_CASE("relay: urgent data goes in line and stops nothing") {
  Context relay;
  auto ends = relayed(relay.context);
  write_text(ends.program.get(), "abc");
  CHECK(read_text(ends.origin.get(), 3) == "abc");
  for (int i = 0; i < 3; ++i) {
    REQUIRE(::send(ends.program.get(), "de!", 3, MSG_OOB) == 3);
    write_text(ends.program.get(), "fgh");
    CHECK(read_text(ends.origin.get(), 6) == "de!fgh");
  }
  ends.program.reset();
  CHECK(how_it_ends(ends.origin.get()) == 0);
}

TEST_CASE("relay: without descriptors for a pipe it copies") {
  // As at the limit of descriptors, but for the relay's pipes alone: sanitizers make pipes as well.
  Context relay([] { refuse(SYS_pipe2, 1, true, O_NONBLOCK | O_CLOEXEC, EMFILE); });
  const auto pipes = open_descriptors().pipes;
  auto ends = relayed(relay.context);
  write_text(ends.program.get(), "x");
  CHECK(read_text(ends.origin.get(), 1) == "x");
  CHECK(open_descriptors().pipes == pipes);
  auto other = relayed(relay.context);
  exchange(other, 8 << 20);
}

TEST_CASE("relay: where splice is refused it copies") {
  constexpr unsigned kSize = 4;  // the argument
  SUBCASE("always") {
    Context relay([] { refuse(SYS_splice, kSize, false, 0, EINVAL); });
    auto ends = relayed(relay.context);
    exchange(ends, 8 << 20);
  }
  SUBCASE("by the sink only: what the pipe holds is not lost") {
    // Only the way into a pipe asks for as much as a pipe holds.
    Context relay([] { refuse(SYS_splice, kSize, false, 256 << 10, EINVAL); });
    auto ends = relayed(relay.context);
    exchange(ends, 8 << 20);
  }
}

TEST_CASE("relay: a write to a socket that is gone raises no signal") {
  struct sigaction old {};
  struct sigaction deadly {};
  deadly.sa_handler = SIG_DFL;
  ::sigaction(SIGPIPE, &deadly, &old);
  Context relay;
  auto ends = relayed(relay.context);
  ends.origin.reset();
  CHECK(how_it_ends(ends.program.get()) == 0);
  // While the relay sleeps more comes than it writes at once: its first write brings the RST, its second
  // fails.
  std::promise<void> asleep;
  boost::asio::post(relay.context, [&] {
    asleep.set_value();
    std::this_thread::sleep_for(500ms);
  });
  asleep.get_future().wait();
  CHECK(fill_up(ends.program.get(), Stream(8)) > 512 << 10);
  CHECK(ends.wait().error == "server reset");
  ::sigaction(SIGPIPE, &old, nullptr);
}

TEST_CASE("relay: cancelled, it resets both sides") {
  Context relay;
  Pair front = connected();
  Pair back = connected();
  boost::asio::cancellation_signal signal;
  std::promise<Outcome> promise;
  auto future = promise.get_future();
  spawn(relay.context, std::move(front.passive), std::move(back.active), AF_INET,
        boost::asio::bind_cancellation_slot(signal.slot(), [&](const std::exception_ptr&, Outcome outcome) {
          promise.set_value(std::move(outcome));
        }));
  write_text(front.active.get(), "hello");
  CHECK(read_text(back.passive.get(), 5) == "hello");
  boost::asio::post(relay.context, [&] { signal.emit(boost::asio::cancellation_type::terminal); });
  CHECK(how_it_ends(front.active.get()) == ECONNRESET);
  CHECK(how_it_ends(back.passive.get()) == ECONNRESET);
  REQUIRE(future.wait_for(kPatience) == std::future_status::ready);
  CHECK(future.get().error == "client: Operation canceled");
}

TEST_CASE("relay: all of a thread are reset when they are told to end") {
  Context relay;
  auto first = relayed(relay.context);
  auto second = relayed(relay.context);
  write_text(first.origin.get(), "half of it");
  CHECK(read_text(first.program.get(), 10) == "half of it");
  write_text(second.program.get(), "hello");
  CHECK(read_text(second.origin.get(), 5) == "hello");
  boost::asio::post(relay.context, [] { divert::reset_relays("enough"); });
  for (auto* ends : {&first, &second}) {
    CHECK(how_it_ends(ends->program.get()) == ECONNRESET);
    CHECK(how_it_ends(ends->origin.get()) == ECONNRESET);
    CHECK(ends->wait().error == "enough");
  }
}

TEST_CASE("relay: whatever becomes of it, half an answer is no whole one") {
  std::optional<Context> relay;
  relay.emplace();
  auto ends = relayed(relay->context);
  write_text(ends.origin.get(), "half of it");
  CHECK(read_text(ends.program.get(), 10) == "half of it");
  ::shutdown(ends.program.get(), SHUT_WR);
  CHECK(how_it_ends(ends.origin.get()) == 0);
  relay.reset();
  CHECK(how_it_ends(ends.program.get()) == ECONNRESET);
}
