// Connections through a real engine, in memory, with the test at both of their ends: "the program
// says, the server hears". TLS is OpenSSL's at the ends, too. What takes sockets (relaying what
// passes, connecting, what kernels do) is tested with the rig (intercept_rig.h), whose classes
// these resemble.
#pragma once

#include <chrono>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <boost/asio/io_context.hpp>

#include "mitm/intercept/engine.h"
#include "tests/mitm/authority.h"
#include "tests/mitm/flow_log.h"
#include "tests/mitm/memory_stream.h"

namespace dialogue {

using rig::End;
using rig::kGet;
using rig::kOk;

/// An io_context that is run on the test's own thread.
class Runner {
 public:
  [[nodiscard]] boost::asio::io_context& context() { return context_; }
  /// Until nothing more happens by itself.
  void settle();
  /// Until something happens, with time.
  void wait(std::chrono::steady_clock::time_point limit);
  /// The processor time of the longest turn so far, from the call on: of what is run before
  /// anything else that is ready can be.
  void watch_turns() { longest_ = std::chrono::nanoseconds{0}; }
  [[nodiscard]] std::chrono::nanoseconds longest_turn() const { return longest_; }

 private:
  boost::asio::io_context context_{1};
  std::chrono::nanoseconds longest_{0};
};

/// One end of a connection. Everything that follows from what it does has happened when a call
/// returns. Closes the connection when it goes.
class Peer {
 public:
  Peer(Runner& runner, test::MemoryStream& stream) : runner_(runner), stream_(&stream) {}
  Peer(Peer&& other) noexcept;
  Peer& operator=(Peer&&) = delete;
  ~Peer() { close(); }

  /// `behind`: bytes of the wire, in the same piece; with TLS not inside of it.
  void say(std::string_view bytes, std::string_view behind = {});
  /// False: the other side has gone.
  bool try_say(std::string_view bytes, std::string_view behind = {});
  /// The first `size` bytes of what has come, or all.
  std::string hear(std::size_t size);
  /// To the end, which must have come: see end().
  std::string hear_all();
  /// What `say` makes it put on the wire, without sending it.
  [[nodiscard]] std::string sealed(const std::function<void(SSL*)>& say);
  /// What one record of TLS carries.
  std::string hear_record();
  [[nodiscard]] End end() const { return end_; }
  /// Whether nothing has come that has not been heard.
  [[nodiscard]] bool hears_nothing();

  /// False: the handshake has failed, or cannot go on. See tls_error().
  bool start_tls(SSL_CTX* context, bool server, const char* sni = nullptr,
                 const std::vector<std::string>& alpn = {});
  [[nodiscard]] SSL* ssl() const { return ssl_.get(); }
  [[nodiscard]] const std::string& tls_error() const { return tls_error_; }
  /// A handshake in steps: the hello is made, each step goes on with what has come.
  void begin_tls(SSL_CTX* context, bool server, const char* sni = nullptr,
                 const std::vector<std::string>& alpn = {});
  /// Whether anything came of it.
  bool step_tls();
  /// As many as are possible now. See start_tls().
  bool go_on_tls();
  [[nodiscard]] bool has_tls() const { return tls_ == Tls::agreed; }
  /// The hello of the next handshake is sent in records with `record` bytes each, `segment` bytes a
  /// write.
  void split_hello(std::size_t record, std::size_t segment) { split_ = {record, segment}; }

  void finish(bool notify = true);  ///< ends our direction
  void reset();
  void close();
  /// Takes so many bytes at once, and more only when it hears them.
  void take_at_most(std::size_t bytes);
  /// Bytes that it has said and that have not been read.
  [[nodiscard]] std::size_t unread() const { return stream_->unread(); }

 private:
  enum class Tls : std::uint8_t { none, shaking, agreed, failed };

  std::size_t receive();
  void decrypt();
  bool read_record();
  void note_end();
  void send_records(std::string_view behind = {});
  void send_split(std::string_view records);

  Runner& runner_;
  test::MemoryStream* stream_;  ///< null: closed
  mitm::tls::SslPtr ssl_;
  Tls tls_ = Tls::none;
  std::string tls_error_;
  std::string heard_;  ///< and not taken by the test; in the clear
  End end_ = End::none;
  std::pair<std::size_t, std::size_t> split_{0, 0};
  std::size_t room_ = 0;  ///< 0: without a limit
};

struct Handshake {
  bool program = false;
  bool server = false;
};
/// Of both ends, through the engine.
Handshake shake(Peer& program, SSL_CTX* client, Peer& server, SSL_CTX* origin, const char* sni,
                const std::vector<std::string>& alpn = {});
/// The protocol that was agreed on in the handshake; empty: none.
std::string alpn_of(const Peer& peer);
/// What `from` says, `to` hears.
void passes(Peer& from, Peer& to, std::string_view text);
/// The program closes the connection, then so does the server.
void hang_up(Peer& program, Peer& server);

/// Gate::none(), or, with OSPROXY_TEST_GATE=pass|whole in the environment, one that wants all heads
/// or whole messages and changes nothing.
mitm::intercept::Gate& default_gate();

class Engine {
 public:
  explicit Engine(mitm::intercept::Settings settings = {}, divert::Policy policy = {},
                  bool want_data = false, mitm::intercept::Gate& gate = default_gate());
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;
  ~Engine();

  /// A new connection: first the program's end, then the server's. `port`: the server's; 0: one of
  /// its own.
  std::pair<Peer, Peer> open(divert::Verdict verdict = {divert::Action::intercept, "test", {}},
                             std::uint16_t port = 0);
  /// The program whose connections are opened from now on: its executable, and who runs it.
  void program(std::string exe, uid_t uid = 0) {
    exe_ = std::move(exe);
    uid_ = uid;
  }

  /// The events so far, of which there must be at least `count`.
  std::vector<test::FlatFlow> ended(std::size_t count) { return log_.ended(count); }
  std::vector<test::FlatFlow> started(std::size_t count) { return log_.started(count); }
  std::vector<test::FlatFlow> messages(std::size_t count) { return log_.messages(count); }
  std::vector<mitm::flow::Data> data(std::size_t count) { return log_.data(count); }
  /// Of all events in their order: see flow::index_of().
  std::vector<std::size_t> kinds(std::size_t count) { return log_.kinds(count); }

  /// Whether no connection is left.
  [[nodiscard]] bool idle();
  [[nodiscard]] Runner& runner() { return runner_; }
  /// What the engine does once a second, as if so much time had passed.
  void tick(std::chrono::milliseconds later) {
    engine_->tick(std::chrono::steady_clock::now() + later);
  }
  /// `size` bytes for `peer`, of which it takes time until they come.
  std::string wait_for(Peer& peer, std::size_t size);

 private:
  struct Connection {
    explicit Connection(boost::asio::io_context& context)
        : client(context.get_executor()), server(context.get_executor()) {}
    test::MemoryStream client, server;
  };
  boost::asio::awaitable<void> carry(divert::Connection connection, Connection& between);

  test::FlowLog log_;
  Runner runner_;
  std::list<Connection> connections_;
  std::unique_ptr<mitm::intercept::Engine> engine_;
  std::size_t open_ = 0;
  std::uint64_t ids_ = 0;
  std::string exe_;
  uid_t uid_ = 0;
};

}  // namespace dialogue
