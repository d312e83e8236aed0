// Dialogues over TLS, the choice of what is spoken, rules on hosts, and raw connections.
#include <future>
#include <string>

#include <netinet/tcp.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>

#include "mitm/http/http2.h"
#include "mitm/tls/certificate.h"
#include "tests/mitm/http2_frames.h"
#include "tests/mitm/intercept_rig.h"
#include "tests/test.h"

using mitm::flow::Type;
using mitm::tls::SslCtxPtr;
using rig::by_host;
using rig::End;
using rig::kGet;
using rig::kOk;
using rig::passes;
using rig::Peer;
using rig::policy_for;
using rig::Rig;
using rig::shake;

namespace {

std::string alpn_of(const Peer& peer) {
  const unsigned char* name = nullptr;
  unsigned size = 0;
  SSL_get0_alpn_selected(peer.ssl(), &name, &size);
  return {reinterpret_cast<const char*>(name), size};
}

mitm::intercept::Settings with_pages() {
  auto settings = rig::trusting();
  settings.error_page = mitm::intercept::ErrorPage::always;
  return settings;
}

}  // namespace

TEST_CASE("tls: HTTP inside TLS is seen, with the facts of the connection") {
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    CAPTURE(version);
    Rig rig{rig::trusting()};
    auto [program, server] = rig.open();
    const SslCtxPtr client = rig::ours().client();
    const SslCtxPtr origin = rig::theirs().server("h.test");
    SSL_CTX_set_max_proto_version(client.get(), version);
    const auto done = shake(program, client.get(), server, origin.get(), "h.test", {"http/1.1"});
    REQUIRE_MESSAGE(done.program, program.tls_error());
    REQUIRE(done.server);
    CHECK(alpn_of(program) == "http/1.1");
    CHECK(SSL_get_servername(server.ssl(), TLSEXT_NAMETYPE_host_name) == std::string("h.test"));
    passes(program, server, kGet);
    passes(server, program, kOk);
    program.finish();
    CHECK(server.hear_all() == "");
    CHECK(server.end() == End::notify);
    const auto flow = rig.ended(1).at(0);
    CHECK(flow.type == Type::http);
    CHECK(flow.url == rig::with_port("https://h.test/a", flow));
    CHECK(flow.sni == "h.test");
    REQUIRE(flow.tls != nullptr);
    CHECK(flow.tls->version == (version == TLS1_2_VERSION ? "TLSv1.2" : "TLSv1.3"));
    CHECK(flow.tls->cipher != "");
    CHECK(flow.tls->alpn == "http/1.1");
  }
}

TEST_CASE("tls: what was agreed on with the server is told beside what was with the program") {
  Rig rig{rig::trusting()};
  auto [program, server] = rig.open();
  const SslCtxPtr client = rig::ours().client();
  const SslCtxPtr origin = rig::theirs().server("h.test");
  SSL_CTX_set_max_proto_version(origin.get(), TLS1_2_VERSION);
  const auto done = shake(program, client.get(), server, origin.get(), "h.test", {"http/1.1"});
  REQUIRE_MESSAGE(done.program, program.tls_error());
  passes(program, server, kGet);
  passes(server, program, kOk);
  const auto flow = rig.ended(1).at(0);
  CHECK(flow.tls->version == "TLSv1.3");
  REQUIRE(flow.upstream_tls != nullptr);
  CHECK(flow.upstream_tls->version == "TLSv1.2");
  CHECK(flow.upstream_tls->cipher == SSL_get_cipher_name(server.ssl()));
  CHECK(flow.upstream_tls->alpn == alpn_of(server));
}

TEST_CASE("tls: the program gets the ALPN that the server chose from its own list, without h3") {
  struct Case {
    std::vector<std::string> offered;
    std::string heard;  ///< first of what the server was offered; it chooses that
  };
  const Case cases[] = {{{"h2", "http/1.1"}, "h2"},
                        {{"h2"}, "h2"},
                        {{"h3", "http/1.1"}, "http/1.1"},
                        {{}, ""},
                        {{"acme", "h2"}, "acme"}};
  for (const auto& one : cases) {
    Rig rig{rig::trusting()};
    auto [program, server] = rig.open();
    const SslCtxPtr client = rig::ours().client();
    const SslCtxPtr origin = rig::theirs().server("h.test");
    REQUIRE(shake(program, client.get(), server, origin.get(), "h.test", one.offered).program);
    CHECK(alpn_of(server) == one.heard);
    CHECK(alpn_of(program) == one.heard);
    if (one.heard == "h2") continue;
    passes(program, server, kGet);
    passes(server, program, kOk);
    program.finish();
    server.hear_all();
    server.finish();
    program.hear_all();
    const auto flow = rig.ended(1).at(0);
    CHECK(flow.type == (one.heard == "acme" ? Type::tcp : Type::http));
  }
}

