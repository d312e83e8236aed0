// How a relayed connection ends, and what still arrives before that.
#include <csignal>
#include <functional>
#include <thread>

#include <boost/asio/bind_cancellation_slot.hpp>
#include <boost/asio/cancellation_signal.hpp>
#include <linux/sockios.h>
#include <sys/ioctl.h>

#include "tests/divert/relay_rig.h"

using namespace relay_rig;

namespace {

void close_with_reset(UniqueFd fd) {
  const linger now{1, 0};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

/// Until the other end's kernel has all that was written.
void wait_until_taken(int fd) {
  for (int left = 1; left > 0; std::this_thread::sleep_for(5ms))
    REQUIRE(::ioctl(fd, SIOCOUTQ, &left) == 0);
}

/// Whether a RST arrives. Not asked by reading: after a FIN a reader sees no more than the end.
bool is_reset(int fd) {
  pollfd ask{fd, 0, 0};
  int error = 0;
  socklen_t size = sizeof error;
  return ::poll(&ask, 1, std::chrono::milliseconds(kPatience).count()) > 0 &&
         (ask.revents & POLLERR) != 0 &&
         ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) == 0 &&
         (error == ECONNRESET || error == EPIPE);
}

}  // namespace

TEST_CASE("relay: a plain close of one side after the other's is a clean end") {
  Context relay;
  auto ends = relayed(relay.context);
  write_text(ends.origin.get(), "bye");
  ends.origin.reset();
  CHECK(read_text(ends.program.get(), 10) == "bye");
  ends.program.reset();
  CHECK(ends.wait().error == "");
}

TEST_CASE("relay: a reset of one side resets the other, in every phase") {
  using Phase = std::function<void(Ends&, int resetter, int other)>;
  const Stream stream(3);
  struct Case {
    std::string name;
    Phase before;
  };
  const Case cases[] = {
      {"at once", [](Ends&, int, int) {}},
      {"idle, after an exchange",
       [](Ends&, int resetter, int other) {
         write_text(resetter, "ping");
         CHECK(read_text(other, 4) == "ping");
         write_text(other, "pong");
         CHECK(read_text(resetter, 4) == "pong");
         std::this_thread::sleep_for(20ms);
       }},
      {"while it sends and nobody reads",
       [&](Ends&, int resetter, int) { CHECK(fill_up(resetter, stream) > 0); }},
      {"while the other sends and it does not read",
       [&](Ends&, int, int other) { CHECK(fill_up(other, stream) > 0); }},
      {"while both send and nobody reads",
       [&](Ends&, int resetter, int other) {
         CHECK(fill_up(resetter, stream) > 0);
         CHECK(fill_up(other, stream) > 0);
       }},
      {"with bytes that it has not read",
       [](Ends&, int resetter, int other) {
         write_text(other, "unread");
         CHECK(becomes(resetter, POLLIN));
       }},
      {"after its own half-close",
       [](Ends&, int resetter, int other) {
         ::shutdown(resetter, SHUT_WR);
         CHECK(read_text(other, 1).empty());
       }},
      {"after the other's half-close",
       [](Ends&, int resetter, int other) {
         ::shutdown(other, SHUT_WR);
         CHECK(read_text(resetter, 1).empty());
       }},
      {"after the other's half-close, while it sends and nobody reads",
       [&](Ends&, int resetter, int other) {
         ::shutdown(other, SHUT_WR);
         CHECK(fill_up(resetter, stream) > 0);
       }},
      {"after its own half-close, while the other sends",
       [&](Ends&, int resetter, int other) {
         ::shutdown(resetter, SHUT_WR);
         CHECK(fill_up(other, stream) > 0);
       }},
  };
  struct Broken {
    std::string name;
    bool by_program = false;
    Ends ends;
  };
  Context relay;
  std::vector<Broken> all;
  for (const auto& [name, before] : cases) {
    for (const bool by_program : {true, false}) {
      CAPTURE(name);
      CAPTURE(by_program);
      auto& ends =
          all.emplace_back(Broken{name, by_program, relayed(relay.context, AF_INET, 32 << 10)})
              .ends;
      UniqueFd& resetter = by_program ? ends.program : ends.origin;
      const UniqueFd& other = by_program ? ends.origin : ends.program;
      before(ends, resetter.get(), other.get());
      close_with_reset(std::move(resetter));
    }
  }
  // The news travels by itself, not only when somebody reads or writes next.
  for (auto& [name, by_program, ends] : all) {
    CAPTURE(name);
    CAPTURE(by_program);
    CHECK(ends.wait().error == (by_program ? "client reset" : "server reset"));
    CHECK(is_reset((by_program ? ends.origin : ends.program).get()));
  }
}

TEST_CASE("relay: the answer to an upload that the server does not want to the end arrives") {
  Context relay;
  const Stream stream(9);
  const std::string answer = "413 too large" + std::string(20000, '.');
  for (int i = 0; i < 50; ++i) {
    auto ends = relayed(relay.context);
    std::thread upload(
        [&] { write_stream(ends.program.get(), stream, 64 << 20); });  // stops with the reset
    CHECK(read_stream(ends.origin.get(), stream, 1000).exact);
    write_text(ends.origin.get(), answer);
    wait_until_taken(ends.origin.get());
    close_with_reset(std::move(ends.origin));
    upload.join();
    CHECK((read_text(ends.program.get(), answer.size()) == answer));
    CHECK(ends.wait().error == "server reset");
  }
}

