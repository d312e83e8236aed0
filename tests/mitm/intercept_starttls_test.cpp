// Dialogues that begin in plain and go on in TLS, through the real engine.
#include <algorithm>
#include <string>

#include "tests/mitm/connection_dialogue.h"
#include "tests/test.h"

using dialogue::Engine;
using dialogue::Peer;
using mitm::tls::SslCtxPtr;
using rig::End;
using Type = test::FlatFlow::Type;
using namespace std::string_literals;

namespace {

dialogue::Handshake shake(Peer& program, SSL_CTX* client, Peer& server, SSL_CTX* origin) {
  return shake(program, client, server, origin, "h.test");
}

/// What is said in plain, in turns, the server first; the last is its answer to the program's
/// request.
struct Plain {
  const char* protocol;
  std::vector<std::string> said;
};

const std::vector<Plain>& plain_beginnings() {
  static const std::vector<Plain> all{
      {"smtp",
       {"220 x\r\n", "EHLO me\r\n", "250-x\r\n250 STARTTLS\r\n", "STARTTLS\r\n", "220 go\r\n"}},
      {"imap", {"* OK x\r\n", "a STARTTLS\r\n", "a OK go\r\n"}},
      {"pop3", {"+OK x\r\n", "STLS\r\n", "+OK go\r\n"}},
      {"ftp", {"220 x\r\n", "AUTH TLS\r\n", "234 go\r\n"}},
      {"ldap",
       {"", "\x30\x1d\x02\x01\x01\x77\x18\x80\x16"s + "1.3.6.1.4.1.1466.20037",
        "\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x00\x04\x00\x04\x00"s}},
      {"postgresql", {"", "\x00\x00\x00\x08\x04\xd2\x16\x2f"s, "S"}},
  };
  return all;
}

std::size_t talk(const Plain& plain, Peer& program, Peer& server) {
  std::size_t size = 0;
  for (std::size_t i = 0; i < plain.said.size(); ++i) {
    if (i % 2 == 0) passes(server, program, plain.said[i]);
    if (i % 2 == 1) passes(program, server, plain.said[i]);
    size += plain.said[i].size();
  }
  return size;
}

const std::string& mysql_greeting() {
  static const std::string packet = "\x4a\x00\x00\x00\x0a"s + "8.0.36\0"s + "\x08\x00\x00\x00"s +
                                    "12345678\0"s + "\xff\xff\xff\x02\x00\xff\xdf\x15"s +
                                    std::string(10, '\0') + "123456789012\0"s +
                                    "caching_sha2_password\0"s;
  return packet;
}
const std::string& mysql_request() {
  static const std::string packet =
      "\x20\x00\x00\x01\x85\xae\xff\x01\x00\x00\x00\x01\xff"s + std::string(23, '\0');
  return packet;
}

divert::Policy policy_for(divert::Action action) {
  divert::Policy policy;
  divert::Rule rule;
  rule.hosts = {"h.test"};
  rule.action = action;
  policy.rules = {rule};
  return policy;
}

divert::Verdict by_host(divert::Action action) {
  return {divert::Action::intercept, "test", {{0, action}}};
}

}  // namespace