TEST_CASE("tls: a program without SNI is served by address") {
  Rig rig{rig::trusting()};
  auto [program, server] = rig.open();
  const SslCtxPtr client = rig::ours().client();
  const SslCtxPtr origin = rig::theirs().server("127.0.0.1");
  REQUIRE(shake(program, client.get(), server, origin.get(), nullptr).program);
  passes(program, server, "GET / HTTP/1.1\r\nHost: x:1\r\n\r\n");
  passes(server, program, kOk);
  const auto flow = rig.ended(1).at(0);
  CHECK(flow.sni == "");
  CHECK(flow.host == "x");
}

TEST_CASE("tls: sessions are resumed upstream, and the leaf still mirrors the server's certificate") {
  Rig rig{rig::trusting()};
  const SslCtxPtr origin = rig::theirs().server("h.test");
  const SslCtxPtr client = rig::ours().client();
  const auto listener = rig::listen();
  for (const bool resumed : {false, true, true}) {
    auto [program, server] = rig.open({divert::Action::intercept, "test", {}}, &listener);
    REQUIRE(shake(program, client.get(), server, origin.get(), "h.test").program);
    passes(program, server, kGet);
    passes(server, program, kOk);
    CHECK(SSL_session_reused(server.ssl()) == (resumed ? 1 : 0));
    const mitm::tls::X509Ptr leaf{SSL_get1_peer_certificate(program.ssl())};
    CHECK(X509_check_host(leaf.get(), "h.test", 0, 0, nullptr) == 1);
  }
}

TEST_CASE("tls: a session is not resumed for another name on the same server") {
  Rig rig{rig::trusting()};
  const SslCtxPtr client = rig::ours().client();
  const auto listener = rig::listen();
  for (const char* name : {"h.test", "other.test"}) {
    const SslCtxPtr origin = rig::theirs().server(name);
    auto [program, server] = rig.open({divert::Action::intercept, "test", {}}, &listener);
    REQUIRE(shake(program, client.get(), server, origin.get(), name).program);
    CHECK(SSL_session_reused(server.ssl()) == 0);
  }
}

TEST_CASE(
    "tls: whatever is wrong with the server's certificate, an HTTP client may get a page that says so") {
  struct Case {
    const char* name;
    const rig::Authority& authority;
    const char* host;
    std::vector<const char*> why;
  };
  const Case cases[] = {{"unknown CA",
                         rig::strangers(),
                         "h.test",
                         {"unable to get local issuer", "it is signed by", "--upstream-ca", "--insecure"}},
                        {"another name",
                         rig::theirs(),
                         "other.test",
                         {"ostname mismatch (it is for other.test)", "--insecure"}}};
  for (const auto& one : cases) {
    CAPTURE(one.name);
    Rig rig{with_pages()};
    auto [program, server] = rig.open();
    const SslCtxPtr client = rig::ours().client();
    const SslCtxPtr origin = one.authority.server(one.host);
    const auto done = shake(program, client.get(), server, origin.get(), "h.test", {"h2", "http/1.1"});
    REQUIRE(done.program);
    program.say(kGet);
    const std::string page = program.hear_all();
    CHECK(program.end() == End::notify);
    CHECK(page.starts_with("HTTP/1.1 502 Bad Gateway\r\n"));
    CHECK(page.find("h.test") != page.npos);
    for (const auto* part : one.why) {
      CAPTURE(part);
      CHECK(page.find(part) != page.npos);
    }
    const auto flow = rig.ended(1).at(0);
    CHECK(flow.type == Type::http);
    CHECK(flow.status == 502);
    CHECK(flow.url == rig::with_port("https://h.test/a", flow));
    CHECK_MESSAGE(flow.error.find(one.why[0]) != flow.error.npos, flow.error);
    program.close();
    CHECK(rig.idle());
  }
}

