// A connection of sockets through a real engine on a thread of its own, with the test at both ends,
// for what takes a kernel. Everything else is tested in memory: see connection_dialogue.h.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>

#include "base/fd.h"
#include "mitm/intercept/engine.h"
#include "mitm/tls/openssl.h"
#include "tests/mitm/authority.h"
#include "tests/mitm/flow_log.h"

namespace rig {

/// A listening socket on loopback.
base::UniqueFd listen();
/// A pair of connected TCP sockets over loopback, both blocking; the second one accepted by
/// `listener`.
std::pair<base::UniqueFd, base::UniqueFd> tcp_pair(const base::UniqueFd& listener);

/// Blocking, with a time limit of a few seconds on everything.
class Peer {
 public:
  explicit Peer(base::UniqueFd fd);
  void say(std::string_view bytes);
  /// False when it could not be written (the other side has gone).
  bool try_say(std::string_view bytes);
  /// Exactly `bytes`.size() bytes, or what came before the end or the time limit.
  std::string hear(std::size_t size);
  std::string hear_all();  ///< to the end, see end()
  [[nodiscard]] End end() const { return end_; }
  bool start_tls(SSL_CTX* context, bool server, const char* sni = nullptr,
                 const std::vector<std::string>& alpn = {});
  [[nodiscard]] SSL* ssl() const { return ssl_.get(); }
  void finish(bool notify = true);  ///< ends our direction
  void wait_until_taken();          ///< until the other end's kernel has all that was said
  void reset();
  void close();
  [[nodiscard]] int fd() const { return fd_.get(); }
  [[nodiscard]] const std::string& tls_error() const { return tls_error_; }

 private:
  long read_some(char* into, std::size_t size);
  base::UniqueFd fd_;
  mitm::tls::SslPtr ssl_;
  End end_ = End::none;
  std::string tls_error_;
};

struct Handshake {
  bool program = false;
  bool server = false;
};
/// Both ends at once: each waits for the other, through the engine.
Handshake shake(Peer& program, SSL_CTX* client, Peer& server, SSL_CTX* origin, const char* sni,
                const std::vector<std::string>& alpn = {});
/// What `from` says, `to` hears.
void passes(Peer& from, Peer& to, std::string_view text);

class Rig {
 public:
  explicit Rig(mitm::intercept::Settings settings, divert::Policy policy = {});
  ~Rig();

  /// A new connection: first the program's end, then the server's.
  std::pair<Peer, Peer> open(divert::Verdict verdict = {divert::Action::intercept, "test", {}});

  /// From now on connections are opened of which kernels take kilobytes only at once.
  void take_little_at_once() { takes_little_ = true; }

  /// The end events so far, after waiting until there are at least `count`.
  std::vector<test::FlatFlow> ended(std::size_t count) { return log_.ended(count); }
  /// Waits until no connection is left; false: one is stuck.
  bool idle();

 private:
  test::FlowLog log_;
  std::mutex mutex_;
  std::condition_variable closed_;
  int open_ = 0;  ///< connections
  boost::asio::io_context context_{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_{
      context_.get_executor()};
  std::unique_ptr<mitm::intercept::Engine> engine_;
  std::thread thread_;
  bool takes_little_ = false;
};

}  // namespace rig