TEST_CASE("starttls: what was plain goes on decrypted, as one flow") {
  for (const auto& plain : plain_beginnings()) {
    CAPTURE(plain.protocol);
    Engine engine{rig::trusting(), {}, true};
    auto [program, server] = engine.open();
    const auto size = talk(plain, program, server);
    const SslCtxPtr client = rig::ours().client();
    const SslCtxPtr origin = rig::theirs().server("h.test");
    const auto done = shake(program, client.get(), server, origin.get());
    REQUIRE_MESSAGE(done.program, program.tls_error());
    REQUIRE(done.server);
    CHECK(SSL_get_servername(server.ssl(), TLSEXT_NAMETYPE_host_name) == std::string("h.test"));
    passes(program, server, "EHLO again\r\n");
    passes(server, program, "250 within\r\n");
    passes(server, program, "GET / HTTP/1.1\r\n\r\n");
    program.finish();
    CHECK(server.hear_all() == "");
    CHECK(server.end() == End::notify);
    server.finish();
    CHECK(program.hear_all() == "");
    const auto flow = engine.ended(1).at(0);
    CHECK(flow.type == Type::tcp);
    CHECK(flow.starttls == plain.protocol);
    CHECK(flow.sni == "h.test");
    CHECK(flow.host == "h.test");
    CHECK(flow.tls != nullptr);
    CHECK(flow.error == "");
    CHECK(*flow.request_bytes + *flow.response_bytes == size + 12 + 12 + 18);
    const auto starts = engine.started(1);
    CHECK(starts.size() == 1);
    CHECK(starts.at(0).id == flow.id);
    const auto said_in_plain = static_cast<std::size_t>(
        std::ranges::count_if(plain.said, [](const auto& words) { return !words.empty(); }));
    std::string said;
    for (const auto& data : engine.data(said_in_plain + 5)) said += data.bytes;
    CHECK(said.find("EHLO again\r\n") != said.npos);
    CHECK(said.find(plain.said.back()) != said.npos);
  }
}

TEST_CASE("starttls: MySQL goes on without an answer, its hello in the same segment or later") {
  for (const bool together : {true, false}) {
    Engine engine{rig::trusting()};
    auto [program, server] = engine.open();
    passes(server, program, mysql_greeting());
    const SslCtxPtr client = rig::ours().client();
    const SslCtxPtr origin = rig::theirs().server("h.test");
    if (!together) {
      passes(program, server, mysql_request());
      REQUIRE(shake(program, client.get(), server, origin.get()).program);
      passes(program, server, "login");
    } else {
      mitm::tls::SslPtr ssl{SSL_new(client.get())};
      SSL_set_tlsext_host_name(ssl.get(), "h.test");
      BIO* const out = BIO_new(BIO_s_mem());
      SSL_set_bio(ssl.get(), BIO_new(BIO_s_mem()), out);
      SSL_connect(ssl.get());
      char* hello = nullptr;
      const long size = BIO_get_mem_data(out, &hello);
      const std::string words =
          mysql_request() + std::string(hello, static_cast<std::size_t>(size));
      program.say(words.substr(0, 200));
      program.say(words.substr(200));
      CHECK(server.hear(36) == mysql_request());
      CHECK(server.start_tls(origin.get(), true));
      CHECK(SSL_get_servername(server.ssl(), TLSEXT_NAMETYPE_host_name) == std::string("h.test"));
      CHECK(program.hear(1) ==
            "\x16");  // a hello of ours: the server's would not come back without it
      program.close();
      server.hear_all();
    }
    program.close();
    server.close();
    CHECK(engine.ended(1).at(0).starttls == "mysql");
  }
}

TEST_CASE("starttls: a refusal leaves the connection raw, also for another try") {
  Engine engine{rig::trusting()};
  auto [program, server] = engine.open();
  passes(server, program, "220 x\r\n");
  passes(program, server, "STARTTLS\r\n");
  passes(server, program, "454 later\r\n");
  passes(program, server, "NOOP\r\n");
  passes(server, program, "250 ok\r\n");
  passes(program, server, "STARTTLS\r\n");
  passes(server, program, "220 now\r\n");
  const SslCtxPtr client = rig::ours().client();
  const SslCtxPtr origin = rig::theirs().server("h.test");
  REQUIRE(shake(program, client.get(), server, origin.get()).program);
  passes(program, server, "x");
  program.close();
  server.close();
  CHECK(engine.ended(1).at(0).tls != nullptr);
}

