// A stream alone, plain and TLS, against OpenSSL on the other end: what each kind of end is,
// partial writes, pushed-back bytes, renegotiation.
#include <string>
#include <thread>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <sys/socket.h>

#include "mitm/intercept/wire/side.h"
#include "mitm/intercept/wire/tcp_stream.h"
#include "tests/mitm/intercept_rig.h"
#include "tests/test.h"

using boost::asio::awaitable;
using boost::asio::ip::tcp;
using mitm::intercept::IoResult;
using mitm::intercept::PeekBuffer;
using mitm::intercept::Side;
using mitm::intercept::TcpStream;
using rig::Peer;
using Status = IoResult::Status;

namespace {

/// A side and its peer. `run` runs a coroutine of the side to its end.
struct Pair {
  explicit Pair(int buffer = 0) : Pair(rig::tcp_pair(rig::listen()), buffer) {}
  Pair(std::pair<base::UniqueFd, base::UniqueFd> fds, int buffer)
      : peer(std::move(fds.first)), socket(own(std::move(fds.second), buffer)), side(socket) {}
  tcp::socket own(base::UniqueFd fd, int buffer) {
    if (buffer > 0) ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
    return {context, tcp::v4(), fd.release()};
  }
  template <class T>
  T run(awaitable<T> work) {
    std::optional<T> result;
    context.restart();
    boost::asio::co_spawn(context, std::move(work), [&](std::exception_ptr thrown, T value) {
      CHECK(thrown == nullptr);
      result = std::move(value);
    });
    context.run();
    return std::move(*result);
  }
  /// TLS with the side as the client.
  bool secure(int version) {
    const auto origin = rig::theirs().server("h.test");
    const auto client = rig::theirs().client();
    SSL_CTX_set_max_proto_version(client.get(), version);
    SSL_CTX_set_mode(client.get(),
                     SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(client.get(), 1);
    SSL_CTX_set_options(client.get(), SSL_OP_NO_RENEGOTIATION);
    mitm::tls::SslPtr ssl{SSL_new(client.get())};
    SSL_set_connect_state(ssl.get());
    side.start_tls(std::move(ssl));
    std::thread accepting{[&] { accepted = peer.start_tls(origin.get(), true); }};
    const IoResult done = run(side.tls->handshake(std::chrono::seconds{10}));
    accepting.join();
    return done.ok() && accepted;
  }
  /// Everything up to `size` bytes or an end.
  awaitable<std::string> read(std::size_t size, IoResult& result) {
    std::string heard;
    std::vector<char> buffer(size);
    while (heard.size() < size) {
      result = side.stream.try_read(std::span<char>(buffer).first(size - heard.size()));
      if (result.ok()) {
        heard.append(buffer.data(), result.bytes);
      } else if (!result.blocked()) {
        break;
      } else {
        co_await side.stream.wait(result);
      }
    }
    co_return heard;
  }
  std::string hear(std::size_t size) { return run(read(size, last)); }

  boost::asio::io_context context;
  Peer peer;
  TcpStream socket;
  Side side;
  IoResult last;
  bool accepted = false;
};

constexpr int kVersions[] = {0, TLS1_2_VERSION, TLS1_3_VERSION};  ///< 0: no TLS

std::string noise(std::size_t size) {
  std::string text(size, '\0');
  for (std::size_t i = 0; i < size; ++i) text[i] = static_cast<char>(i * 2654435761U >> 24);
  return text;
}

}  // namespace

TEST_CASE("streams: bytes pass in both directions, plain and over TLS") {
  for (const int version : kVersions) {
    CAPTURE(version);
    Pair pair;
    if (version != 0) REQUIRE(pair.secure(version));
    pair.peer.say("hello");
    CHECK(pair.hear(5) == "hello");
    char nothing[1];
    CHECK(pair.side.stream.try_read(nothing).status == Status::want_read);
    CHECK(pair.run(write_all(pair.side.stream, "world")).ok());
    CHECK(pair.peer.hear(5) == "world");
  }
}

TEST_CASE("streams: every kind of end is told from the others") {
  for (const int version : kVersions) {
    CAPTURE(version);
    for (const bool notify : {true, false}) {
      Pair pair;
      if (version != 0) REQUIRE(pair.secure(version));
      pair.peer.say("last");
      pair.peer.finish(notify);
      CHECK(pair.hear(10) == "last");
      CHECK(pair.last.status == (version == 0 || notify ? Status::end : Status::truncated));
      CHECK(pair.side.stream.try_read(std::span<char>{}).status ==
            pair.last.status);  // and so it stays
    }
    Pair pair;
    if (version != 0) REQUIRE(pair.secure(version));
    pair.peer.reset();
    CHECK(pair.hear(10) == "");
    CHECK(pair.last.status == Status::failed);
    CHECK(pair.side.stream.failure().text == "connection reset by peer");
  }
}

TEST_CASE("streams: what came before a write failed can still be read, and then the failure") {
  for (const int version : kVersions) {
    CAPTURE(version);
    Pair pair;
    if (version != 0) REQUIRE(pair.secure(version));
    const int at_once = 1;
    ::setsockopt(pair.peer.fd(), IPPROTO_TCP, TCP_NODELAY, &at_once, sizeof at_once);
    pair.peer.say("last");
    pair.peer.reset();
    const std::string more = noise(1 << 20);
    IoResult put;
    for (int i = 0; i < 100 && put.ok(); ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds{1});
      put = pair.side.stream.try_write(more);
    }
    CHECK(put.status == Status::failed);
    CHECK(pair.side.stream.failure().lost);
    const std::string why = pair.side.stream.failure().text;
    CHECK((why == "connection reset by peer" || why == "broken pipe"));
    CHECK(pair.hear(10) == "last");
    CHECK(pair.last.status == Status::failed);
    CHECK(pair.side.stream.failure().text == why);
  }
}

