// Real sockets, real OpenSSL on both ends, the real engine on a thread of its own.
#include "tests/mitm/intercept_rig.h"

#include <csignal>
#include <cstring>
#include <filesystem>

#include <boost/asio/co_spawn.hpp>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "mitm/format/sinks.h"
#include "tests/test.h"

namespace rig {
namespace {

using boost::asio::ip::tcp;
constexpr auto kLimit = std::chrono::seconds{20};

Authority make_authority(const std::string& name) {
  const auto directory =
      std::filesystem::temp_directory_path() / fmt::format("osproxy-rig-{}-{}", ::getpid(), name);
  std::filesystem::remove_all(directory);
  auto root = mitm::tls::create_root(directory.string());
  REQUIRE(root);
  std::filesystem::remove_all(directory);
  auto intermediate = mitm::tls::issue_intermediate(*root);
  REQUIRE(intermediate);
  auto signer = mitm::tls::LeafSigner::make(std::move(*intermediate));
  REQUIRE(signer);
  return {mitm::tls::to_pem(root->certificate.get()), *signer};
}

std::string wire_names(const std::vector<std::string>& names) {
  std::string wire;
  for (const auto& name : names) wire += static_cast<char>(name.size()) + name;
  return wire;
}

std::chrono::nanoseconds processor_time() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return std::chrono::seconds{now.tv_sec} + std::chrono::nanoseconds{now.tv_nsec};
}

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

std::size_t Peer::say_what_fits(std::string_view bytes) {
  std::size_t said = 0;
  while (said < bytes.size()) {
    const auto put =
        ::send(fd_.get(), bytes.data() + said, bytes.size() - said, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (put <= 0) break;
    said += static_cast<std::size_t>(put);
  }
  return said;
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
  if (split_.first > 0) say_split_hello();
  const int done = server ? SSL_accept(ssl_.get()) : SSL_connect(ssl_.get());
  if (done != 1) {
    const char* reason = ERR_reason_error_string(ERR_peek_error());
    tls_error_ = reason != nullptr ? reason : "closed";
    ERR_clear_error();
  }
  return done == 1;
}

/// The same handshake message in other records: the transcript, which both ends sign, does not have
/// them.
void Peer::say_split_hello() {
  BIO* const out = BIO_new(BIO_s_mem());
  SSL_set_bio(ssl_.get(), BIO_new(BIO_s_mem()), out);
  SSL_connect(ssl_.get());
  char* bytes = nullptr;
  std::string_view rest{nullptr, 0};
  const auto size = static_cast<std::size_t>(BIO_get_mem_data(out, &bytes));
  std::string message, records;
  for (rest = {bytes, size}; rest.size() > 5;) {
    const auto payload = static_cast<std::size_t>(static_cast<unsigned char>(rest[3]) << 8 |
                                                  static_cast<unsigned char>(rest[4]));
    message.append(rest.substr(5, payload));
    rest.remove_prefix(5 + payload);
  }
  for (std::size_t at = 0; at < message.size(); at += split_.first) {
    const auto piece = message.substr(at, split_.first);
    records.append("\x16\x03\x01", 3);
    records.append({static_cast<char>(piece.size() >> 8), static_cast<char>(piece.size())})
        .append(piece);
  }
  const int now = 1;
  ::setsockopt(fd_.get(), IPPROTO_TCP, TCP_NODELAY, &now, sizeof now);
  for (std::size_t at = 0; at < records.size(); at += split_.second) {
    const auto piece = records.substr(at, split_.second);
    REQUIRE(::send(fd_.get(), piece.data(), piece.size(), MSG_NOSIGNAL) ==
            static_cast<ssize_t>(piece.size()));
    std::this_thread::sleep_for(std::chrono::milliseconds{1});
  }
  SSL_set_fd(ssl_.get(), fd_.get());
}

Handshake shake(Peer& program, SSL_CTX* client, Peer& server, SSL_CTX* origin, const char* sni,
                const std::vector<std::string>& alpn) {
  auto accepted = std::async(std::launch::async, [&] { return server.start_tls(origin, true); });
  Handshake result;
  result.program = program.start_tls(client, false, sni, alpn);
  result.server = accepted.get();
  return result;
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

divert::Policy policy_for(std::string host, divert::Action action) {
  divert::Policy policy;
  divert::Rule rule;
  rule.hosts = {std::move(host)};
  rule.action = action;
  policy.rules = {rule};
  return policy;
}

divert::Verdict by_host(divert::Action otherwise, divert::Action action) {
  return {otherwise, "test", {{0, action}}};
}

mitm::tls::SslCtxPtr Authority::server(const std::string& host) const {
  mitm::tls::SslCtxPtr context{SSL_CTX_new(TLS_server_method())};
  auto leaf = mitm::tls::issue_leaf(*signer, {host, nullptr, mitm::tls::KeyType::p256});
  REQUIRE(leaf);
  SSL_CTX_use_certificate(context.get(), leaf->get());
  SSL_CTX_use_PrivateKey(context.get(), signer->key(mitm::tls::KeyType::p256));
  SSL_CTX_add1_chain_cert(context.get(), signer->intermediate().certificate.get());
  SSL_CTX_set_alpn_select_cb(
      context.get(),
      [](SSL*, const unsigned char** out, unsigned char* size, const unsigned char* in, unsigned,
         void*) {
        *out = in + 1;  // the client's first
        *size = in[0];
        return SSL_TLSEXT_ERR_OK;
      },
      nullptr);
  return context;
}

mitm::tls::SslCtxPtr Authority::client() const {
  mitm::tls::SslCtxPtr context{SSL_CTX_new(TLS_client_method())};
  const mitm::tls::BioPtr bio{BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size()))};
  const mitm::tls::X509Ptr root{PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)};
  X509_STORE_add_cert(SSL_CTX_get_cert_store(context.get()), root.get());
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
  return context;
}