TEST_CASE("starttls: a refusal after which the program goes on in plain") {
  Engine engine{rig::trusting()};
  auto [program, server] = engine.open();
  passes(program, server, "\x00\x00\x00\x08\x04\xd2\x16\x2f"s);
  passes(server, program, "N");
  passes(program, server, "\x00\x00\x00\x09\x00\x03\x00\x00\x00"s);
  passes(server, program, "R\x00\x00\x00\x08\x00\x00\x00\x00"s);
  hang_up(program, server);
  const auto flow = engine.ended(1).at(0);
  CHECK(flow.starttls == "");
  CHECK(flow.request_bytes == 17);
  CHECK(flow.response_bytes == 10);
  CHECK(flow.error == "");
}

TEST_CASE(
    "starttls: commands behind the request reach the server in plain, before TLS, and not in it") {
  Engine engine{rig::trusting()};
  auto [program, server] = engine.open();
  passes(server, program, "220 x\r\n");
  passes(program, server, "STARTTLS\r\nRCPT TO:<injected@x>\r\n");
  passes(server, program, "220 go\r\n");
  const SslCtxPtr client = rig::ours().client();
  const SslCtxPtr origin = rig::theirs().server("h.test");
  REQUIRE(shake(program, client.get(), server, origin.get()).program);
  passes(program, server, "EHLO me\r\n");  // and nothing before it
  passes(server, program, "250 ok\r\n");
  program.close();
  server.close();
  CHECK(engine.ended(1).at(0).tls != nullptr);
}

TEST_CASE("starttls: plain words where TLS should begin, of either side, pass in plain") {
  struct Case {
    std::string more_of_server, program, server;
  };
  const Case cases[] = {{"250 injected\r\n", "", ""},           // with the yes
                        {"", "", "250 injected\r\n"},           // behind it
                        {"", "RCPT TO:<injected@x>\r\n", ""}};  // instead of a hello
  for (const auto& [more, late_program, late_server] : cases) {
    Engine engine{rig::trusting()};
    auto [program, server] = engine.open();
    passes(server, program, "220 x\r\n");
    passes(program, server, "STARTTLS\r\n");
    passes(server, program, "220 go\r\n" + more);
    passes(program, server, late_program);
    passes(server, program, late_server);
    // What comes then is between those two: their own TLS, or nothing.
    const SslCtxPtr client = rig::strangers().client();
    const SslCtxPtr origin = rig::strangers().server("h.test");
    REQUIRE(shake(program, client.get(), server, origin.get()).program);
    passes(program, server, "EHLO me\r\n");
    hang_up(program, server);
    const auto flow = engine.ended(1).at(0);
    CHECK(flow.tls == nullptr);
    CHECK(flow.type == Type::tcp);
    CHECK(engine.started(1).size() == 1);
  }
}

TEST_CASE("starttls: TLS before the answer goes through untouched") {
  Engine engine{rig::trusting()};
  auto [program, server] = engine.open();
  passes(server, program, "220 x\r\n");
  program.say("STARTTLS\r\n");
  CHECK(server.hear(10) == "STARTTLS\r\n");
  const SslCtxPtr client = rig::strangers().client();
  const SslCtxPtr origin = rig::strangers().server("h.test");
  const auto done = shake(program, client.get(), server, origin.get());
  CHECK(done.program);
  CHECK(done.server);
  passes(program, server, "x");
  program.close();
  server.close();
  CHECK(engine.ended(1).at(0).tls == nullptr);
}

TEST_CASE("starttls: rules on the host hold for the SNI: pass") {
  for (const auto& plain : plain_beginnings()) {
    CAPTURE(plain.protocol);
    Engine engine{rig::trusting(), policy_for(divert::Action::pass)};
    auto [program, server] = engine.open(by_host(divert::Action::pass));
    const auto size = talk(plain, program, server);
    const SslCtxPtr client = rig::strangers().client();
    const SslCtxPtr origin = rig::strangers().server("h.test");
    CHECK(shake(program, client.get(), server, origin.get())
              .program);  // with the server's own certificate
    passes(program, server, "EHLO me\r\n");
    hang_up(program, server);
    const auto flow = engine.ended(1).at(0);
    CHECK(flow.type == Type::pass);
    CHECK(flow.decision == "pass");
    CHECK(flow.host == "h.test");
    CHECK(flow.starttls == plain.protocol);
    CHECK(*flow.request_bytes + *flow.response_bytes > size + 500);
    CHECK(flow.id == engine.started(1).at(0).id);
  }
}

