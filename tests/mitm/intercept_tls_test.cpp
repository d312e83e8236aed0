// Dialogues over TLS, and the choice of what is spoken.
#include <string>

#include <openssl/x509v3.h>

#include "tests/mitm/connection_dialogue.h"
#include "tests/test.h"

using dialogue::Engine;
using dialogue::Peer;
using mitm::tls::SslCtxPtr;
using rig::End;
using rig::kGet;
using rig::kOk;
using Type = test::FlatFlow::Type;

TEST_CASE("tls: HTTP inside TLS is seen, with the facts of the connection") {
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    CAPTURE(version);
    Engine engine{rig::trusting()};
    auto [program, server] = engine.open();
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
    const auto flow = engine.ended(1).at(0);
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
  Engine engine{rig::trusting()};
  auto [program, server] = engine.open();
  const SslCtxPtr client = rig::ours().client();
  const SslCtxPtr origin = rig::theirs().server("h.test");
  SSL_CTX_set_max_proto_version(origin.get(), TLS1_2_VERSION);
  const auto done = shake(program, client.get(), server, origin.get(), "h.test", {"http/1.1"});
  REQUIRE_MESSAGE(done.program, program.tls_error());
  passes(program, server, kGet);
  passes(server, program, kOk);
  const auto flow = engine.ended(1).at(0);
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
    Engine engine{rig::trusting()};
    auto [program, server] = engine.open();
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
    const auto flow = engine.ended(1).at(0);
    CHECK(flow.type == (one.heard == "acme" ? Type::tcp : Type::http));
  }
}

TEST_CASE("tls: a program without SNI is served by address") {
  Engine engine{rig::trusting()};
  auto [program, server] = engine.open();
  const SslCtxPtr client = rig::ours().client();
  const SslCtxPtr origin = rig::theirs().server("127.0.0.1");
  REQUIRE(shake(program, client.get(), server, origin.get(), nullptr).program);
  passes(program, server, "GET / HTTP/1.1\r\nHost: x:1\r\n\r\n");
  passes(server, program, kOk);
  const auto flow = engine.ended(1).at(0);
  CHECK(flow.sni == "");
  CHECK(flow.host == "x");
}

TEST_CASE(
    "tls: sessions are resumed upstream, and the leaf still mirrors the server's certificate") {
  Engine engine{rig::trusting()};
  const SslCtxPtr origin = rig::theirs().server("h.test");
  const SslCtxPtr client = rig::ours().client();
  for (const bool resumed : {false, true, true}) {
    auto [program, server] = engine.open({divert::Action::intercept, "test", {}}, 443);
    REQUIRE(shake(program, client.get(), server, origin.get(), "h.test").program);
    passes(program, server, kGet);
    passes(server, program, kOk);
    CHECK(SSL_session_reused(server.ssl()) == (resumed ? 1 : 0));
    const mitm::tls::X509Ptr leaf{SSL_get1_peer_certificate(program.ssl())};
    CHECK(X509_check_host(leaf.get(), "h.test", 0, 0, nullptr) == 1);
  }
}

TEST_CASE("tls: a session is not resumed for another name on the same server") {
  Engine engine{rig::trusting()};
  const SslCtxPtr client = rig::ours().client();
  for (const char* name : {"h.test", "other.test"}) {
    const SslCtxPtr origin = rig::theirs().server(name);
    auto [program, server] = engine.open({divert::Action::intercept, "test", {}}, 443);
    REQUIRE(shake(program, client.get(), server, origin.get(), name).program);
    CHECK(SSL_session_reused(server.ssl()) == 0);
  }
}

TEST_CASE("tls: a program that does not trust us is reported as that") {
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    Engine engine{rig::trusting()};
    auto [program, server] = engine.open();
    const SslCtxPtr client = rig::strangers().client();
    SSL_CTX_set_max_proto_version(client.get(), version);
    const SslCtxPtr origin = rig::theirs().server("h.test");
    const auto done = shake(program, client.get(), server, origin.get(), "h.test");
    CHECK_FALSE(done.program);
    const auto flow = engine.ended(1).at(0);
    CHECK(flow.type == Type::tls_error);
    CHECK(flow.error.find("does not trust osproxy's CA (alert unknown ca)") != flow.error.npos);
    CHECK(flow.upstream_tls != nullptr);
    CHECK(server.hear_all() == "");
    CHECK(engine.idle());
  }
}