const Authority& ours() {
  static const Authority one = make_authority("ours");
  return one;
}

const Authority& theirs() {
  static const Authority one = make_authority("theirs");
  return one;
}

const Authority& strangers() {
  static const Authority one = make_authority("strangers");
  return one;
}

mitm::intercept::Settings trusting() {
  mitm::intercept::Settings settings;
  settings.upstream_ca = theirs().pem;
  settings.upstream_ca_only = true;
  settings.body_limit = 4096;
  return settings;
}

mitm::intercept::Settings with_pages() {
  auto settings = trusting();
  settings.error_page = mitm::intercept::ErrorPage::always;
  return settings;
}

class Rig::Sink final : public mitm::flow::Subscriber {
 public:
  Sink(Log& log, bool want_data) : log_(log), want_data_(want_data) {}
  base::Result<> write(const mitm::flow::Event& event) override {
    const std::lock_guard lock{log_.mutex};
    log_.kinds.push_back(event.index());
    if (const auto* data = std::get_if<mitm::flow::TcpData>(&event)) {
      log_.data.push_back(*data->data);
    } else if (const auto flow = test::flatten(event)) {
      using Event = test::FlatFlow::Event;
      auto& list = flow->event == Event::start ? log_.starts
                   : flow->event == Event::end ? log_.ends
                                               : log_.messages;
      list.push_back(*flow);
    }
    log_.changed.notify_all();
    return {};
  }
  base::Result<> flush() override { return {}; }
  [[nodiscard]] mitm::flow::EventSet wants() const override {
    using mitm::flow::EventSet;
    const auto data = want_data_ ? EventSet::of<mitm::flow::TcpData>() : EventSet();
    using namespace mitm::flow;
    return mitm::format::kShownEvents | data |
           EventSet::of<ConnectionOpened, RequestHead, RequestEnd, ResponseHead, ConnectionEnd>();
  }
  [[nodiscard]] const std::string& name() const override { return name_; }

 private:
  Log& log_;
  bool want_data_;
  std::string name_ = "log";
};

Rig::Rig(mitm::intercept::Settings settings, divert::Policy policy, bool want_data,
         mitm::intercept::Gate& gate)
    : bus_(
          [&] {
            std::vector<std::unique_ptr<mitm::flow::Subscriber>> sinks;
            sinks.push_back(std::make_unique<Sink>(log_, want_data));
            return sinks;
          }(),
          [](void*, const mitm::flow::Subscriber&, const base::Error&) {}, nullptr) {
  std::signal(SIGPIPE, SIG_IGN);
  bus_.start();
  auto engine = mitm::intercept::Engine::make(
      std::move(settings), std::make_shared<const divert::Policy>(std::move(policy)), ours().signer,
      bus_, gate);
  REQUIRE(engine);
  engine_ = std::move(*engine);
  tick();
  thread_ = std::thread{[this] { context_.run(); }};
}

