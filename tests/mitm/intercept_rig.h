// A connection through a real engine, with the test at both of its ends: "client says, server
// hears".
#pragma once

#include <chrono>
#include <condition_variable>
#include <future>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <boost/asio/steady_timer.hpp>

#include "base/fd.h"
#include "mitm/flow/bus.h"
#include "mitm/intercept/engine.h"
#include "mitm/tls/openssl.h"
#include "tests/mitm/flat_flow.h"

namespace rig {

/// A listening socket on loopback.
base::UniqueFd listen();
/// A pair of connected TCP sockets over loopback, both blocking; the second one accepted by
/// `listener`.
std::pair<base::UniqueFd, base::UniqueFd> tcp_pair(const base::UniqueFd& listener);

/// How a direction ended, as the one who reads sees it.
enum class End { none, fin, notify, truncated, reset };

/// Blocking, with a time limit of a few seconds on everything.
class Peer {
 public:
  explicit Peer(base::UniqueFd fd);
  void say(std::string_view bytes);
  /// False when it could not be written (the other side has gone).
  bool try_say(std::string_view bytes);
  /// What the kernel takes now, without TLS: how many of `bytes`.
  std::size_t say_what_fits(std::string_view bytes);
  /// Exactly `bytes`.size() bytes, or what came before the end or the time limit.
  std::string hear(std::size_t size);
  std::string hear_all();  ///< to the end, see end()
  [[nodiscard]] End end() const { return end_; }
  bool start_tls(SSL_CTX* context, bool server, const char* sni = nullptr,
                 const std::vector<std::string>& alpn = {});
  /// The hello of the next start_tls is sent in records with `record` bytes each, `segment` bytes a
  /// write, with a pause between.
  void split_hello(std::size_t record, std::size_t segment) { split_ = {record, segment}; }
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
  void say_split_hello();
  std::pair<std::size_t, std::size_t> split_{0, 0};
};

struct Handshake {
  bool program = false;
  bool server = false;
};
/// Both ends at once: each waits for the other, through the engine.
Handshake shake(Peer& program, SSL_CTX* client, Peer& server, SSL_CTX* origin, const char* sni,
                const std::vector<std::string>& alpn = {});
/// The protocol that was agreed on in the handshake; empty: none.
std::string alpn_of(const Peer& peer);
/// What `from` says, `to` hears.
void passes(Peer& from, Peer& to, std::string_view text);
/// The program closes the connection, then so does the server.
void hang_up(Peer& program, Peer& server);

/// `url` as flows have it, when its requests name no port: with that of the server.
inline std::string with_port(std::string url, const test::FlatFlow& flow) {
  const auto path = url.find('/', url.find("://") + 3);
  return url.insert(path, ':' + std::to_string(flow.server.port()));
}

inline constexpr std::string_view kGet = "GET /a HTTP/1.1\r\nHost: h.test\r\n\r\n";
inline constexpr std::string_view kOk = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

/// One rule: connections to `host`.
divert::Policy policy_for(std::string host, divert::Action action);
/// The verdict while that rule waits for a host.
divert::Verdict by_host(divert::Action otherwise, divert::Action action);

/// A CA of the test's own, and what servers and programs make of it.
struct Authority {
  std::string pem;  ///< the root
  std::shared_ptr<const mitm::tls::LeafSigner> signer;

  /// Server-side context with a certificate for `host`.
  [[nodiscard]] mitm::tls::SslCtxPtr server(const std::string& host) const;
  /// Client-side context that trusts the root.
  [[nodiscard]] mitm::tls::SslCtxPtr client() const;
};
const Authority& ours();    ///< osproxy's own CA
const Authority& theirs();  ///< the CA of the servers
const Authority& strangers();

class Rig {
 public:
  explicit Rig(mitm::intercept::Settings settings = {}, divert::Policy policy = {},
               bool want_data = false, mitm::intercept::Gate& gate = mitm::intercept::Gate::none());
  ~Rig();

  /// A new connection: first the program's end, then the server's. Connections over one `listener`
  /// have one server address.
  std::pair<Peer, Peer> open(divert::Verdict verdict = {divert::Action::intercept, "test", {}},
                             const base::UniqueFd* listener = nullptr);

  /// The program whose connections are opened from now on: its executable, and who runs it.
  void program(std::string exe, uid_t uid = 0) {
    exe_ = std::move(exe);
    uid_ = uid;
  }

  /// From now on connections are opened of which the engine's kernel takes megabytes at once (as
  /// root).
  void take_much_at_once() { takes_much_ = true; }
  /// Kilobytes only, and no more on the way there.
  void take_little_at_once() { takes_little_ = true; }

  /// The end events so far, after waiting until there are at least `count`.
  std::vector<test::FlatFlow> ended(std::size_t count);
  std::vector<test::FlatFlow> started(std::size_t count);
  std::vector<test::FlatFlow> messages(std::size_t count);
  std::vector<mitm::flow::Data> data(std::size_t count);
  /// Of all events in their order: see flow::index_of().
  std::vector<std::size_t> kinds(std::size_t count);
  /// Waits until no connection is left; false: one is stuck.
  bool idle();

  /// Waits until the engine's thread has dealt with what is ready, so many times.
  void run_turns(int count);
  /// The engine's thread does nothing until the promise is kept.
  [[nodiscard]] std::promise<void> pause();
  /// From here on a handler that is always ready takes its turns on the engine's thread.
  void watch_turns();
  /// Ends that. The longest processor time that the thread has spent on anything else between two
  /// of its turns.
  std::chrono::nanoseconds longest_turn();

 private:
  class Sink;
  void take_turn(std::chrono::nanoseconds last);
  void tick();
  struct Log {
    std::mutex mutex;
    std::condition_variable changed;
    std::vector<test::FlatFlow> starts, ends, messages;
    std::vector<mitm::flow::Data> data;
    std::vector<std::size_t> kinds;
    int open = 0;
  };
  template <class T>
  std::vector<T> wait_for(std::vector<T> Log::*list, std::size_t count);

  Log log_;
  mitm::flow::Bus bus_;
  boost::asio::io_context context_{1};
  boost::asio::executor_work_guard<boost::asio::io_context::executor_type> work_{
      context_.get_executor()};
  boost::asio::steady_timer ticks_{context_};
  std::unique_ptr<mitm::intercept::Engine> engine_;
  std::thread thread_;
  std::uint64_t ids_ = 0;
  std::string exe_;
  uid_t uid_ = 0;
  std::chrono::nanoseconds longest_turn_{0};  ///< the thread's, as the next
  bool watches_turns_ = false;
  bool takes_much_ = false;
  bool takes_little_ = false;
};

/// Engine settings that trust theirs().
mitm::intercept::Settings trusting();
/// trusting(), and every program gets a page that says why its server cannot be trusted.
mitm::intercept::Settings with_pages();

}  // namespace rig