TEST_CASE("tls: --insecure accepts any certificate") {
  auto settings = rig::trusting();
  settings.insecure = true;
  Rig rig{settings};
  auto [program, server] = rig.open();
  const SslCtxPtr client = rig::ours().client();
  const SslCtxPtr origin = rig::strangers().server("other.test");
  REQUIRE(shake(program, client.get(), server, origin.get(), "h.test").program);
  passes(program, server, kGet);
  passes(server, program, kOk);
  CHECK(rig.ended(1).at(0).error == "");
}

TEST_CASE("tls: a server that breaks off the handshake is named in the page") {
  Rig rig{with_pages()};
  auto [program, server] = rig.open();
  const SslCtxPtr client = rig::ours().client();
  auto breaking = std::async(std::launch::async, [&s = server] {
    s.hear(1);
    s.reset();
  });
  REQUIRE(program.start_tls(client.get(), false, "h.test"));
  breaking.get();
  program.say(kGet);
  CHECK(program.hear_all().find("connection reset by peer") != std::string::npos);
  CHECK(rig.ended(1).at(0).status == 502);
}

TEST_CASE("tls: a program that does not speak HTTP gets an alert when the server cannot be verified") {
  Rig rig{with_pages()};
  auto [program, server] = rig.open();
  const SslCtxPtr client = rig::ours().client();
  const SslCtxPtr origin = rig::strangers().server("h.test");
  const auto done = shake(program, client.get(), server, origin.get(), "h.test", {"imap"});
  CHECK_FALSE(done.program);
  CHECK(program.tls_error().find("alert unknown ca") != std::string::npos);
  const auto flow = rig.ended(1).at(0);
  CHECK(flow.type == Type::tls_error);
  CHECK(flow.host == "h.test");
  CHECK(flow.error.find("cannot be verified") != flow.error.npos);
  REQUIRE(flow.upstream_tls != nullptr);
  REQUIRE(flow.upstream_tls->certificates != nullptr);
  CHECK(flow.upstream_tls->certificates->size() == 2);
}

TEST_CASE("tls: what is wrong with the server's certificate reaches the program as the alert that says it") {
  struct Refusal {
    const char* name;
    const char* alert;  ///< OpenSSL's words, as the program has them
    const char* error;  ///< of the flow
    const char* names;  ///< of the server's certificate
    mitm::tls::Validity validity;
    bool known_ca;
  };
  using std::chrono::hours;
  const auto now = std::chrono::system_clock::now();
  const mitm::tls::Validity good{now - hours{1}, now + hours{1}}, past{now - hours{9}, now - hours{1}},
      future{now + hours{1}, now + hours{9}};
  const Refusal cases[] = {
      {"expired", "alert certificate expired", "certificate has expired", "DNS:h.test", past, true},
      {"not yet valid", "alert bad certificate", "certificate is not yet valid", "DNS:h.test", future, true},
      {"another name", "alert bad certificate", "ostname mismatch", "DNS:other.test", good, true},
      {"unknown CA", "alert unknown ca", "self-signed certificate", "DNS:h.test", good, false}};
  for (const auto& one : cases) {
    for (const std::vector<std::string>& alpn :
         {std::vector<std::string>{}, {"http/1.1"}, {"h2", "http/1.1"}}) {
      CAPTURE(one.name);
      Rig rig{rig::trusting()};
      auto [program, server] = rig.open();
      const SslCtxPtr client = rig::ours().client(), origin{SSL_CTX_new(TLS_server_method())};
      const auto key = mitm::tls::generate_p256();
      const auto& issuer = rig::theirs().signer->intermediate();
      X509* const above = one.known_ca ? issuer.certificate.get() : nullptr;
      const auto leaf = mitm::tls::draft_certificate("h.test", above, key->get(), one.validity);
      REQUIRE(mitm::tls::add_extension(leaf->get(), above, NID_subject_alt_name, one.names));
      REQUIRE(mitm::tls::sign(leaf->get(), one.known_ca ? issuer.key.get() : key->get()));
      SSL_CTX_use_certificate(origin.get(), leaf->get());
      SSL_CTX_use_PrivateKey(origin.get(), key->get());
      SSL_CTX_add1_chain_cert(origin.get(), issuer.certificate.get());
      CHECK_FALSE(shake(program, client.get(), server, origin.get(), "h.test", alpn).program);
      CHECK_MESSAGE(program.tls_error().find(one.alert) != std::string::npos, program.tls_error());
      const auto flow = rig.ended(1).at(0);
      CHECK(flow.type == Type::tls_error);
      CHECK_MESSAGE(flow.error.find(one.error) != flow.error.npos, flow.error);
      CHECK(flow.tls == nullptr);
      REQUIRE(flow.upstream_tls != nullptr);
      CHECK(flow.upstream_tls->version == "TLSv1.3");
      CHECK(flow.upstream_tls->cipher.starts_with("TLS_"));
      REQUIRE(flow.upstream_tls->certificates != nullptr);
      const auto& facts = flow.upstream_tls->certificates->at(0);
      CHECK(facts.subject == "CN = h.test");
      CHECK(facts.names == std::vector<std::string>{std::string(one.names).substr(4)});
      CHECK(facts.not_after == std::chrono::floor<std::chrono::seconds>(one.validity.until));
      CHECK(facts.sha256.size() == 95);
      CHECK(rig.idle());
    }
  }
}