/// As the worker does it, but more often.
void Rig::tick() {
  ticks_.expires_after(std::chrono::milliseconds{100});
  ticks_.async_wait([this](const boost::system::error_code& error) {
    if (error) return;
    engine_->tick();
    tick();
  });
}

Rig::~Rig() {
  CHECK(idle());
  work_.reset();
  context_.stop();
  thread_.join();
}

std::pair<Peer, Peer> Rig::open(divert::Verdict verdict, const base::UniqueFd* listener) {
  const base::UniqueFd door = listen();
  constexpr int kLittle = 16 << 10;
  if (takes_little_) ::setsockopt(door.get(), SOL_SOCKET, SO_RCVBUF, &kLittle, sizeof kLittle);
  auto [program, client] = tcp_pair(door);
  if (takes_little_) ::setsockopt(program.get(), SOL_SOCKET, SO_SNDBUF, &kLittle, sizeof kLittle);
  const base::UniqueFd own = listener != nullptr ? base::UniqueFd{} : listen();
  auto [server, origin] = tcp_pair(listener != nullptr ? *listener : own);
  constexpr int kMuch = 8 << 20;
  for (const int fd : {client.get(), server.get()}) {
    if (takes_much_) ::setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &kMuch, sizeof kMuch);
  }
  {
    const std::lock_guard lock{log_.mutex};
    ++log_.open;
  }
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
          const std::lock_guard lock{log_.mutex};
          --log_.open;
          log_.changed.notify_all();
        });
  });
  return {Peer{std::move(program)}, Peer{std::move(origin)}};
}

template <class T>
std::vector<T> Rig::wait_for(std::vector<T> Log::*list, std::size_t count) {
  std::unique_lock lock{log_.mutex};
  log_.changed.wait_for(lock, kLimit, [&] { return (log_.*list).size() >= count; });
  REQUIRE((log_.*list).size() >= count);
  return log_.*list;
}

std::vector<test::FlatFlow> Rig::ended(std::size_t count) {
  return wait_for(&Log::ends, count);
}

std::vector<test::FlatFlow> Rig::started(std::size_t count) {
  return wait_for(&Log::starts, count);
}

std::vector<test::FlatFlow> Rig::messages(std::size_t count) {
  return wait_for(&Log::messages, count);
}

std::vector<std::size_t> Rig::kinds(std::size_t count) {
  return wait_for(&Log::kinds, count);
}

std::vector<mitm::flow::Data> Rig::data(std::size_t count) {
  return wait_for(&Log::data, count);
}

void Rig::run_turns(int count) {
  for (int i = 0; i < count; ++i) {
    std::promise<void> done;
    boost::asio::post(context_, [&] { done.set_value(); });
    done.get_future().get();
  }
}

std::promise<void> Rig::pause() {
  std::promise<void> end, begun;
  boost::asio::post(context_, [&begun, ended = end.get_future().share()] {
    begun.set_value();
    ended.wait();
  });
  begun.get_future().get();
  return end;
}

void Rig::watch_turns() {
  std::promise<void> begun;
  boost::asio::post(context_, [&] {
    watches_turns_ = true;
    longest_turn_ = {};
    take_turn(processor_time());
    begun.set_value();
  });
  begun.get_future().get();
}

void Rig::take_turn(std::chrono::nanoseconds last) {
  if (!watches_turns_) return;
  longest_turn_ = std::max(longest_turn_, processor_time() - last);
  boost::asio::post(context_, [this, now = processor_time()] { take_turn(now); });
}

std::chrono::nanoseconds Rig::longest_turn() {
  std::promise<std::chrono::nanoseconds> longest;
  boost::asio::post(context_, [&] {
    watches_turns_ = false;
    longest.set_value(longest_turn_);
  });
  return longest.get_future().get();
}

bool Rig::idle() {
  std::unique_lock lock{log_.mutex};
  return log_.changed.wait_for(lock, kLimit, [&] { return log_.open == 0; });
}

}  // namespace rig