TEST_CASE("streams: damaged TLS is a failure that names the reason, not an end") {
  Pair pair;
  REQUIRE(pair.secure(TLS1_3_VERSION));
  REQUIRE(::send(pair.peer.fd(), "\x17\x03\x03\x00\x20 this is no ciphertext at all, sorry", 40,
                 0) == 40);
  CHECK(pair.hear(1) == "");
  CHECK(pair.last.status == Status::failed);
  CHECK(pair.side.stream.failure().tls_reason != 0);
  CHECK(pair.side.stream.failure().text != "");
}

TEST_CASE("streams: a writer with a tiny send buffer gets everything through") {
  for (const int version : kVersions) {
    CAPTURE(version);
    Pair pair{1};
    if (version != 0) REQUIRE(pair.secure(version));
    const std::string text = noise(3 << 20);
    const IoResult first = pair.side.stream.try_write(text);
    CHECK(first.status == Status::want_write);
    CHECK(first.bytes < text.size());
    std::string heard;
    std::thread reader{[&] { heard = pair.peer.hear(text.size()); }};
    CHECK(pair.run(write_all(pair.side.stream, std::string_view(text).substr(first.bytes))).ok());
    reader.join();
    CHECK((heard == text));
  }
}

TEST_CASE("streams: key updates, also while writing is blocked") {
  Pair pair{1};
  REQUIRE(pair.secure(TLS1_3_VERSION));
  const std::string text = noise(2 << 20);
  const IoResult first = pair.side.stream.try_write(text);
  REQUIRE(first.status == Status::want_write);
  REQUIRE(SSL_key_update(pair.peer.ssl(), SSL_KEY_UPDATE_REQUESTED) == 1);
  pair.peer.say("after");
  CHECK(pair.hear(5) == "after");
  std::string heard;
  std::thread reader{[&] { heard = pair.peer.hear(text.size()); }};
  CHECK(pair.run(write_all(pair.side.stream, std::string_view(text).substr(first.bytes))).ok());
  reader.join();
  CHECK((heard == text));
}

TEST_CASE("streams: renegotiation is refused and the connection lives on") {
  Pair pair;
  REQUIRE(pair.secure(TLS1_2_VERSION));
  REQUIRE(SSL_renegotiate(pair.peer.ssl()) == 1);
  SSL_do_handshake(pair.peer.ssl());  // sends HelloRequest
  pair.peer.say("on");
  CHECK(pair.hear(2) == "on");
}

TEST_CASE("streams: the peer's reset ends a wait for room to write") {
  Pair pair{1};
  const std::string more = noise(16 << 20);
  REQUIRE(pair.side.stream.try_write(more).status == Status::want_write);
  std::thread resetting{[&] {
    std::this_thread::sleep_for(std::chrono::milliseconds{50});
    pair.peer.reset();
  }};
  CHECK(pair.run(write_all(pair.side.stream, more)).status == Status::failed);
  resetting.join();
}

TEST_CASE("streams: pushed-back bytes come first, before and inside TLS") {
  Pair pair;
  pair.peer.say("cd");
  pair.side.stream.push_back("ab");
  CHECK(pair.hear(4) == "abcd");
  pair.peer.say("xyz");
  std::vector<char> scratch(16);
  boost::asio::co_spawn(
      pair.context,
      [](PeekBuffer& stream) -> awaitable<void> { co_await stream.wait({}); }(pair.side.stream),
      boost::asio::detached);
  pair.context.restart();
  pair.context.run();
  CHECK(pair.side.look(scratch, true).bytes == "xyz");
  CHECK(pair.side.look(scratch, true).bytes == "xyz");
  CHECK(pair.side.look(scratch, false).bytes == "xyz");
  CHECK(pair.side.look(scratch, false).bytes == "xyz");
  CHECK(pair.hear(3) == "xyz");
}

TEST_CASE("streams: a handshake that nobody answers ends at its limit") {
  Pair pair;
  const auto client = rig::theirs().client();
  mitm::tls::SslPtr ssl{SSL_new(client.get())};
  SSL_set_connect_state(ssl.get());
  pair.side.start_tls(std::move(ssl));
  const IoResult done = pair.run(pair.side.tls->handshake(std::chrono::milliseconds{50}));
  CHECK(done.status == Status::failed);
  CHECK(pair.side.stream.failure().text == "no answer for too long");
}
