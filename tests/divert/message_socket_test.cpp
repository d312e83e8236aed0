// The same cases for the kernel's packets and for the framed stream that macOS gets: this file is
// compiled into two binaries.
#include "divert/link/message_socket.h"

#include <cerrno>
#include <deque>
#include <thread>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <boost/asio/io_context.hpp>
#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "divert/link/broker_link.h"
#include "tests/test.h"

namespace {

using divert::MessageSocket;
using Wait = MessageSocket::Wait;

struct Ends {
  MessageSocket a, b;
  std::vector<char> buffer = std::vector<char>(divert::wire::kMaxMessage);

  Ends() {
    auto pair = MessageSocket::make_pair();
    REQUIRE(pair.has_value());
    a = std::move(pair->ours);
    b = std::move(pair->theirs);
  }
  /// What comes next at b.
  std::string next(Wait wait = Wait::yes) {
    const ssize_t n = b.receive(buffer, wait);
    REQUIRE(n > 0);
    return {buffer.data(), static_cast<std::size_t>(n)};
  }
};

std::string message_of(std::size_t number, std::size_t size) {
  std::string message(size, static_cast<char>('a' + number % 26));
  message.front() = static_cast<char>(number);
  return message;
}

}  // namespace

TEST_CASE("message_socket: messages arrive whole and apart, whatever their size") {
  Ends ends;
  for (const std::size_t size :
       {std::size_t{1}, std::size_t{2}, std::size_t{3}, std::size_t{4}, std::size_t{5},
        std::size_t{56}, std::size_t{8191}, divert::wire::kMaxMessage}) {
    CAPTURE(size);
    REQUIRE(ends.a.send(message_of(1, size), Wait::no) == 0);
    REQUIRE(ends.a.send("x", Wait::no) == 0);
    CHECK(ends.next() == message_of(1, size));
    CHECK(ends.next() == "x");
  }
  CHECK(ends.b.receive(ends.buffer, Wait::no) == -1);
  CHECK(errno == EAGAIN);
}

