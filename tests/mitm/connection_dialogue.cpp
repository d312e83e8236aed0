// One io_context on the test's own thread: it is run until nothing more happens by itself.
#include "tests/mitm/connection_dialogue.h"

#include <algorithm>
#include <ctime>

#include <boost/asio/co_spawn.hpp>
#include <openssl/err.h>

#include "tests/mitm/test_gate.h"
#include "tests/test.h"

namespace dialogue {
namespace {

constexpr std::chrono::seconds kLimit{20};
constexpr std::uint16_t kPorts = 20'000;  ///< the servers'

std::chrono::nanoseconds processor_time() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return std::chrono::seconds{now.tv_sec} + std::chrono::nanoseconds{now.tv_nsec};
}

std::string take_from(BIO* bio) {
  char* bytes = nullptr;
  const auto size = static_cast<std::size_t>(BIO_get_mem_data(bio, &bytes));
  std::string all{bytes, size};
  BIO_reset(bio);
  return all;
}

/// The handshake messages in other records: the transcript, which both ends sign, does not have
/// them.
std::string split_records(std::string_view records, std::size_t size) {
  std::string message, split;
  while (records.size() > 5) {
    const auto payload = static_cast<std::size_t>(static_cast<unsigned char>(records[3]) << 8 |
                                                  static_cast<unsigned char>(records[4]));
    message.append(records.substr(5, payload));
    records.remove_prefix(5 + payload);
  }
  for (std::size_t at = 0; at < message.size(); at += size) {
    const auto piece = message.substr(at, size);
    split.append("\x16\x03\x01", 3);
    split.append({static_cast<char>(piece.size() >> 8), static_cast<char>(piece.size())});
    split.append(piece);
  }
  return split;
}

}  // namespace

void Runner::settle() {
  context_.restart();
  for (auto began = processor_time(); context_.poll_one() > 0;) {
    const auto now = processor_time();
    longest_ = std::max(longest_, now - std::exchange(began, now));
  }
}

void Runner::wait(std::chrono::steady_clock::time_point limit) {
  context_.restart();
  context_.run_one_until(limit);
}

Peer::Peer(Peer&& other) noexcept
    : runner_(other.runner_),
      stream_(std::exchange(other.stream_, nullptr)),
      ssl_(std::move(other.ssl_)),
      tls_(other.tls_),
      tls_error_(std::move(other.tls_error_)),
      heard_(std::move(other.heard_)),
      end_(other.end_),
      split_(other.split_),
      room_(other.room_) {}

void Peer::say(std::string_view bytes, std::string_view behind) {
  REQUIRE(try_say(bytes, behind));
}

bool Peer::try_say(std::string_view bytes, std::string_view behind) {
  if (!stream_->is_open()) return false;
  if (!ssl_) {
    stream_->say(std::string(bytes).append(behind));
    runner_.settle();
    return true;
  }
  while (!bytes.empty()) {
    const int put = SSL_write(ssl_.get(), bytes.data(), static_cast<int>(bytes.size()));
    if (put <= 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(put));
  }
  send_records(behind);
  return true;
}

/// What has come, as bytes of the wire; returns their number.
std::size_t Peer::receive() {
  runner_.settle();
  const std::string wire = stream_->heard();
  if (room_ > 0) stream_->give_room(room_);
  if (!ssl_) {
    heard_ += wire;
    return wire.size();
  }
  BIO* const in = SSL_get_rbio(ssl_.get());
  BIO_write(in, wire.data(), static_cast<int>(wire.size()));
  const bool ended = stream_->ending() == "end" || stream_->ending() == "truncated";
  if (ended) BIO_set_mem_eof_return(in, 0);  // OpenSSL answers that with an alert
  return wire.size();
}

bool Peer::read_record() {
  char bytes[16 << 10];
  ERR_clear_error();
  std::size_t got = 0;
  const int done = SSL_read_ex(ssl_.get(), bytes, sizeof bytes, &got);
  heard_.append(bytes, got);
  if (done == 1) return true;
  const int error = SSL_get_error(ssl_.get(), done);
  if (error == SSL_ERROR_ZERO_RETURN) end_ = End::notify;
  const auto code = ERR_peek_error();
  if (ERR_GET_REASON(code) == SSL_R_UNEXPECTED_EOF_WHILE_READING) end_ = End::truncated;
  const char* reason = ERR_reason_error_string(code);
  if (error == SSL_ERROR_SSL && reason != nullptr) tls_error_ = reason;
  return false;
}

