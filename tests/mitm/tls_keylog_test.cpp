// The lines of a key log against what OpenSSL itself says of the connection, and files that cannot
// be written.
#include <atomic>
#include <mutex>
#include <set>
#include <sstream>
#include <thread>

#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "mitm/tls/keylog.h"
#include "tests/mitm/tls_fixture.h"
#include "tests/mitm/tls_handshake.h"

using namespace mitm::tls;
using tls_test::client_context;
using tls_test::contents;
using tls_test::Directory;
using tls_test::handshake;
using tls_test::make_signed;
using tls_test::server_context;
using tls_test::Signed;

namespace {

base::UniqueFd open_to_append(const std::string& path) {
  base::UniqueFd fd{
      ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK | O_CLOEXEC, 0600)};
  REQUIRE(fd);
  return fd;
}

Keylog::Report no_trouble() {
  return [](const base::Error& error) { FAIL(error.text); };
}

constexpr std::chrono::seconds kPatience{30};

struct Line {
  std::string label, random, secret;
};

/// Of a text in which every line must be "LABEL RANDOM SECRET".
std::vector<Line> lines_of(const std::string& text) {
  std::vector<Line> lines;
  std::istringstream all{text};
  for (std::string one; std::getline(all, one);) {
    std::istringstream words{one};
    Line line;
    std::string more;
    words >> line.label >> line.random >> line.secret;
    const auto is_hex = [](const std::string& digits) {
      return digits.find_first_not_of("0123456789abcdef") == digits.npos;
    };
    const bool whole = line.random.size() == 64 && is_hex(line.random) &&
                       line.secret.size() >= 64 && is_hex(line.secret) && !(words >> more);
    CHECK_MESSAGE(whole, one);
    lines.push_back(std::move(line));
  }
  return lines;
}

std::string hex(const unsigned char* bytes, std::size_t size) {
  std::string text;
  for (std::size_t i = 0; i < size; ++i) text += fmt::format("{:02x}", bytes[i]);
  return text;
}

std::string client_random(SSL* ssl) {
  unsigned char bytes[SSL3_RANDOM_SIZE];
  REQUIRE(SSL_get_client_random(ssl, bytes, sizeof bytes) == sizeof bytes);
  return hex(bytes, sizeof bytes);
}

}  // namespace

TEST_CASE(
    "keylog: the lines are those of the connection, whichever side has it and whichever version") {
  const Signed identity = make_signed("h.test");
  for (const int version : {TLS1_2_VERSION, TLS1_3_VERSION}) {
    for (const bool by_server : {false, true}) {
      CAPTURE(version);
      CAPTURE(by_server);
      const Directory directory;
      const auto client = client_context(), server = server_context(identity);
      SSL_CTX_set_max_proto_version(client.get(), version);
      Keylog keylog{open_to_append(directory / "keys"), no_trouble()};
      keylog.attach(by_server ? server.get() : client.get());
      const auto pair = handshake(client.get(), server.get());
      REQUIRE(pair.done);
      REQUIRE(keylog.wait(kPatience));
      const auto lines = lines_of(contents(directory / "keys"));
      std::set<std::string> labels;
      for (const auto& line : lines) {
        labels.insert(line.label);
        CHECK(line.random == client_random(pair.client.get()));
      }
      if (version == TLS1_3_VERSION) {
        CHECK(labels == std::set<std::string>{"CLIENT_HANDSHAKE_TRAFFIC_SECRET",
                                              "SERVER_HANDSHAKE_TRAFFIC_SECRET",
                                              "CLIENT_TRAFFIC_SECRET_0", "SERVER_TRAFFIC_SECRET_0",
                                              "EXPORTER_SECRET"});
        continue;
      }
      REQUIRE(lines.size() == 1);
      CHECK(lines[0].label == "CLIENT_RANDOM");
      unsigned char master[SSL_MAX_MASTER_KEY_LENGTH];
      const auto size =
          SSL_SESSION_get_master_key(SSL_get_session(pair.server.get()), master, sizeof master);
      CHECK(lines[0].secret == hex(master, size));
    }
  }
}

TEST_CASE("keylog: what is in the file stays, and half a line of an earlier run is ended") {
  const Directory directory;
  tls_test::write(directory / "keys", "CLIENT_RANDOM 0123");
  {
    const auto client = client_context(), server = server_context(make_signed("h.test"));
    Keylog keylog{open_to_append(directory / "keys"), no_trouble()};
    keylog.attach(client.get());
    REQUIRE(handshake(client.get(), server.get()).done);
  }
  const std::string text = contents(directory / "keys"), before = "CLIENT_RANDOM 0123\n";
  REQUIRE(text.starts_with(before));
  CHECK(lines_of(text.substr(before.size())).size() == 5);
}