TEST_CASE("tls: a server's own alert reaches the program") {
  Rig rig{rig::trusting()};
  auto [program, server] = rig.open();
  const SslCtxPtr client = rig::ours().client();
  auto refusing = std::async(std::launch::async, [&s = server] {
    s.hear(1);
    s.say({"\x15\x03\x01\x00\x02\x02\x70", 7});  // unrecognized_name
  });
  CHECK_FALSE(program.start_tls(client.get(), false, "h.test", {"http/1.1"}));
  refusing.get();
  CHECK_MESSAGE(program.tls_error().find("unrecognized name") != std::string::npos, program.tls_error());
  const auto flow = rig.ended(1).at(0);
  CHECK(flow.error ==
        "TLS with h.test failed: the server does not serve this name (alert unrecognized name)");
  CHECK(flow.upstream_tls == nullptr);
}

TEST_CASE("tls: a server that does not speak TLS is called that") {
  const std::pair<const char*, const char*> cases[] = {
      {"HTTP/1.1 400 Bad Request\r\n\r\n",
       "TLS with h.test failed: the server speaks plain HTTP on this port, not TLS ("},
      {"SSH-2.0-OpenSSH_9\r\n",
       "TLS with h.test failed: the server does not speak TLS on this port: its answer begins with "
       "\"SSH-2.0-OpenSSH_\" ("}};
  for (const auto& [answer, error] : cases) {
    Rig rig{rig::trusting()};
    auto [program, server] = rig.open();
    const SslCtxPtr client = rig::ours().client();
    auto answering = std::async(std::launch::async, [&s = server, answer = answer] {
      s.hear(1);
      s.say(answer);
    });
    CHECK_FALSE(program.start_tls(client.get(), false, "h.test", {"http/1.1"}));
    answering.get();
    const auto flow = rig.ended(1).at(0);
    CHECK_MESSAGE(flow.error.starts_with(error), flow.error);
    CHECK(flow.upstream_tls == nullptr);
  }
}

TEST_CASE("tls: the server's certificates are told, when a session is resumed as well") {
  Rig rig{rig::trusting()};
  const base::UniqueFd listener = rig::listen();
  const SslCtxPtr client = rig::ours().client(), origin = rig::theirs().server("h.test");
  for (std::size_t i = 1; i <= 2; ++i) {
    auto [program, server] = rig.open({divert::Action::intercept, "test", {}}, &listener);
    REQUIRE(shake(program, client.get(), server, origin.get(), "h.test").program);
    CHECK(SSL_session_reused(server.ssl()) == (i == 2 ? 1 : 0));
    passes(program, server, kGet);
    passes(server, program, kOk);
    const auto flow = rig.ended(i).back();
    REQUIRE(flow.upstream_tls->certificates != nullptr);
    REQUIRE(flow.upstream_tls->certificates->size() == 2);
    const auto& own = flow.upstream_tls->certificates->at(0);
    const auto& above = flow.upstream_tls->certificates->at(1);
    CHECK(own.subject == "CN = h.test");
    CHECK(own.names == std::vector<std::string>{"h.test"});
    CHECK(own.issuer == above.subject);
    CHECK(above.issuer.starts_with("CN = "));
    program.close();
    server.close();
    CHECK(rig.idle());
  }
}