TEST_CASE("relay: what was said before a reset waits for a side that is slow") {
  Context relay;
  const Stream stream(10);
  auto ends = relayed(relay.context);
  const int little = 4096;
  ::setsockopt(ends.program.get(), SOL_SOCKET, SO_RCVBUF, &little, sizeof little);
  CHECK(write_stream(ends.origin.get(), stream, 64 << 10) == 64 << 10);
  wait_until_taken(ends.origin.get());
  close_with_reset(std::move(ends.origin));
  std::this_thread::sleep_for(200ms);
  const Read got = read_stream(ends.program.get(), stream);
  CHECK(got.bytes == 64 << 10);
  CHECK(got.exact);
  CHECK(got.error == ECONNRESET);
  CHECK(ends.wait().error == "server reset");
}

TEST_CASE("relay: bytes that came before a reset are delivered when there is room") {
  Context relay;
  auto ends = relayed(relay.context);
  write_text(ends.origin.get(), "413 too large");
  close_with_reset(std::move(ends.origin));
  CHECK(read_text(ends.program.get(), 13) == "413 too large");
  CHECK(how_it_ends(ends.program.get()) == ECONNRESET);
  CHECK(ends.wait().error == "server reset");
}

TEST_CASE("relay: writing to a side that closed its socket is an error for the writer") {
  Context relay;
  auto ends = relayed(relay.context);
  ends.origin.reset();
  CHECK(how_it_ends(ends.program.get()) == 0);
  const Stream stream(4);
  write_stream(ends.program.get(), stream, 64 << 20);  // stops with the reset
  CHECK(ends.wait().error == "server reset");
  char byte = 0;
  CHECK(::send(ends.program.get(), &byte, 1, MSG_NOSIGNAL) < 0);
}

TEST_CASE("relay: sockets and pipes are closed at the end, whatever the end") {
  const auto before = open_descriptors();
  {
    Context relay;
    const Stream stream(9);
    std::vector<Ends> all;
    for (int i = 0; i < 6; ++i) {
      auto& ends = all.emplace_back(relayed(relay.context, AF_INET, 32 << 10));
      fill_up(ends.program.get(), stream);
      close_with_reset(std::move(i % 2 == 0 ? ends.origin : ends.program));
    }
    for (auto& ends : all) CHECK_FALSE(ends.wait().error.empty());
    all.clear();
    CHECK(open_descriptors().sockets == before.sockets);
  }
  CHECK(open_descriptors().pipes == before.pipes);  // the pool goes with its thread
}

TEST_CASE("relay: a write to a socket that is gone raises no signal") {
  struct sigaction old {};
  struct sigaction deadly {};
  deadly.sa_handler = SIG_DFL;
  ::sigaction(SIGPIPE, &deadly, &old);
  Context relay;
  auto ends = relayed(relay.context);
  ends.origin.reset();
  CHECK(how_it_ends(ends.program.get()) == 0);
  // While the relay sleeps more comes than it writes at once: its first write brings the RST, its
  // second fails.
  std::promise<void> asleep;
  boost::asio::post(relay.context, [&] {
    asleep.set_value();
    std::this_thread::sleep_for(500ms);
  });
  asleep.get_future().wait();
  CHECK(fill_up(ends.program.get(), Stream(8)) > 512 << 10);
  CHECK(ends.wait().error == "server reset");
  ::sigaction(SIGPIPE, &old, nullptr);
}

TEST_CASE("relay: cancelled, it resets both sides") {
  Context relay;
  Pair front = connected();
  Pair back = connected();
  boost::asio::cancellation_signal signal;
  std::promise<Outcome> promise;
  auto future = promise.get_future();
  spawn(relay.context, std::move(front.passive), std::move(back.active), AF_INET,
        boost::asio::bind_cancellation_slot(signal.slot(),
                                            [&](const std::exception_ptr&, Outcome outcome) {
                                              promise.set_value(std::move(outcome));
                                            }));
  write_text(front.active.get(), "hello");
  CHECK(read_text(back.passive.get(), 5) == "hello");
  boost::asio::post(relay.context, [&] { signal.emit(boost::asio::cancellation_type::terminal); });
  CHECK(how_it_ends(front.active.get()) == ECONNRESET);
  CHECK(how_it_ends(back.passive.get()) == ECONNRESET);
  REQUIRE(future.wait_for(kPatience) == std::future_status::ready);
  CHECK(future.get().error == "client: Operation canceled");
}

TEST_CASE("relay: all of a thread are reset when they are told to end") {
  Context relay;
  auto first = relayed(relay.context);
  auto second = relayed(relay.context);
  write_text(first.origin.get(), "half of it");
  CHECK(read_text(first.program.get(), 10) == "half of it");
  write_text(second.program.get(), "hello");
  CHECK(read_text(second.origin.get(), 5) == "hello");
  boost::asio::post(relay.context, [] { divert::reset_relays("enough"); });
  for (auto* ends : {&first, &second}) {
    CHECK(how_it_ends(ends->program.get()) == ECONNRESET);
    CHECK(how_it_ends(ends->origin.get()) == ECONNRESET);
    CHECK(ends->wait().error == "enough");
  }
}

TEST_CASE("relay: whatever becomes of it, half an answer is no whole one") {
  std::optional<Context> relay;
  relay.emplace();
  auto ends = relayed(relay->context);
  write_text(ends.origin.get(), "half of it");
  CHECK(read_text(ends.program.get(), 10) == "half of it");
  ::shutdown(ends.program.get(), SHUT_WR);
  CHECK(how_it_ends(ends.origin.get()) == 0);
  relay.reset();
  CHECK(how_it_ends(ends.program.get()) == ECONNRESET);
}
