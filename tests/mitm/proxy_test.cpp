// What proxies are told and how their answers are understood: dialogues, in every cut.
#include <cerrno>

#include "mitm/intercept/wire/dialer.h"
#include "mitm/proxy/handshake.h"
#include "mitm/proxy/url.h"
#include "tests/test.h"

using divert::Action;
using divert::Way;
using mitm::proxy::Handshake;
using mitm::proxy::parse_proxy;
using mitm::proxy::Proxy;
using mitm::proxy::Target;
using What = Handshake::What;

namespace {

std::string bytes(std::initializer_list<int> list) {
  std::string out;
  for (const int one : list) out += static_cast<char>(one);
  return out;
}

Proxy proxy_at(std::string_view url) {
  auto proxy = parse_proxy(url);
  REQUIRE_MESSAGE(proxy, url);
  return *proxy;
}

Target target(std::string_view address, std::string name = {}) {
  return {*base::parse_endpoint(address), std::move(name)};
}

struct Dialogue {
  const char* title;
  const char* url;
  const char* address;
  const char* name;
  std::vector<std::string> proxy_says;  ///< each an answer to the one of `we_say` at its place
  std::vector<std::string> we_say;
  const char* refusal;  ///< empty: the way is open
  int error;
};

const std::string kReplyV4 = bytes({5, 0, 0, 1, 192, 0, 2, 9, 0x30, 0x39});
const std::string kConnectV4 = bytes({5, 1, 0, 1, 192, 0, 2, 1, 1, 0xbb});
const std::string kHead = "CONNECT 192.0.2.1:443 HTTP/1.1\r\nHost: 192.0.2.1:443\r\n";

const std::vector<Dialogue>& dialogues() {
  static const std::vector<Dialogue> all = {
      {"http",
       "http://p:1",
       "192.0.2.1:443",
       "one.test",
       {"HTTP/1.1 200 Connection established\r\n\r\n"},
       {kHead + "\r\n"},
       "",
       0},
      {"http, IPv6",
       "http://p:1",
       "[2001:db8::1]:443",
       "",
       {"HTTP/1.0 200\r\nVia: x\r\n\r\n"},
       {"CONNECT [2001:db8::1]:443 HTTP/1.1\r\nHost: [2001:db8::1]:443\r\n\r\n"},
       "",
       0},
      {"https, with credentials",
       "https://Aladdin:open%20sesame@p:1",
       "192.0.2.1:443",
       "",
       {"HTTP/1.1 204 x\n\n"},
       {kHead + "Proxy-Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n\r\n"},
       "",
       0},
      {"http, an interim answer first",
       "http://p:1",
       "192.0.2.1:443",
       "",
       {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"},
       {kHead + "\r\n"},
       "",
       0},
      {"http, 407",
       "http://p:1",
       "192.0.2.1:443",
       "",
       {"HTTP/1.1 407 Proxy Authentication Required\r\nX: y\r\n\r\n"},
       {kHead + "\r\n"},
       "407 Proxy Authentication Required; give user and password in its URL: "
       "http://USER:PASSWORD@HOST:PORT",
       ECONNREFUSED},
      {"http, 407 to a password",
       "http://a:b@p:1",
       "192.0.2.1:443",
       "",
       {"HTTP/1.1 407 No\r\n\r\n"},
       {kHead + "Proxy-Authorization: Basic YTpi\r\n\r\n"},
       "407 No; it does not accept this user and password",
       ECONNREFUSED},
      {"http, 502",
       "http://p:1",
       "192.0.2.1:443",
       "",
       {"HTTP/1.1 502 Bad \x1b[1mGateway\r\n\r\n"},
       {kHead + "\r\n"},
       "502 Bad \\x1b[1mGateway",
       ECONNREFUSED},
      {"http, but it is none",
       "http://p:1",
       "192.0.2.1:443",
       "",
       {"SSH-2.0-OpenSSH_9.2p1\r\n\r\n"},
       {kHead + "\r\n"},
       "it does not answer as an HTTP proxy does",
       ECONNREFUSED},
      {"http, a status that is none",
       "http://p:1",
       "192.0.2.1:443",
       "",
       {"HTTP/1.1 2000 OK\r\n\r\n"},
       {kHead + "\r\n"},
       "it does not answer as an HTTP proxy does",
       ECONNREFUSED},
      {"http, endless",
       "http://p:1",
       "192.0.2.1:443",
       "",
       {"HTTP/1.1 200 OK\r\nX: " + std::string(Handshake::kMaxHead - 20, 'x')},
       {kHead + "\r\n"},
       "the head of its answer is too long",
       ECONNREFUSED},
      {"socks5",
       "socks5://p:1",
       "192.0.2.1:443",
       "one.test",
       {bytes({5, 0}), kReplyV4},
       {bytes({5, 1, 0}), kConnectV4},
       "",
       0},
      {"socks5, IPv4 in IPv6",
       "socks5://p:1",
       "[::ffff:192.0.2.1]:443",
       "",
       {bytes({5, 0}), kReplyV4},
       {bytes({5, 1, 0}), kConnectV4},
       "",
       0},
      {"socks5, IPv6",
       "socks5://p:1",
       "[2001:db8::1]:80",
       "",
       {bytes({5, 0}), bytes({5, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0})},
       {bytes({5, 1, 0}),
        bytes({5, 1, 0, 4, 0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 80})},
       "",
       0},
      {"socks5h",
       "socks5h://p:1",
       "192.0.2.1:443",
       "one.test",
       {bytes({5, 0}), bytes({5, 0, 0, 3, 2}) + "ab" + bytes({0, 1})},
       {bytes({5, 1, 0}), bytes({5, 1, 0, 3, 8}) + "one.test" + bytes({1, 0xbb})},
       "",
       0},
      {"socks5h without a name",
       "socks5h://p:1",
       "192.0.2.1:443",
       "",
       {bytes({5, 0}), kReplyV4},
       {bytes({5, 1, 0}), kConnectV4},
       "",
       0},
      {"socks5, with a password",
       "socks5://ann:x%3a@p:1",
       "192.0.2.1:443",
       "",
       {bytes({5, 2}), bytes({1, 0}), kReplyV4},
       {bytes({5, 2, 0, 2}), bytes({1, 3}) + "ann" + bytes({2}) + "x:", kConnectV4},
       "",
       0},
      {"socks5, a password that is not asked for",
       "socks5://ann:x@p:1",
       "192.0.2.1:443",
       "",
       {bytes({5, 0}), kReplyV4},
       {bytes({5, 2, 0, 2}), kConnectV4},
       "",
       0},
      {"socks5, wrong password",
       "socks5://ann:x@p:1",
       "192.0.2.1:443",
       "",
       {bytes({5, 2}), bytes({1, 1})},
       {bytes({5, 2, 0, 2}), bytes({1, 3}) + "ann" + bytes({1}) + "x"},
       "it does not accept this user and password",
       ECONNREFUSED},
      {"socks5, a password is missing",
       "socks5://p:1",
       "192.0.2.1:443",
       "",
       {bytes({5, 0xff})},
       {bytes({5, 1, 0})},
       "it wants a user; give user and password in its URL: socks5://USER:PASSWORD@HOST:PORT",
       ECONNREFUSED},
      {"socks5, a method that was not offered",
       "socks5://p:1",
       "192.0.2.1:443",
       "",
       {bytes({5, 2})},
       {bytes({5, 1, 0})},
       "it offers no way to authenticate that osproxy knows",
       ECONNREFUSED},
      {"socks5, but it is HTTP",
       "socks5://p:1",
       "192.0.2.1:443",
       "",
       {"HT"},
       {bytes({5, 1, 0})},
       "it does not answer as a SOCKS5 proxy does",
       ECONNREFUSED},
      {"socks5, refused",
       "socks5://p:1",
       "192.0.2.1:443",
       "",
       {bytes({5, 0}), bytes({5, 5})},
       {bytes({5, 1, 0}), kConnectV4},
       "connection refused (SOCKS 5)",
       ECONNREFUSED},
      {"socks5, no route",
       "socks5://p:1",
       "192.0.2.1:443",
       "",
       {bytes({5, 0}), bytes({5, 3})},
       {bytes({5, 1, 0}), kConnectV4},
       "network unreachable (SOCKS 3)",
       ENETUNREACH},
      {"socks5, no host",
       "socks5://p:1",
       "192.0.2.1:443",
       "",
       {bytes({5, 0}), bytes({5, 4})},
       {bytes({5, 1, 0}), kConnectV4},
       "host unreachable (SOCKS 4)",
       EHOSTUNREACH},
      {"socks5, an unknown code",
       "socks5://p:1",
       "192.0.2.1:443",
       "",
       {bytes({5, 0}), bytes({5, 200})},
       {bytes({5, 1, 0}), kConnectV4},
       "unknown reason (SOCKS 200)",
       ECONNREFUSED},
      {"socks5, an unknown kind of address",
       "socks5://p:1",
       "192.0.2.1:443",
       "",
       {bytes({5, 0}), bytes({5, 0, 0, 2, 0})},
       {bytes({5, 1, 0}), kConnectV4},
       "it does not answer as a SOCKS5 proxy does",
       ECONNREFUSED},
  };
  return all;
}

/// Plays `dialogue`; what the proxy says comes in pieces that end at `cut` and every `step` bytes
/// after it. `rest` follows its last answer and must be left alone.
void play(const Dialogue& dialogue, std::size_t cut, std::size_t step, std::string_view rest) {
  Handshake handshake{proxy_at(dialogue.url), target(dialogue.address, dialogue.name)};
  for (std::size_t turn = 0; turn < dialogue.proxy_says.size(); ++turn) {
    REQUIRE(handshake.to_send() == dialogue.we_say[turn]);
    const bool last = turn + 1 == dialogue.proxy_says.size();
    const std::string all = dialogue.proxy_says[turn] + std::string(last ? rest : "");
    std::size_t taken = 0;
    auto what = What::more;
    for (std::size_t end = std::min(cut, all.size()); what == What::more;
         end = std::min(end + step, all.size())) {
      const auto done = handshake.take(std::string_view{all}.substr(taken, end - taken));
      what = done.what;
      taken += done.used;
      REQUIRE(taken <= end);
      if (what == What::more) REQUIRE(taken == end);
      if (end == all.size()) break;
    }
    CHECK(taken == dialogue.proxy_says[turn].size());
    if (!last) CHECK(what == What::send);
    if (last) CHECK(what == (dialogue.refusal[0] == '\0' ? What::open : What::refused));
  }
  CHECK(handshake.why() == dialogue.refusal);
  CHECK(handshake.error() == dialogue.error);
}

/// `upstream` empty: the rule says nothing of it.
divert::Rule rule(Action action, const std::string& upstream, std::vector<std::string> hosts = {}) {
  divert::Rule made;
  made.action = action;
  made.hosts = std::move(hosts);
  if (!upstream.empty()) made.upstream = upstream;
  return made;
}

}  // namespace

TEST_CASE("proxy: dialogues, whole, byte by byte and cut at every offset") {
  for (const auto& dialogue : dialogues()) {
    CAPTURE(dialogue.title);
    for (const std::string_view rest : {"", "220 hello\r\n\r\n"}) {
      play(dialogue, 1 << 20, 1, rest);
      play(dialogue, 1, 1, rest);
      std::size_t longest = 0;
      for (const auto& said : dialogue.proxy_says)
        longest = std::max(longest, std::min<std::size_t>(said.size(), 200));
      for (std::size_t cut = 0; cut <= longest; ++cut) play(dialogue, cut, 1 << 20, rest);
    }
  }
}

TEST_CASE("proxy: an answer that is not whole is neither good nor bad") {
  for (const auto& dialogue : dialogues()) {
    CAPTURE(dialogue.title);
    const auto& first = dialogue.proxy_says[0];
    for (std::size_t size = 0; size + 1 < std::min<std::size_t>(first.size(), 100); ++size) {
      if (std::string_view{first}.substr(0, size).ends_with("\r\n\r\n")) continue;
      Handshake handshake{proxy_at(dialogue.url), target(dialogue.address)};
      CHECK(handshake.take(std::string_view{first}.substr(0, size)).what == What::more);
    }
  }
}

TEST_CASE("proxy: URLs") {
  struct Case {
    const char* url;
    const char* label;
    Proxy::Kind kind;
    bool remote_names;
    const char* user;  ///< null: none
    const char* password;
  };
  const Case cases[] = {
      {"http://proxy.example:3128", "http://proxy.example:3128", Proxy::Kind::http, false, nullptr,
       ""},
      {"http://proxy.example:3128/", "http://proxy.example:3128", Proxy::Kind::http, false, nullptr,
       ""},
      {"https://ann:secret@192.0.2.1:443", "https://192.0.2.1:443", Proxy::Kind::https, false,
       "ann", "secret"},
      {"socks5://ann@[2001:db8::1]:1080", "socks5://[2001:db8::1]:1080", Proxy::Kind::socks5, false,
       "ann", ""},
      {"socks5h://a%40b:c:d@e%25@h:1", "socks5h://h:1", Proxy::Kind::socks5, true, "a@b", "c:d@e%"},
  };
  for (const auto& one : cases) {
    CAPTURE(one.url);
    const auto proxy = proxy_at(one.url);
    CHECK(proxy.label() == one.label);
    CHECK(proxy.kind == one.kind);
    CHECK(proxy.remote_names == one.remote_names);
    CHECK(proxy.credentials.has_value() == (one.user != nullptr));
    if (!proxy.credentials) continue;
    CHECK(proxy.credentials->user == one.user);
    CHECK(proxy.credentials->password == one.password);
  }
  for (const std::string_view none : {"", "direct"}) {
    const auto parsed = mitm::proxy::parse_upstream(none);
    REQUIRE(parsed);
    CHECK_FALSE(parsed->has_value());
  }
}

TEST_CASE("proxy: wrong URLs are reported, without the password in them") {
  const std::pair<std::string, const char*> cases[] = {
      {"proxy:3128", "this is no URL"},
      {"ftp://s3cret@p:1", "'ftp' is no kind of proxy"},
      {"socks4://p:1", "'socks4' is no kind of proxy"},
      {"http://", "there is no port"},
      {"http://p", "there is no port"},
      {"http://:80", "there is no host"},
      {"http://a b:80", "there is no host"},
      {"http://a/b:80", "there is no host"},
      {"http://p:80/path", "the port is no number"},
      {"http://p:0", "the port is no number"},
      {"http://p:65536", "the port is no number"},
      {"http://p:", "the port is no number"},
      {"http://[::1", "there is no port"},
      {"http://[::1]", "there is no port"},
      {"http://[p]:1", "no IPv6 address"},
      {"http://ann:s3cret%4@p:1", "two hexadecimal digits"},
      {"http://ann:s3cret%@p:1", "two hexadecimal digits"},
      {"http://ann:s3cret%zz@p:1", "two hexadecimal digits"},
      {"http://:s3cret@p:1", "there is no user"},
      {"http://a%3ab:s3cret@p:1", "colon"},
      {"http://a:s3cret" + std::string(256, 'x') + "@p:1", "longer than 255"},
      {"http://" + std::string(2000, 'x') + ":1", "longer than 1024"},
  };
  for (const auto& [url, expected] : cases) {
    CAPTURE(url);
    const auto parsed = parse_proxy(url);
    REQUIRE_FALSE(parsed);
    CHECK_MESSAGE(parsed.error().text.find(expected) != std::string::npos, parsed.error().text);
    CHECK(parsed.error().text.find("expected a URL such as http://proxy.example:3128") !=
          std::string::npos);
    CHECK(parsed.error().text.find("s3cret") == std::string::npos);
  }
}

TEST_CASE("proxy: the way of a connection, by its verdict") {
  divert::Policy policy;
  policy.upstream = "http://p:1";
  policy.rules = {rule(Action::intercept, "direct"),
                  rule(Action::intercept, "socks5h://q:1"),
                  rule(Action::pass, {}, {"a.test"}),
                  rule(Action::intercept, {}, {"b.test"}),
                  rule(Action::block, {}),
                  rule(Action::intercept, "http://p:1")};
  const auto tls = mitm::intercept::UpstreamTls::make(mitm::intercept::Settings{});
  REQUIRE(tls);
  const auto dialer = mitm::intercept::Dialer::make(policy, **tls);
  REQUIRE(dialer);
  const auto way = [&](Action action, std::uint16_t decided,
                       std::vector<divert::Verdict::ByHost> by_host = {}) {
    return (*dialer)->way({action, "test", std::move(by_host), decided});
  };
  constexpr auto kNone = divert::Verdict::kNoRule;
  CHECK(way(Action::intercept, kNone) == Way::ahead);
  CHECK(way(Action::intercept, 0) == Way::straight);
  CHECK(way(Action::intercept, 1) == Way::late);
  CHECK(way(Action::intercept, 5) == Way::ahead);
  CHECK(way(Action::pass, kNone) == Way::straight);
  CHECK(way(Action::block, 4) == Way::straight);
  // What depends on the host, and differs, has to wait for it.
  CHECK(way(Action::intercept, kNone, {{2, Action::pass}}) == Way::late);
  CHECK(way(Action::intercept, kNone, {{3, Action::intercept}}) == Way::ahead);
  CHECK(way(Action::intercept, 0, {{2, Action::pass}}) == Way::straight);
  CHECK(way(Action::pass, kNone, {{3, Action::intercept}}) == Way::late);
  const auto* proxy = (*dialer)->proxy_for({Action::intercept, "test", {}, 1});
  REQUIRE(proxy != nullptr);
  CHECK(proxy->label() == "socks5h://q:1");
  CHECK((*dialer)->proxy_for({Action::pass, "test", {}, kNone}) == nullptr);
}

TEST_CASE("proxy: a rule's wrong URL is reported with its place") {
  divert::Policy policy;
  policy.rules = {rule(Action::intercept, {}), rule(Action::intercept, "http://p")};
  const auto tls = mitm::intercept::UpstreamTls::make(mitm::intercept::Settings{});
  REQUIRE(tls);
  const auto dialer = mitm::intercept::Dialer::make(policy, **tls);
  REQUIRE_FALSE(dialer);
  CHECK(dialer.error().text.starts_with("rules[1].upstream: there is no port"));
}