TEST_CASE("starttls: rules on the host hold for the SNI: pass, with the hello already read") {
  Engine engine{rig::trusting(), policy_for(divert::Action::pass)};
  auto [program, server] = engine.open(by_host(divert::Action::pass));
  passes(server, program, mysql_greeting());
  const SslCtxPtr client = rig::strangers().client();
  mitm::tls::SslPtr ssl{SSL_new(client.get())};
  SSL_set_tlsext_host_name(ssl.get(), "h.test");
  BIO* const out = BIO_new(BIO_s_mem());
  SSL_set_bio(ssl.get(), BIO_new(BIO_s_mem()), out);
  SSL_connect(ssl.get());
  char* start = nullptr;
  const long size = BIO_get_mem_data(out, &start);
  const std::string hello{start, static_cast<std::size_t>(size)};
  passes(program, server, mysql_request() + hello);
  passes(server, program, "its own answer");
  hang_up(program, server);
  const auto flow = engine.ended(1).at(0);
  CHECK(flow.type == Type::pass);
  CHECK(flow.request_bytes == 36 + hello.size());
  CHECK(flow.response_bytes == mysql_greeting().size() + 14);
}

TEST_CASE("starttls: rules on the host hold for the SNI: block") {
  Engine engine{rig::trusting(), policy_for(divert::Action::block)};
  auto [program, server] = engine.open(by_host(divert::Action::block));
  talk(plain_beginnings()[0], program, server);
  const SslCtxPtr client = rig::ours().client();
  CHECK_FALSE(program.start_tls(client.get(), false, "h.test"));
  server.hear_all();
  CHECK(server.end() == End::reset);
  const auto flow = engine.ended(1).at(0);
  CHECK(flow.type == Type::block);
  CHECK(flow.host == "h.test");
  CHECK(flow.starttls == "smtp");
}

TEST_CASE(
    "starttls: a server or program that refuses the other's certificate ends in a tls_error") {
  for (const bool by_program : {true, false}) {
    Engine engine{rig::trusting()};
    auto [program, server] = engine.open();
    talk(plain_beginnings()[0], program, server);
    const SslCtxPtr client = by_program ? rig::strangers().client() : rig::ours().client();
    const SslCtxPtr origin =
        by_program ? rig::theirs().server("h.test") : rig::strangers().server("h.test");
    const auto done = shake(program, client.get(), server, origin.get());
    CHECK_FALSE(done.program);
    if (!by_program) CHECK(program.tls_error().find("unknown ca") != std::string::npos);
    program.hear_all();
    const auto flow = engine.ended(1).at(0);
    CHECK(flow.type == Type::tls_error);
    CHECK(flow.starttls == "smtp");
    CHECK(flow.error.find(by_program ? "does not trust osproxy's CA" : "cannot be verified") !=
          std::string::npos);
    CHECK(flow.id == engine.started(1).at(0).id);
    CHECK(flow.request_bytes == 19);
  }
}

TEST_CASE("starttls: an end between yes and hello is passed on") {
  for (const bool reset : {true, false}) {
    Engine engine{rig::trusting()};
    auto [program, server] = engine.open();
    talk(plain_beginnings()[0], program, server);
    if (reset) {
      program.reset();
    } else {
      program.close();
    }
    CHECK(server.hear_all() == "");
    CHECK(server.end() == (reset ? End::reset : End::fin));
    server.close();
    CHECK(engine.ended(1).at(0).error.empty() == !reset);
  }
}

