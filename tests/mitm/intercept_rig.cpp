// Real sockets, real OpenSSL on both ends, the real engine on a thread of its own.
#include "tests/mitm/intercept_rig.h"

#include <cstring>

#include <boost/asio/co_spawn.hpp>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "tests/test.h"

namespace rig {
namespace {

using boost::asio::ip::tcp;
constexpr auto kLimit = std::chrono::seconds{20};

}  // namespace

base::UniqueFd listen() {
  base::UniqueFd listener{::socket(AF_INET, SOCK_STREAM, 0)};
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  REQUIRE(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
  REQUIRE(::listen(listener.get(), 8) == 0);
  return listener;
}

std::pair<base::UniqueFd, base::UniqueFd> tcp_pair(const base::UniqueFd& listener) {
  sockaddr_in address{};
  socklen_t size = sizeof address;
  auto* const raw = reinterpret_cast<sockaddr*>(&address);
  REQUIRE(::getsockname(listener.get(), raw, &size) == 0);
  base::UniqueFd one{::socket(AF_INET, SOCK_STREAM, 0)};
  REQUIRE(::connect(one.get(), raw, size) == 0);
  base::UniqueFd other{::accept(listener.get(), nullptr, nullptr)};
  REQUIRE(other);
  return {std::move(one), std::move(other)};
}

Peer::Peer(base::UniqueFd fd) : fd_(std::move(fd)) {
  const timeval limit{kLimit.count(), 0};
  ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  ::setsockopt(fd_.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
}

void Peer::say(std::string_view bytes) {
  REQUIRE(try_say(bytes));
}

bool Peer::try_say(std::string_view bytes) {
  while (!bytes.empty()) {
    const auto put =
        ssl_ ? SSL_write(ssl_.get(), bytes.data(), static_cast<int>(bytes.size()))
             : static_cast<int>(::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL));
    if (put <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(put));
  }
  return true;
}

long Peer::read_some(char* into, std::size_t size) {
  if (!ssl_) {
    const auto got = ::recv(fd_.get(), into, size, 0);
    if (got == 0) end_ = End::fin;
    if (got < 0) end_ = errno == ECONNRESET ? End::reset : End::none;
    return got;
  }
  ERR_clear_error();
  errno = 0;
  const int got = SSL_read(ssl_.get(), into, static_cast<int>(size));
  if (got > 0) return got;
  const int error = SSL_get_error(ssl_.get(), got);
  const int reason = ERR_GET_REASON(ERR_peek_error());
  if (error == SSL_ERROR_ZERO_RETURN) end_ = End::notify;
  if (error == SSL_ERROR_SYSCALL) end_ = errno == ECONNRESET ? End::reset : End::truncated;
  if (reason == SSL_R_UNEXPECTED_EOF_WHILE_READING) end_ = End::truncated;
  if (error == SSL_ERROR_SSL && ERR_reason_error_string(ERR_peek_error()) != nullptr) {
    tls_error_ = ERR_reason_error_string(ERR_peek_error());
  }
  return -1;
}

std::string Peer::hear(std::size_t size) {
  std::string heard(size, '\0');
  std::size_t have = 0;
  while (have < size) {
    const auto got = read_some(heard.data() + have, size - have);
    if (got <= 0) break;
    have += static_cast<std::size_t>(got);
  }
  heard.resize(have);
  return heard;
}

std::string Peer::hear_all() {
  std::string heard;
  std::vector<char> buffer(64 << 10);
  for (;;) {
    const auto got = read_some(buffer.data(), buffer.size());
    if (got <= 0) return heard;
    heard.append(buffer.data(), static_cast<std::size_t>(got));
  }
}

bool Peer::start_tls(SSL_CTX* context, bool server, const char* sni,
                     const std::vector<std::string>& alpn) {
  ssl_.reset(SSL_new(context));
  SSL_set_fd(ssl_.get(), fd_.get());
  const std::string names = wire_names(alpn);
  if (sni != nullptr) {
    SSL_set_tlsext_host_name(ssl_.get(), sni);
    SSL_set1_host(ssl_.get(), sni);
  }
  if (!names.empty()) {
    SSL_set_alpn_protos(ssl_.get(), reinterpret_cast<const unsigned char*>(names.data()),
                        static_cast<unsigned>(names.size()));
  }
  ERR_clear_error();
  const int done = server ? SSL_accept(ssl_.get()) : SSL_connect(ssl_.get());
  if (done != 1) {
    const char* reason = ERR_reason_error_string(ERR_peek_error());
    tls_error_ = reason != nullptr ? reason : "closed";
    ERR_clear_error();
  }
  return done == 1;
}

Handshake shake(Peer& program, SSL_CTX* client, Peer& server, SSL_CTX* origin, const char* sni,
                const std::vector<std::string>& alpn) {
  auto accepted = std::async(std::launch::async, [&] { return server.start_tls(origin, true); });
  Handshake result;
  result.program = program.start_tls(client, false, sni, alpn);
  result.server = accepted.get();
  return result;
}

void passes(Peer& from, Peer& to, std::string_view text) {
  from.say(text);
  CHECK(to.hear(text.size()) == text);
}

void Peer::finish(bool notify) {
  if (ssl_ && notify) SSL_shutdown(ssl_.get());
  ::shutdown(fd_.get(), SHUT_WR);
}

void Peer::wait_until_taken() {
  for (int left = 1, round = 0; left > 0 && round < 2000; ++round) {
    REQUIRE(::ioctl(fd_.get(), SIOCOUTQ, &left) == 0);
    if (left > 0) std::this_thread::sleep_for(std::chrono::milliseconds{5});
  }
}

void Peer::reset() {
  const linger now{1, 0};
  ::setsockopt(fd_.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
  fd_.reset();
}

void Peer::close() {
  fd_.reset();
}

Rig::Rig(mitm::intercept::Settings settings, divert::Policy policy) {
  auto engine = mitm::intercept::Engine::make(
      std::move(settings), std::make_shared<const divert::Policy>(std::move(policy)), ours().signer,
      log_.bus());
  REQUIRE(engine);
  engine_ = std::move(*engine);
  thread_ = std::thread{[this] { context_.run(); }};
}

Rig::~Rig() {
  CHECK(idle());
  work_.reset();
  context_.stop();
  thread_.join();
}

std::pair<Peer, Peer> Rig::open(divert::Verdict verdict) {
  const base::UniqueFd door = listen(), gate = listen();
  constexpr int kLittle = 16 << 10;
  const auto shrink = [&](const base::UniqueFd& socket, int buffer) {
    if (takes_little_) ::setsockopt(socket.get(), SOL_SOCKET, buffer, &kLittle, sizeof kLittle);
  };
  shrink(door, SO_RCVBUF);
  shrink(gate, SO_RCVBUF);
  auto [program, client] = tcp_pair(door);
  auto [server, origin] = tcp_pair(gate);
  shrink(program, SO_SNDBUF);
  shrink(server, SO_SNDBUF);
  {
    const std::lock_guard lock{mutex_};
    ++open_;
  }
  divert::Connection connection;
  connection.verdict = std::move(verdict);
  connection.opened = std::chrono::system_clock::now();
  boost::asio::post(context_, [this, connection = std::move(connection), left = client.release(),
                               right = server.release()]() mutable {
    tcp::socket one{context_, tcp::v4(), left};
    tcp::socket other{context_, tcp::v4(), right};
    one.non_blocking(true);
    other.non_blocking(true);
    connection.client = one.remote_endpoint();
    connection.server = other.remote_endpoint();
    boost::asio::co_spawn(
        context_, engine_->intercept(std::move(connection), std::move(one), std::move(other), {}),
        [this](std::exception_ptr thrown) {
          CHECK(thrown == nullptr);
          const std::lock_guard lock{mutex_};
          --open_;
          closed_.notify_all();
        });
  });
  return {Peer{std::move(program)}, Peer{std::move(origin)}};
}

bool Rig::idle() {
  std::unique_lock lock{mutex_};
  return closed_.wait_for(lock, kLimit, [&] { return open_ == 0; });
}

}  // namespace rig