TEST_CASE("tls: a program that does not trust us is reported as that") {
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    Rig rig{rig::trusting()};
    auto [program, server] = rig.open();
    const SslCtxPtr client = rig::strangers().client();
    SSL_CTX_set_max_proto_version(client.get(), version);
    const SslCtxPtr origin = rig::theirs().server("h.test");
    const auto done = shake(program, client.get(), server, origin.get(), "h.test");
    CHECK_FALSE(done.program);
    const auto flow = rig.ended(1).at(0);
    CHECK(flow.type == Type::tls_error);
    CHECK(flow.error.find("does not trust osproxy's CA (alert unknown ca)") != flow.error.npos);
    CHECK(flow.upstream_tls != nullptr);
    CHECK(server.hear_all() == "");
    CHECK(rig.idle());
  }
}

TEST_CASE("tls: a program that leaves in the handshake is reported") {
  Rig rig{rig::trusting()};
  auto [program, server] = rig.open();
  const SslCtxPtr origin = rig::theirs().server("h.test");
  auto accepted =
      std::async(std::launch::async, [&s = server, &origin] { return s.start_tls(origin.get(), true); });
  {
    const SslCtxPtr client = rig::ours().client();
    mitm::tls::SslPtr ssl{SSL_new(client.get())};
    SSL_set_tlsext_host_name(ssl.get(), "h.test");
    BIO* const out = BIO_new(BIO_s_mem());
    SSL_set_bio(ssl.get(), BIO_new(BIO_s_mem()), out);
    SSL_connect(ssl.get());
    char* hello = nullptr;
    const long size = BIO_get_mem_data(out, &hello);
    program.say({hello, static_cast<std::size_t>(size)});
  }
  CHECK(accepted.get());
  CHECK(program.hear(5).starts_with("\x16\x03"));
  program.finish();
  program.hear_all();
  CHECK(rig.ended(1).at(0).error.find("closed the connection during the TLS handshake") != std::string::npos);
}

TEST_CASE("tls: a server that wants a client certificate is explained") {
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    Rig rig{rig::trusting()};
    auto [program, server] = rig.open();
    const SslCtxPtr client = rig::ours().client();
    const SslCtxPtr origin = rig::theirs().server("h.test");
    SSL_CTX_set_verify(origin.get(), SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
    SSL_CTX_set_max_proto_version(origin.get(), version);
    const auto done = shake(program, client.get(), server, origin.get(), "h.test", {"http/1.1"});
    CHECK_FALSE(done.server);
    program.try_say(kGet);
    program.hear_all();
    CHECK(rig.ended(1).at(0).error.find("client certificate") != std::string::npos);
  }
}

TEST_CASE("tls: an end without close_notify stays one") {
  for (const bool notify : {true, false}) {
    for (const bool by_server : {true, false}) {
      Rig rig{rig::trusting()};
      auto [program, server] = rig.open();
      const SslCtxPtr client = rig::ours().client();
      const SslCtxPtr origin = rig::theirs().server("h.test");
      REQUIRE(shake(program, client.get(), server, origin.get(), "h.test").program);
      passes(program, server, kGet);
      passes(server, program, "HTTP/1.1 200 OK\r\n\r\nuntil the end");
      Peer& one = by_server ? server : program;
      Peer& other = by_server ? program : server;
      one.finish(notify);
      CHECK(other.hear_all() == "");
      CHECK(other.end() == (notify ? End::notify : End::truncated));
      server.finish();
      CHECK(rig.ended(1).at(0).error.empty() == notify);
    }
  }
}

TEST_CASE("tls: an end without close_notify leaves the other direction as it is") {
  for (const bool server_first : {true, false}) {
    Rig rig{rig::trusting()};
    auto [program, server] = rig.open();
    const SslCtxPtr client = rig::ours().client();
    const SslCtxPtr origin = rig::theirs().server("h.test");
    for (SSL_CTX* context : {client.get(), origin.get()})  // else OpenSSL gives up both directions itself
      SSL_CTX_set_options(context, SSL_OP_IGNORE_UNEXPECTED_EOF);
    REQUIRE(shake(program, client.get(), server, origin.get(), "h.test").program);
    passes(program, server, "\x01 no HTTP\n");
    Peer& one = server_first ? server : program;
    Peer& other = server_first ? program : server;
    one.finish(false);
    CHECK(other.hear_all() == "");
    passes(other, one, "still here");
    other.finish(false);
    CHECK(one.hear_all() == "");
    CHECK(rig.ended(1).at(0).error == "");
  }
}