TEST_CASE("starttls: within the tunnel of an explicit proxy") {
  Engine engine{rig::trusting()};
  auto [program, server] = engine.open();
  passes(program, server, "CONNECT h.test:25 HTTP/1.1\r\nHost: h.test:25\r\n\r\n");
  passes(server, program, "HTTP/1.1 200 Yes\r\n\r\n");
  talk(plain_beginnings()[0], program, server);
  const SslCtxPtr client = rig::ours().client();
  const SslCtxPtr origin = rig::theirs().server("h.test");
  REQUIRE(shake(program, client.get(), server, origin.get()).program);
  passes(program, server, "EHLO again\r\n");
  program.close();
  server.close();
  const auto flow = engine.ended(2).at(1);
  CHECK(flow.starttls == "smtp");
  CHECK(flow.tls != nullptr);
}

TEST_CASE("starttls: a rule on the host selects a connection that passes otherwise") {
  for (const auto action : {divert::Action::intercept, divert::Action::block}) {
    for (const auto& plain : plain_beginnings()) {
      CAPTURE(plain.protocol);
      Engine engine{rig::trusting(), policy_for(action), true};
      auto [program, server] = engine.open({divert::Action::pass, "test", {{0, action}}});
      talk(plain, program, server);
      const SslCtxPtr client = rig::ours().client();
      const SslCtxPtr origin = rig::theirs().server("h.test");
      const bool intercepted = action == divert::Action::intercept;
      if (intercepted) {
        REQUIRE(shake(program, client.get(), server, origin.get()).program);
        passes(program, server, "within");
      } else {
        CHECK_FALSE(program.start_tls(client.get(), false, "h.test"));
      }
      program.close();
      server.close();
      const auto flow = engine.ended(1).at(0);
      CHECK(flow.type == (intercepted ? Type::tcp : Type::block));
      CHECK(flow.starttls == plain.protocol);
      CHECK((flow.tls != nullptr) == intercepted);
      if (intercepted) CHECK(engine.data(1).at(0).bytes == "within");  // and nothing from before
    }
  }
}

TEST_CASE("starttls: of a connection that passes, and stays so, nobody hears a word") {
  struct Case {
    const char* sni;
    std::vector<std::string>
        more;  ///< plain words in turns, the program first; else TLS for another host
  };
  const Case cases[] = {
      {"other.test", {}},
      {nullptr, {"AUTH PLAIN AGEAYg==\r\n", "235 ok\r\n", "MAIL FROM:<a@b>\r\n", "250 ok\r\n"}},
      {nullptr, {"QUIT\r\n", "221 bye\r\n"}}};
  for (const auto& [sni, more] : cases) {
    Engine engine{rig::trusting(), policy_for(divert::Action::intercept), true};
    auto [program, server] =
        engine.open({divert::Action::pass, "test", {{0, divert::Action::intercept}}});
    std::size_t size = 0;
    if (sni != nullptr) {
      size = talk(plain_beginnings()[0], program, server);
      const SslCtxPtr client = rig::strangers().client();
      const SslCtxPtr origin = rig::strangers().server(sni);
      const auto done = shake(program, client.get(), server, origin.get(), sni);
      CHECK(done.program);
      CHECK(done.server);
    } else {
      passes(server, program, "220 x\r\n");
      size = 7;
      for (std::size_t i = 0; i < more.size(); ++i) {
        passes(i % 2 == 0 ? program : server, i % 2 == 0 ? server : program, more[i]);
        size += more[i].size();
      }
    }
    hang_up(program, server);
    const auto flow = engine.ended(1).at(0);
    CHECK(flow.type == Type::pass);
    CHECK(flow.decision == "pass");
    const auto bytes = *flow.request_bytes + *flow.response_bytes;
    CHECK((sni != nullptr ? bytes > size : bytes == size));
    CHECK(engine.data(0).empty());
    CHECK(engine.started(0).empty());
  }
}