TEST_CASE("keylog: lines of many threads do not mix") {
  constexpr int kThreads = 8, kEach = 20;
  const Directory directory;
  const Signed identity = make_signed("h.test");
  const auto server = server_context(identity);
  {
    Keylog keylog{open_to_append(directory / "keys"), no_trouble()};
    keylog.attach(server.get());
    std::atomic<int> done = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([&] {
        const auto client = client_context();
        for (int at = 0; at < kEach; ++at)
          done += handshake(client.get(), server.get()).done ? 1 : 0;
      });
    }
    for (auto& thread : threads) thread.join();
    CHECK(done == kThreads * kEach);
  }
  CHECK(lines_of(contents(directory / "keys")).size() == kThreads * kEach * 5);
}

TEST_CASE("keylog: a full disk is said once, and connections go on") {
  std::vector<base::Error> errors;
  Keylog keylog{open_to_append("/dev/full"),
                [&](const base::Error& error) { errors.push_back(error); }};
  const auto client = client_context(), server = server_context(make_signed("h.test"));
  keylog.attach(client.get());
  for (int i = 0; i < 3; ++i) CHECK(handshake(client.get(), server.get()).done);
  REQUIRE(keylog.wait(kPatience));
  REQUIRE(errors.size() == 1);
  CHECK(errors[0].os_code == ENOSPC);
  CHECK(errors[0].text.find("cannot write") != std::string::npos);
}

TEST_CASE("keylog: a pipe whose reader is slow loses lines, is said once and is not waited for") {
  int ends[2];
  REQUIRE(::pipe(ends) == 0);
  const base::UniqueFd reader{ends[0]};
  base::UniqueFd writer{ends[1]};
  REQUIRE(::fcntl(writer.get(), F_SETFL, O_NONBLOCK) == 0);
  const std::string filling(4096, '\n');
  while (::write(writer.get(), filling.data(), filling.size()) > 0) {
  }
  std::vector<base::Error> errors;
  Keylog keylog{std::move(writer), [&](const base::Error& error) { errors.push_back(error); }};
  const auto client = client_context(), server = server_context(make_signed("h.test"));
  keylog.attach(client.get());
  for (int i = 0; i < 3; ++i) CHECK(handshake(client.get(), server.get()).done);
  REQUIRE(keylog.wait(kPatience));
  REQUIRE(errors.size() == 1);
  CHECK(errors[0].os_code == EAGAIN);
  std::string heard(1 << 20, '\0');
  REQUIRE(::read(reader.get(), heard.data(), heard.size()) > 0);
  REQUIRE(handshake(client.get(), server.get()).done);
  REQUIRE(keylog.wait(kPatience));
  const auto got = ::read(reader.get(), heard.data(), heard.size());
  REQUIRE(got > 0);
  CHECK(lines_of(heard.substr(0, static_cast<std::size_t>(got))).size() == 5);
}

TEST_CASE("keylog: a write that hangs holds up no handshake, and the end only for a while") {
  int ends[2];
  REQUIRE(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0);
  const base::UniqueFd reader{ends[0]};
  base::UniqueFd writer{ends[1]};  // as standard error may be: it blocks, and cannot be opened anew
  const std::string filling(4096, '\n');
  while (::send(writer.get(), filling.data(), filling.size(), MSG_DONTWAIT) > 0) {
  }
  struct Said {
    std::mutex mutex;
    std::vector<base::Error> errors;
  };
  const auto said = std::make_shared<Said>();  // the thread may outlive this test
  const auto client = client_context(), server = server_context(make_signed("h.test"));
  const auto began = std::chrono::steady_clock::now();
  {
    Keylog keylog{std::move(writer), [said](const base::Error& error) {
                    const std::lock_guard lock{said->mutex};
                    said->errors.push_back(error);
                  }};
    keylog.attach(client.get());
    for (int i = 0; i < 3; ++i) CHECK(handshake(client.get(), server.get()).done);
    CHECK_FALSE(keylog.wait(std::chrono::milliseconds{10}));
    const std::lock_guard lock{said->mutex};
    CHECK(said->errors.empty());
  }
  CHECK(std::chrono::steady_clock::now() - began < kPatience / 2);
  const std::lock_guard lock{said->mutex};
  REQUIRE(said->errors.size() == 1);
  CHECK(said->errors[0].os_code == EAGAIN);
}