TEST_CASE("tls: a program that leaves in the handshake is reported") {
  Engine engine{rig::trusting()};
  auto [program, server] = engine.open();
  const SslCtxPtr origin = rig::theirs().server("h.test");
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
  CHECK(server.start_tls(origin.get(), true));
  CHECK(program.hear(5).starts_with("\x16\x03"));
  program.finish();
  program.hear_all();
  CHECK(engine.ended(1).at(0).error.find("closed the connection during the TLS handshake") !=
        std::string::npos);
}

TEST_CASE("tls: a server that wants a client certificate is explained") {
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    Engine engine{rig::trusting()};
    auto [program, server] = engine.open();
    const SslCtxPtr client = rig::ours().client();
    const SslCtxPtr origin = rig::theirs().server("h.test");
    SSL_CTX_set_verify(origin.get(), SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
    SSL_CTX_set_max_proto_version(origin.get(), version);
    const auto done = shake(program, client.get(), server, origin.get(), "h.test", {"http/1.1"});
    CHECK_FALSE(done.server);
    program.try_say(kGet);
    program.hear_all();
    CHECK(engine.ended(1).at(0).error.find("client certificate") != std::string::npos);
  }
}

TEST_CASE("tls: an end without close_notify stays one") {
  for (const bool notify : {true, false}) {
    for (const bool by_server : {true, false}) {
      Engine engine{rig::trusting()};
      auto [program, server] = engine.open();
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
      CHECK(engine.ended(1).at(0).error.empty() == notify);
    }
  }
}

TEST_CASE("tls: a message that is cut short ends over TLS as its sender ended it") {
  const SslCtxPtr client = rig::ours().client(), origin = rig::theirs().server("h.test");
  const std::string_view half = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf";
  const std::string_view half_asked = "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nhalf";
  for (const bool by_server : {true, false}) {
    for (const bool notify : {true, false}) {
      CAPTURE(by_server);
      CAPTURE(notify);
      Engine engine{rig::trusting()};
      auto [program, server] = engine.open();
      REQUIRE(shake(program, client.get(), server, origin.get(), "h.test", {"http/1.1"}).program);
      passes(program, server, by_server ? kGet : half_asked);
      if (by_server) passes(server, program, half);
      (by_server ? server : program).finish(notify);
      Peer& other = by_server ? program : server;
      CHECK(other.hear_all() == "");
      CHECK(other.end() == (notify ? End::notify : End::truncated));
      other.close();
      CHECK(engine.ended(1).at(0).error.find("in the middle of its") != std::string::npos);
    }
  }
}

TEST_CASE("tls: an end without close_notify leaves the other direction as it is") {
  for (const bool server_first : {true, false}) {
    Engine engine{rig::trusting()};
    auto [program, server] = engine.open();
    const SslCtxPtr client = rig::ours().client();
    const SslCtxPtr origin = rig::theirs().server("h.test");
    for (SSL_CTX* context :
         {client.get(), origin.get()})  // else OpenSSL gives up both directions itself
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
    CHECK(engine.ended(1).at(0).error == "");
  }
}

TEST_CASE("tls: an error right behind data is a reset for the program, not an end") {
  for (const std::string_view asked : {kGet, std::string_view("\x01 hello\n")}) {
    Engine engine{rig::trusting()};
    auto [program, server] = engine.open();
    const SslCtxPtr client = rig::ours().client(), origin = rig::theirs().server("h.test");
    REQUIRE(shake(program, client.get(), server, origin.get(), "h.test").program);
    passes(program, server, asked);
    const std::string junk = std::string("\x17\x03\x03\x00\x20", 5) + std::string(32, 'x');
    server.say("HTTP/1.1 200 OK\r\n\r\nhalf", junk);  // both in one segment
    CHECK(program.hear_all().ends_with("half"));
    CHECK(program.end() == End::reset);
    CHECK(engine.ended(1).back().error.starts_with("the server: "));
  }
}