TEST_CASE("message_socket: without room a message is refused or taken, never half of it lost") {
  Ends ends;
  std::size_t sent = 0;
  for (int error = 0; error == 0 && sent < 10'000;) {
    error = ends.a.send(message_of(sent, 5000), Wait::no);
    if (error == 0) ++sent;
    CHECK((error == 0 || error == EAGAIN));
  }
  REQUIRE(sent > 3);
  REQUIRE(sent < 10'000);
  for (std::size_t i = 0; i < sent; ++i) {
    ends.a.flush();
    CHECK(ends.next() == message_of(i, 5000));
  }
  CHECK_FALSE(ends.a.pending());
  CHECK(ends.a.send("more", Wait::no) == 0);
  CHECK(ends.next() == "more");
}

TEST_CASE("message_socket: whoever waits for room gets it") {
  Ends ends;
  constexpr std::size_t kCount = 300;
  std::thread sender{[&] {
    for (std::size_t i = 0; i < kCount; ++i)
      CHECK(ends.a.send(message_of(i, 20'000), Wait::yes) == 0);
  }};
  for (std::size_t i = 0; i < kCount; ++i) CHECK(ends.next() == message_of(i, 20'000));
  sender.join();
}

TEST_CASE("message_socket: the death of the other end is an end of file, behind what it said") {
  Ends ends;
  const pid_t child = ::fork();
  if (child == 0) {
    ends.b = {};
    (void)ends.a.send("last words", Wait::yes);
    ::_exit(0);
  }
  ends.a = {};
  ::waitpid(child, nullptr, 0);
  CHECK(ends.next() == "last words");
  CHECK(ends.b.receive(ends.buffer, Wait::yes) == 0);
}

TEST_CASE("message_socket: sending to nobody is an error, not a signal") {
  Ends ends;
  ends.b = {};
  const int error = ends.a.send("hello", Wait::no);
  CHECK((error == EPIPE || error == ECONNRESET));
}

TEST_CASE(
    "message_socket: what is read belongs to one message: "
    "another holder of the end gets the next") {
  Ends ends;
  REQUIRE(ends.a.send("first", Wait::no) == 0);
  REQUIRE(ends.a.send("second", Wait::no) == 0);
  CHECK(ends.next() == "first");
  MessageSocket other{base::UniqueFd{::fcntl(ends.b.descriptor(), F_DUPFD_CLOEXEC, 3)}};
  const ssize_t n = other.receive(ends.buffer, Wait::no);
  CHECK(std::string_view(ends.buffer.data(), static_cast<std::size_t>(std::max<ssize_t>(n, 0))) ==
        "second");
}

TEST_CASE("message_socket: both ends are closed by execve") {
  Ends ends;
  for (const MessageSocket* end : {&ends.a, &ends.b})
    CHECK((::fcntl(end->descriptor(), F_GETFD) & FD_CLOEXEC) != 0);
}

namespace {

namespace asio = boost::asio;
namespace wire = divert::wire;

base::Endpoint endpoint(std::uint16_t port) {
  return {asio::ip::address_v4::loopback(), port};
}

/// A worker's context, and the broker's end of its link in the test's hands.
struct Link {
  asio::io_context context{1};
  MessageSocket broker;
  std::optional<divert::BrokerLink> link;
  std::deque<std::optional<wire::Answer>> answers;
  std::vector<char> buffer = std::vector<char>(wire::kMaxMessage);

  Link() {
    auto pair = MessageSocket::make_pair();
    REQUIRE(pair.has_value());
    broker = std::move(pair->ours);
    link.emplace(context, std::move(pair->theirs));
    asio::co_spawn(context, link->run([](wire::Message) {}), asio::detached);
  }
  void ask(std::uint16_t port) {
    asio::co_spawn(context, keep(port), asio::detached);
    context.restart();
    context.poll();
  }
  wire::Question question() {
    wire::Question question{};
    const ssize_t n = broker.receive(buffer, Wait::no);
    REQUIRE(n == sizeof question);
    std::memcpy(&question, buffer.data(), sizeof question);
    return question;
  }
  void answer(std::uint64_t id, std::uint16_t port) {
    wire::Answer reply;
    reply.id = id;
    reply.connection.destination = endpoint(port);
    REQUIRE(broker.send(wire::encode(reply), Wait::no) == 0);
  }

 private:
  asio::awaitable<void> keep(std::uint16_t port) {
    answers.push_back(co_await link->ask(endpoint(port), endpoint(1)));
  }
};

}  // namespace

TEST_CASE("broker_link: answers in any order reach those who asked") {
  Link rig;
  rig.ask(100);
  rig.ask(200);
  const auto first = rig.question(), second = rig.question();
  rig.answer(second.id, 2);
  rig.answer(first.id, 1);
  while (rig.answers.size() < 2) rig.context.run_one();
  CHECK(rig.answers[0]->connection.destination == endpoint(2));
  CHECK(rig.answers[1]->connection.destination == endpoint(1));
}

TEST_CASE("broker_link: more questions than there is room for are all asked") {
  Link rig;
  constexpr std::size_t kCount = 20'000;
  for (std::size_t i = 0; i < kCount; ++i) rig.ask(static_cast<std::uint16_t>(1 + i % 60'000));
  for (std::size_t answered = 0; answered < kCount; ++answered) {
    const auto limit = std::chrono::steady_clock::now() + std::chrono::seconds{20};
    pollfd readable{rig.broker.descriptor(), POLLIN, 0};
    while (::poll(&readable, 1, 0) == 0 && std::chrono::steady_clock::now() < limit)
      rig.context.poll();
    const auto question = rig.question();
    rig.answer(question.id, 7);
    rig.context.poll();
  }
  while (rig.answers.size() < kCount) rig.context.run_one();
  CHECK(std::ranges::all_of(rig.answers, [](const auto& answer) { return answer.has_value(); }));
}

TEST_CASE("broker_link: the broker's death wakes those who wait, and answers those who ask later") {
  Link rig;
  rig.ask(100);
  rig.broker = {};
  while (rig.answers.empty()) rig.context.run_one();
  CHECK_FALSE(rig.answers[0]);
  rig.ask(200);
  REQUIRE(rig.answers.size() == 2);
  CHECK_FALSE(rig.answers[1]);
}