TEST_CASE("tls: an error right behind data is a reset for the program, not an end") {
  for (const std::string_view asked : {kGet, std::string_view("\x01 hello\n")}) {
    Rig rig{rig::trusting()};
    auto [program, server] = rig.open();
    const SslCtxPtr client = rig::ours().client(), origin = rig::theirs().server("h.test");
    REQUIRE(shake(program, client.get(), server, origin.get(), "h.test").program);
    passes(program, server, asked);
    // Both in one segment.
    const int on = 1, off = 0;
    ::setsockopt(server.fd(), IPPROTO_TCP, TCP_CORK, &on, sizeof on);
    server.say("HTTP/1.1 200 OK\r\n\r\nhalf");
    const std::string junk = std::string("\x17\x03\x03\x00\x20", 5) + std::string(32, 'x');
    CHECK(::send(server.fd(), junk.data(), junk.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(junk.size()));
    ::setsockopt(server.fd(), IPPROTO_TCP, TCP_CORK, &off, sizeof off);
    CHECK(program.hear_all().ends_with("half"));
    CHECK(program.end() == End::reset);
    CHECK(rig.ended(1).back().error.starts_with("the server: "));
  }
}

TEST_CASE("tls: what OpenSSL answers to an end without close_notify is no error of the flow") {
  for (const bool by_server : {true, false}) {
    Rig rig{rig::trusting()};
    auto [program, server] = rig.open();
    const SslCtxPtr client = rig::ours().client();
    const SslCtxPtr origin = rig::theirs().server("h.test");
    REQUIRE(shake(program, client.get(), server, origin.get(), "h.test").program);
    passes(program, server, "\x01 no HTTP\n");
    Peer& one = by_server ? server : program;
    Peer& other = by_server ? program : server;
    one.finish(false);
    CHECK(other.hear_all() == "");  // sends the alert
    CHECK(other.end() == End::truncated);
    other.close();
    one.hear_all();
    CHECK(rig.ended(1).at(0).error == "");
  }
}

TEST_CASE("tls: 64 MiB come through unchanged to a slow reader") {
  Rig rig{rig::trusting()};
  auto [program, server] = rig.open();
  const int small = 64 << 10;
  ::setsockopt(program.fd(), SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
  const SslCtxPtr client = rig::ours().client();
  const SslCtxPtr origin = rig::theirs().server("h.test");
  REQUIRE(shake(program, client.get(), server, origin.get(), "h.test").program);
  constexpr std::size_t kSize = 64 << 20;
  std::string body(kSize, '\0');
  for (std::size_t i = 0; i < kSize; ++i) body[i] = static_cast<char>(i * 2654435761U >> 24);
  passes(program, server, kGet);
  const std::string head = fmt::format("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", kSize);
  std::thread sender{[&, &s = server] { s.say(head + body); }};
  CHECK(program.hear(head.size()) == head);
  CHECK((program.hear(kSize) == body));
  sender.join();
  CHECK(rig.ended(1).at(0).response_bytes == kSize);
}

TEST_CASE("tls: key updates asked for by either end pass unnoticed") {
  Rig rig{rig::trusting()};
  auto [program, server] = rig.open();
  const SslCtxPtr client = rig::ours().client();
  const SslCtxPtr origin = rig::theirs().server("h.test");
  REQUIRE(shake(program, client.get(), server, origin.get(), "h.test").program);
  for (int i = 0; i < 5; ++i) {
    REQUIRE(SSL_key_update(program.ssl(), SSL_KEY_UPDATE_REQUESTED) == 1);
    passes(program, server, kGet);
    REQUIRE(SSL_key_update(server.ssl(), SSL_KEY_UPDATE_REQUESTED) == 1);
    passes(server, program, kOk);
  }
  CHECK(rig.ended(5).at(4).status == 200);
}

TEST_CASE("tls: what is not HTTP passes decrypted as a tcp flow, whoever speaks first") {
  for (const bool server_first : {true, false}) {
    Rig rig{rig::trusting()};
    auto [program, server] = rig.open();
    const SslCtxPtr client = rig::ours().client();
    const SslCtxPtr origin = rig::theirs().server("h.test");
    REQUIRE(shake(program, client.get(), server, origin.get(), "h.test").program);
    passes(server_first ? server : program, server_first ? program : server, "\x01\x02 one\n");
    passes(program, server, "two");
    program.finish();
    CHECK(server.hear_all() == "");
    passes(server, program, "three");
    server.finish();
    program.hear_all();
    const auto flow = rig.ended(1).at(0);
    CHECK(flow.type == Type::tcp);
    CHECK(flow.tls != nullptr);
    CHECK(*flow.request_bytes + *flow.response_bytes == 7 + 3 + 5);
  }
}

TEST_CASE("tls: an upgrade inside TLS goes on raw") {
  Rig rig{rig::trusting()};
  auto [program, server] = rig.open();
  const SslCtxPtr client = rig::ours().client();
  const SslCtxPtr origin = rig::theirs().server("h.test");
  REQUIRE(shake(program, client.get(), server, origin.get(), "h.test").program);
  passes(program, server, "GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
  server.say("HTTP/1.1 101 Ok\r\n\r\nserver first");
  CHECK(program.hear(31) == "HTTP/1.1 101 Ok\r\n\r\nserver first");
  passes(program, server, "and back");
}

TEST_CASE("tls: TLS inside the tunnel of a CONNECT is intercepted") {
  Rig rig{rig::trusting()};
  auto [program, server] = rig.open();
  passes(program, server, "CONNECT h.test:443 HTTP/1.1\r\nHost: h.test:443\r\n\r\n");
  passes(server, program, "HTTP/1.1 200 Yes\r\n\r\n");
  const SslCtxPtr client = rig::ours().client();
  const SslCtxPtr origin = rig::theirs().server("h.test");
  REQUIRE(shake(program, client.get(), server, origin.get(), "h.test").program);
  passes(program, server, kGet);
  passes(server, program, kOk);
  const auto flows = rig.ended(2);
  CHECK(flows[1].url == "https://h.test/a");
  CHECK(flows[1].tls != nullptr);
}

TEST_CASE("raw: a server that speaks first is heard at once") {
  Rig rig{rig::trusting()};
  auto [program, server] = rig.open();
  passes(server, program, "220 mail.test ESMTP\r\n");
  passes(program, server, "EHLO me\r\n");
  server.close();
  CHECK(program.hear_all() == "");
  CHECK(program.end() == End::fin);
  program.close();
  const auto flow = rig.ended(1).at(0);
  CHECK(flow.type == Type::tcp);
  CHECK(flow.request_bytes == 9);
  CHECK(flow.response_bytes == 21);
  CHECK(rig.started(1).at(0).id == flow.id);
}

TEST_CASE("raw: a program that has begun a hello does not keep the server from speaking") {
  Rig rig{rig::trusting()};
  auto [program, server] = rig.open();
  program.say("\x16\x03");
  std::this_thread::sleep_for(std::chrono::milliseconds{50});
  passes(server, program, "banner");
  CHECK(server.hear(2) == "\x16\x03");
}

TEST_CASE("raw: a hello that never becomes whole is passed on after a while") {
  Rig rig{rig::trusting()};
  auto [program, server] = rig.open();
  program.say({"\x16\x03\x01", 3});
  CHECK(server.hear(3) == std::string("\x16\x03\x01"));
  program.close();
  server.hear_all();
  CHECK(server.end() == End::fin);
}

TEST_CASE("raw: half-close and reset are passed on in both directions") {
  for (const bool by_server : {true, false}) {
    for (const bool reset : {true, false}) {
      Rig rig{rig::trusting()};
      auto [program, server] = rig.open();
      passes(program, server, "\x01 hello\n");
      Peer& one = by_server ? server : program;
      Peer& other = by_server ? program : server;
      if (reset) {
        one.reset();
        other.hear_all();
        CHECK(other.end() == End::reset);
      } else {
        one.finish();
        CHECK(other.hear_all() == "");
        CHECK(other.end() == End::fin);
        passes(other, one, "still here");
        other.close();
        CHECK(one.hear_all() == "");
      }
      CHECK(rig.ended(1).at(0).error.empty() == !reset);
    }
  }
}

TEST_CASE(
    "tls: a program that speaks nothing but HTTP/2 is told in HTTP/2 why the server cannot be trusted") {
  Rig rig{with_pages()};
  auto [program, server] = rig.open();
  const SslCtxPtr client = rig::ours().client();
  const SslCtxPtr origin = rig::strangers().server("h.test");
  REQUIRE(shake(program, client.get(), server, origin.get(), "h.test", {"h2"}).program);
  CHECK(alpn_of(program) == "h2");
  frames::Packer packer;
  program.say(std::string(frames::kPreface) + frames::settings() + packer.headers(1, frames::get("/"), true));
  const std::string heard = program.hear_all();
  struct Answer final : mitm::http::Http2Reader::Handler {
    int status = 0;
    std::string body;
    void headers(std::uint32_t, mitm::http::Http2Head& head, bool) override { status = head.status; }
    void data(std::uint32_t, std::string_view bytes, bool) override { body += bytes; }
    void reset(std::uint32_t, std::uint32_t) override {}
    void promise(std::uint32_t, std::uint32_t, mitm::http::Http2Head&) override {}
    void goaway(std::uint32_t) override {}
    void settings(const mitm::http::Http2Settings&) override {}
  } answer;
  mitm::http::Http2Reader reader{mitm::http::Side::response};
  CHECK(reader.feed(heard, answer));
  CHECK(answer.status == 502);
  const auto flow = rig.ended(1).at(0);
  CHECK(flow.type == Type::http);
  CHECK(flow.url == rig::with_port("https://h.test/", flow));
  CHECK(flow.status == 502);
  CHECK(flow.error != "");
  CHECK(answer.body == "osproxy: " + flow.error + "\n");
}

TEST_CASE("raw: a connection on which nobody speaks ends with either side") {
  for (const bool by_server : {true, false}) {
    Rig rig{rig::trusting()};
    auto [program, server] = rig.open();
    Peer& one = by_server ? server : program;
    Peer& other = by_server ? program : server;
    one.close();
    CHECK(other.hear_all() == "");
    CHECK(other.end() == End::fin);
    other.close();
    CHECK(rig.ended(1).at(0).type == Type::tcp);
  }
}

TEST_CASE("rules: a host that passes reaches its server untouched, the first bytes included") {
  Rig rig{rig::trusting(), policy_for("h.test", divert::Action::pass)};
  auto [program, server] = rig.open(by_host(divert::Action::intercept, divert::Action::pass));
  const SslCtxPtr client = rig::strangers().client();
  const SslCtxPtr origin = rig::strangers().server("h.test");
  const auto done = shake(program, client.get(), server, origin.get(), "h.test", {"h2"});
  CHECK(done.program);  // with the server's own certificate
  CHECK(alpn_of(program) == "h2");
  passes(program, server, kGet);
  program.close();
  server.hear_all();
  server.close();
  const auto flow = rig.ended(1).at(0);
  CHECK(flow.type == Type::pass);
  CHECK(flow.decision == "pass");
  CHECK(flow.host == "h.test");
}

TEST_CASE("rules: a host that is blocked is reset, by SNI or Host") {
  for (const bool tls : {true, false}) {
    Rig rig{rig::trusting(), policy_for("h.test", divert::Action::block)};
    auto [program, server] = rig.open(by_host(divert::Action::intercept, divert::Action::block));
    if (tls) {
      const SslCtxPtr client = rig::ours().client();
      CHECK_FALSE(program.start_tls(client.get(), false, "h.test"));
    } else {
      program.say(kGet);
      program.hear_all();
      CHECK(program.end() == End::reset);
    }
    server.hear_all();
    CHECK(server.end() == End::reset);
    const auto flow = rig.ended(1).at(0);
    CHECK(flow.type == Type::block);
    CHECK(flow.decision == "block");
  }
}

TEST_CASE("rules: another host is intercepted as the verdict says") {
  Rig rig{rig::trusting(), policy_for("other.test", divert::Action::block)};
  auto [program, server] = rig.open(by_host(divert::Action::intercept, divert::Action::block));
  passes(program, server, kGet);
  passes(server, program, kOk);
  CHECK(rig.ended(1).at(0).type == Type::http);
}