TEST_CASE("tls: what OpenSSL answers to an end without close_notify is no error of the flow") {
  for (const bool by_server : {true, false}) {
    Engine engine{rig::trusting()};
    auto [program, server] = engine.open();
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
    CHECK(engine.ended(1).at(0).error == "");
  }
}

TEST_CASE("tls: 64 MiB come through unchanged to a slow reader") {
  Engine engine{rig::trusting()};
  auto [program, server] = engine.open();
  program.take_at_most(64 << 10);
  const SslCtxPtr client = rig::ours().client();
  const SslCtxPtr origin = rig::theirs().server("h.test");
  REQUIRE(shake(program, client.get(), server, origin.get(), "h.test").program);
  constexpr std::size_t kSize = 64 << 20;
  std::string body(kSize, '\0');
  for (std::size_t i = 0; i < kSize; ++i) body[i] = static_cast<char>(i * 2654435761U >> 24);
  passes(program, server, kGet);
  const std::string head = fmt::format("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", kSize);
  server.say(head + body);
  CHECK(program.hear(head.size()) == head);
  CHECK((program.hear(kSize) == body));
  CHECK(engine.ended(1).at(0).response_bytes == kSize);
}

TEST_CASE("tls: key updates asked for by either end pass unnoticed") {
  Engine engine{rig::trusting()};
  auto [program, server] = engine.open();
  const SslCtxPtr client = rig::ours().client();
  const SslCtxPtr origin = rig::theirs().server("h.test");
  REQUIRE(shake(program, client.get(), server, origin.get(), "h.test").program);
  for (int i = 0; i < 5; ++i) {
    REQUIRE(SSL_key_update(program.ssl(), SSL_KEY_UPDATE_REQUESTED) == 1);
    passes(program, server, kGet);
    REQUIRE(SSL_key_update(server.ssl(), SSL_KEY_UPDATE_REQUESTED) == 1);
    passes(server, program, kOk);
  }
  CHECK(engine.ended(5).at(4).status == 200);
}

TEST_CASE("tls: what is not HTTP passes decrypted as a tcp flow, whoever speaks first") {
  for (const bool server_first : {true, false}) {
    Engine engine{rig::trusting()};
    auto [program, server] = engine.open();
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
    const auto flow = engine.ended(1).at(0);
    CHECK(flow.type == Type::tcp);
    CHECK(flow.tls != nullptr);
    CHECK(*flow.request_bytes + *flow.response_bytes == 7 + 3 + 5);
  }
}

TEST_CASE("tls: an upgrade inside TLS goes on raw") {
  Engine engine{rig::trusting()};
  auto [program, server] = engine.open();
  const SslCtxPtr client = rig::ours().client();
  const SslCtxPtr origin = rig::theirs().server("h.test");
  REQUIRE(shake(program, client.get(), server, origin.get(), "h.test").program);
  passes(program, server, "GET / HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
  server.say("HTTP/1.1 101 Ok\r\n\r\nserver first");
  CHECK(program.hear(31) == "HTTP/1.1 101 Ok\r\n\r\nserver first");
  passes(program, server, "and back");
}

TEST_CASE("tls: TLS inside the tunnel of a CONNECT is intercepted") {
  Engine engine{rig::trusting()};
  auto [program, server] = engine.open();
  passes(program, server, "CONNECT h.test:443 HTTP/1.1\r\nHost: h.test:443\r\n\r\n");
  passes(server, program, "HTTP/1.1 200 Yes\r\n\r\n");
  const SslCtxPtr client = rig::ours().client();
  const SslCtxPtr origin = rig::theirs().server("h.test");
  REQUIRE(shake(program, client.get(), server, origin.get(), "h.test").program);
  passes(program, server, kGet);
  passes(server, program, kOk);
  const auto flows = engine.ended(2);
  CHECK(flows[1].url == "https://h.test/a");
  CHECK(flows[1].tls != nullptr);
}
