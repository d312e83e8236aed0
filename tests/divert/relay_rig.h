// The relay between real loopback sockets: program <-> client | relay | server <-> origin. The test
// plays the program and the origin with blocking calls, the relay runs on a context and thread of
// its own.
#pragma once

#include <filesystem>
#include <functional>
#include <future>
#include <random>
#include <thread>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "divert/worker/relay.h"
#include "tests/test.h"

namespace relay_rig {

using base::UniqueFd;
using boost::asio::io_context;
using boost::asio::ip::tcp;
using divert::Outcome;
using namespace std::chrono_literals;

inline constexpr auto kPatience =
    20s;  // far beyond what anything here takes, also under sanitizers on a busy machine

struct Pair {
  UniqueFd active, passive;
};

/// Two connected TCP sockets, non-inheriting; `buffer` bounds the kernel's buffers when not 0.
inline Pair connected(int family = AF_INET, int buffer = 0) {
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

inline tcp::socket adopt(io_context& context, UniqueFd fd, int family) {
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
inline void spawn(io_context& context, UniqueFd client, UniqueFd server, int family,
                  Finish finish) {
  // Sockets are made and used on the context's thread only.
  boost::asio::post(context, [&context, family, finish = std::move(finish), c = client.release(),
                              s = server.release()]() mutable {
    boost::asio::co_spawn(
        context,
        divert::relay(adopt(context, UniqueFd(c), family), adopt(context, UniqueFd(s), family)),
        std::move(finish));
  });
}

inline Ends relayed(io_context& context, int family = AF_INET, int buffer = 0) {
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

/// A stream whose byte at each place is known: a block of a length that fits no buffer, again and
/// again.
class Stream {
 public:
  explicit Stream(unsigned seed) : block_(65521, '\0') {
    std::mt19937 random(seed);
    for (char& c : block_) c = static_cast<char>(random());
  }
  /// At most `size` bytes of the stream at `offset`.
  [[nodiscard]] std::string_view at(std::uint64_t offset, std::uint64_t size) const {
    const auto begin = offset % block_.size();
    return std::string_view(block_).substr(begin,
                                           std::min<std::uint64_t>(size, block_.size() - begin));
  }

 private:
  std::string block_;
};

inline bool becomes(int fd, short events, std::chrono::milliseconds limit = kPatience) {
  pollfd ask{fd, events, 0};
  return ::poll(&ask, 1, static_cast<int>(limit.count())) > 0;
}

/// Bytes written until all are, or the other side fails.
inline std::uint64_t write_stream(int fd, const Stream& stream, std::uint64_t size) {
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
inline Read read_stream(int fd, const Stream& stream, std::uint64_t limit = ~0ULL,
                        std::uint64_t offset = 0) {
  Read got;
  std::vector<char> buffer(64 << 10);
  while (got.bytes < limit) {
    if (!becomes(fd, POLLIN)) return {got.bytes, false, ETIMEDOUT};
    const ssize_t n =
        ::recv(fd, buffer.data(), std::min<std::uint64_t>(buffer.size(), limit - got.bytes), 0);
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

inline void write_text(int fd, std::string_view text) {
  REQUIRE(::send(fd, text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size()));
}

/// `size` bytes, or fewer when the stream ends before.
inline std::string read_text(int fd, std::size_t size) {
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

/// Reads up to the end: 0 for a clean one, else errno.
inline int how_it_ends(int fd) {
  std::vector<char> buffer(64 << 10);
  for (;;) {
    if (!becomes(fd, POLLIN)) return ETIMEDOUT;
    const ssize_t n = ::recv(fd, buffer.data(), buffer.size(), 0);
    if (n <= 0) return n == 0 ? 0 : errno;
  }
}

/// Until nothing more is taken for a while: bytes that the way has taken in.
inline std::uint64_t fill_up(int fd, const Stream& stream) {
  std::uint64_t sent = 0;
  while (becomes(fd, POLLOUT, 100ms)) {
    const auto piece = stream.at(sent, ~0ULL);
    const ssize_t n = ::send(fd, piece.data(), piece.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno != EAGAIN) break;
    if (n > 0) sent += static_cast<std::uint64_t>(n);
  }
  return sent;
}

struct Descriptors {
  int sockets = 0, pipes = 0;
};

inline Descriptors open_descriptors() {
  Descriptors count;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
    std::error_code gone;
    const auto target = std::filesystem::read_symlink(entry.path(), gone).string();
    count.sockets += target.starts_with("socket:");
    count.pipes += target.starts_with("pipe:");
  }
  return count;
}

}  // namespace relay_rig