void Peer::decrypt() {
  if (tls_ != Tls::agreed) return;
  while (read_record()) {
  }
  send_records();
}

void Peer::note_end() {
  if (end_ != End::none) return;
  const std::string& ending = stream_->ending();
  if (ending == "reset") end_ = End::reset;
  if (ending == "end" || ending == "truncated") end_ = ssl_ ? End::truncated : End::fin;
}

std::string Peer::hear(std::size_t size) {
  do {
    const std::size_t came = receive();
    decrypt();
    if (came == 0) break;
  } while (heard_.size() < size);
  if (heard_.size() < size) note_end();
  std::string taken = heard_.substr(0, size);
  heard_.erase(0, size);
  return taken;
}

std::string Peer::hear_all() {
  std::string all = hear(std::string::npos - 1);
  CHECK_MESSAGE((end_ != End::none || !tls_error_.empty()), "the connection goes on");
  return all;
}

std::string Peer::hear_record() {
  receive();
  REQUIRE(read_record());
  return std::exchange(heard_, {});
}

std::string Peer::sealed(const std::function<void(SSL*)>& say) {
  say(ssl_.get());
  return take_from(SSL_get_wbio(ssl_.get()));
}

bool Peer::hears_nothing() {
  receive();
  decrypt();
  return heard_.empty();
}

void Peer::begin_tls(SSL_CTX* context, bool server, const char* sni,
                     const std::vector<std::string>& alpn) {
  ssl_.reset(SSL_new(context));
  BIO* const in = BIO_new(BIO_s_mem());
  BIO_set_mem_eof_return(in, -1);
  SSL_set_bio(ssl_.get(), in, BIO_new(BIO_s_mem()));
  BIO_write(in, heard_.data(), static_cast<int>(heard_.size()));
  heard_.clear();
  if (sni != nullptr) {
    SSL_set_tlsext_host_name(ssl_.get(), sni);
    SSL_set1_host(ssl_.get(), sni);
  }
  const std::string names = rig::wire_names(alpn);
  if (!names.empty()) {
    SSL_set_alpn_protos(ssl_.get(), reinterpret_cast<const unsigned char*>(names.data()),
                        static_cast<unsigned>(names.size()));
  }
  if (server) SSL_set_accept_state(ssl_.get());
  if (!server) SSL_set_connect_state(ssl_.get());
  tls_ = Tls::shaking;
}

bool Peer::step_tls() {
  if (tls_ != Tls::shaking) return false;
  const std::size_t came = receive();
  ERR_clear_error();
  const int done = SSL_do_handshake(ssl_.get());
  const int error = SSL_get_error(ssl_.get(), done);
  const char* reason = ERR_reason_error_string(ERR_peek_error());
  ERR_clear_error();
  const bool says = BIO_pending(SSL_get_wbio(ssl_.get())) > 0;
  send_records();
  const bool waits =
      error == SSL_ERROR_WANT_READ && (says || came > 0 || stream_->ending().empty());
  if (done == 1) tls_ = Tls::agreed;
  if (done != 1 && !waits) {
    tls_ = Tls::failed;
    tls_error_ = reason != nullptr ? reason : "closed";
  }
  return came > 0 || says || tls_ != Tls::shaking;
}

bool Peer::start_tls(SSL_CTX* context, bool server, const char* sni,
                     const std::vector<std::string>& alpn) {
  begin_tls(context, server, sni, alpn);
  return go_on_tls();
}

bool Peer::go_on_tls() {
  while (step_tls()) {
  }
  return has_tls();
}

void Peer::send_records(std::string_view behind) {
  const std::string records = take_from(SSL_get_wbio(ssl_.get())).append(behind);
  if (split_.first > 0) {
    send_split(split_records(records, std::exchange(split_.first, 0)));
  } else if (!records.empty()) {
    stream_->say(records);
  }
  runner_.settle();
}

void Peer::send_split(std::string_view records) {
  for (std::size_t at = 0; at < records.size(); at += split_.second) {
    stream_->say(records.substr(at, split_.second));
    runner_.settle();
  }
}

void Peer::finish(bool notify) {
  if (ssl_ && notify) {
    SSL_shutdown(ssl_.get());
    send_records();
  }
  stream_->end();
  runner_.settle();
}

void Peer::reset() {
  std::exchange(stream_, nullptr)->lose(test::MemoryStream::kReset);
  runner_.settle();
}

void Peer::close() {
  if (stream_ == nullptr) return;
  test::MemoryStream& stream = *std::exchange(stream_, nullptr);
  stream.leave();
  if (!heard_.empty()) stream.lose(test::MemoryStream::kReset);
  runner_.settle();
}

void Peer::take_at_most(std::size_t bytes) {
  room_ = bytes;
  stream_->give_room(bytes);
}

Handshake shake(Peer& program, SSL_CTX* client, Peer& server, SSL_CTX* origin, const char* sni,
                const std::vector<std::string>& alpn) {
  program.begin_tls(client, false, sni, alpn);
  server.begin_tls(origin, true);
  for (bool moved = true; moved;) {
    moved = program.step_tls();
    if (server.step_tls()) moved = true;
  }
  return {program.has_tls(), server.has_tls()};
}

std::string alpn_of(const Peer& peer) {
  const unsigned char* name = nullptr;
  unsigned size = 0;
  SSL_get0_alpn_selected(peer.ssl(), &name, &size);
  return {reinterpret_cast<const char*>(name), size};
}

void passes(Peer& from, Peer& to, std::string_view text) {
  from.say(text);
  CHECK(to.hear(text.size()) == text);
}

void hang_up(Peer& program, Peer& server) {
  program.close();
  server.hear_all();
  server.close();
}

mitm::intercept::Gate& default_gate() {
  static test::TestGate gate;
  static const char* const wanted = std::getenv("OSPROXY_TEST_GATE");
  if (wanted == nullptr) return mitm::intercept::Gate::none();
  using mitm::intercept::Decision;
  gate.heads = std::string_view(wanted) == "whole" ? Decision::whole : Decision::pass;
  return gate;
}

Engine::Engine(mitm::intercept::Settings settings, divert::Policy policy, bool want_data,
               mitm::intercept::Gate& gate)
    : log_(want_data) {
  auto engine = mitm::intercept::Engine::make(
      std::move(settings), std::make_shared<const divert::Policy>(std::move(policy)),
      rig::ours().signer, log_.bus(), gate);
  REQUIRE(engine);
  engine_ = std::move(*engine);
}

Engine::~Engine() {
  CHECK(idle());
}

bool Engine::idle() {
  runner_.settle();
  return open_ == 0;
}

std::string Engine::wait_for(Peer& peer, std::size_t size) {
  const auto limit = std::chrono::steady_clock::now() + kLimit;
  std::string heard = peer.hear(size);
  while (heard.size() < size && std::chrono::steady_clock::now() < limit) {
    runner_.wait(limit);
    heard += peer.hear(size - heard.size());
  }
  return heard;
}

std::pair<Peer, Peer> Engine::open(divert::Verdict verdict, std::uint16_t port) {
  divert::Connection connection;
  connection.id = ++ids_;
  connection.verdict = std::move(verdict);
  if (!exe_.empty()) {
    procmap::ProcessFacts facts;
    facts.exe = exe_;
    facts.uid = uid_;
    connection.process = std::make_shared<const procmap::ProcessFacts>(std::move(facts));
  }
  connection.opened = std::chrono::system_clock::now();
  connection.client = *base::parse_endpoint("127.0.0.1:50000");
  connection.server = *base::parse_endpoint("127.0.0.1:80");
  connection.server.port(port != 0 ? port : static_cast<std::uint16_t>(kPorts + ids_));
  Connection& between = connections_.emplace_back(runner_.context());
  ++open_;
  boost::asio::co_spawn(runner_.context(), carry(std::move(connection), between),
                        [this](std::exception_ptr thrown) {
                          CHECK(thrown == nullptr);
                          --open_;
                        });
  runner_.settle();
  return {Peer{runner_, between.client}, Peer{runner_, between.server}};
}

boost::asio::awaitable<void> Engine::carry(divert::Connection connection, Connection& between) {
  const divert::OpenStraight not_needed;
  co_await engine_->intercept(std::move(connection), between.client, between.server, not_needed);
  between.client.close();
  between.server.close();
}

}  // namespace dialogue
