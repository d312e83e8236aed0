// What is relayed, and what that costs; how it ends: relay_end_test.cpp.
#include <cstddef>
#include <fstream>
#include <thread>

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <netinet/tcp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "tests/divert/relay_rig.h"

using namespace relay_rig;

namespace {

long resident_kib() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmRSS:")) return std::stol(line.substr(6));
  }
  return 0;
}

/// From now on the system call fails with `error` in this thread, when its argument is (or is not)
/// `value`.
void refuse(std::uint32_t call, unsigned argument, bool equal, std::uint32_t value,
            std::uint32_t error) {
  const auto offset =
      static_cast<std::uint32_t>(offsetof(seccomp_data, args) + argument * sizeof(std::uint64_t));
  const sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 3),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offset),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, static_cast<__u8>(equal ? 0 : 1),
               static_cast<__u8>(equal ? 1 : 0)),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog filter{std::size(program), const_cast<sock_filter*>(program)};
  ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
  ::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter);
}

/// `size` bytes each way at once, then FIN each way; everything must arrive as it was sent.
void exchange(Ends& ends, std::uint64_t size) {
  const Stream up(1), down(2);
  std::uint64_t sent_up = 0, sent_down = 0;
  Read at_program;
  std::thread program_writes([&] {
    sent_up = write_stream(ends.program.get(), up, size);
    ::shutdown(ends.program.get(), SHUT_WR);
  });
  std::thread origin_writes([&] {
    sent_down = write_stream(ends.origin.get(), down, size);
    ::shutdown(ends.origin.get(), SHUT_WR);
  });
  std::thread program_reads([&] { at_program = read_stream(ends.program.get(), down); });
  const Read at_origin = read_stream(ends.origin.get(), up);
  program_writes.join();
  origin_writes.join();
  program_reads.join();
  CHECK(sent_up == size);
  CHECK(sent_down == size);
  for (const Read& got : {at_origin, at_program}) {
    CHECK(got.bytes == size);
    CHECK(got.exact);
    CHECK(got.error == 0);
  }
  const auto outcome = ends.wait();
  CHECK(outcome.request_bytes == size);
  CHECK(outcome.response_bytes == size);
  CHECK(outcome.error == "");
}

}  // namespace

TEST_CASE("relay: 64 MiB each way at once, byte for byte") {
  Context relay;
  for (const int family : {AF_INET, AF_INET6}) {
    CAPTURE(family);
    auto ends = relayed(relay.context, family);
    exchange(ends, 64 << 20);
  }
}

TEST_CASE("relay: passes a half-close on and keeps the other direction") {
  Context relay;
  for (const bool program_first : {true, false}) {
    CAPTURE(program_first);
    auto ends = relayed(relay.context);
    const int first = program_first ? ends.program.get() : ends.origin.get();
    const int second = program_first ? ends.origin.get() : ends.program.get();
    write_text(first, "question");
    ::shutdown(first, SHUT_WR);
    CHECK(read_text(second, 100) == "question");  // up to the end
    CHECK_FALSE(becomes(first, POLLIN, 100ms));
    write_text(second, "an answer");
    CHECK(read_text(first, 9) == "an answer");
    write_text(second, ", later");
    CHECK(read_text(first, 7) == ", later");
    CHECK(ends.outcome.wait_for(50ms) == std::future_status::timeout);
    ::shutdown(second, SHUT_WR);
    CHECK(how_it_ends(first) == 0);
    const auto outcome = ends.wait();
    CHECK(outcome.error == "");
    CHECK(outcome.request_bytes == (program_first ? 8 : 16));
    CHECK(outcome.response_bytes == (program_first ? 16 : 8));
  }
}

TEST_CASE("relay: a slow reader stops the writer, and memory stays as it was") {
  Context relay;
  auto ends = relayed(relay.context, AF_INET, 64 << 10);
  const Stream stream(5);
  const long before = resident_kib();
  const auto taken = fill_up(ends.program.get(), stream);
  CHECK(taken > 0);
  CHECK(taken < 4 << 20);
  CHECK(resident_kib() - before < 4096);
  // Slow, but nothing is lost.
  std::uint64_t got = 0;
  for (; got < taken; got += 8192) {
    const auto part =
        read_stream(ends.origin.get(), stream, std::min<std::uint64_t>(8192, taken - got), got);
    REQUIRE(part.exact);
    REQUIRE(part.error == 0);
  }
  ends.program.reset();
  CHECK(how_it_ends(ends.origin.get()) == 0);
  ends.origin.reset();
  const auto outcome = ends.wait();
  CHECK(outcome.request_bytes == taken);
  CHECK(outcome.error == "");
}

TEST_CASE("relay: 200 connections on one thread") {
  Context relay;
  std::vector<Ends> all;
  for (int i = 0; i < 200; ++i) all.push_back(relayed(relay.context));
  constexpr std::uint64_t kSize = 100'000;
  const Stream up(6), down(7);
  for (auto& ends : all) {
    CHECK(write_stream(ends.program.get(), up, kSize) == kSize);
    CHECK(write_stream(ends.origin.get(), down, kSize) == kSize);
    ::shutdown(ends.program.get(), SHUT_WR);
    ::shutdown(ends.origin.get(), SHUT_WR);
  }
  for (auto& ends : all) {
    const Read at_origin = read_stream(ends.origin.get(), up);
    const Read at_program = read_stream(ends.program.get(), down);
    CHECK((at_origin.bytes == kSize && at_origin.exact && at_origin.error == 0));
    CHECK((at_program.bytes == kSize && at_program.exact && at_program.error == 0));
    const auto outcome = ends.wait();
    CHECK(outcome.error == "");
    CHECK(outcome.request_bytes == kSize);
  }
}

TEST_CASE("relay: an idle connection holds no pipe") {
  Context relay;
  const auto before = open_descriptors();
  std::vector<Ends> all;
  for (int i = 0; i < 40; ++i) {
    all.push_back(relayed(relay.context));
    write_text(all.back().program.get(), "hello");
    REQUIRE(read_text(all.back().origin.get(), 5) == "hello");
    write_text(all.back().origin.get(), "world");
    REQUIRE(read_text(all.back().program.get(), 5) == "world");
  }
  const auto after = open_descriptors();
  CHECK(after.sockets - before.sockets == 40 * 4);
  CHECK(after.pipes - before.pipes <= 2 * 2);  // two directions at most were busy at one time
}

TEST_CASE("relay: urgent data goes in line and stops nothing") {
  Context relay;
  auto ends = relayed(relay.context);
  write_text(ends.program.get(), "abc");
  CHECK(read_text(ends.origin.get(), 3) == "abc");
  for (int i = 0; i < 3; ++i) {
    REQUIRE(::send(ends.program.get(), "de!", 3, MSG_OOB) == 3);
    write_text(ends.program.get(), "fgh");
    CHECK(read_text(ends.origin.get(), 6) == "de!fgh");
  }
  ends.program.reset();
  CHECK(how_it_ends(ends.origin.get()) == 0);
}

TEST_CASE("relay: without descriptors for a pipe it copies") {
  // As at the limit of descriptors, but for the relay's pipes alone: sanitizers make pipes as well.
  Context relay([] { refuse(SYS_pipe2, 1, true, O_NONBLOCK | O_CLOEXEC, EMFILE); });
  const auto pipes = open_descriptors().pipes;
  auto ends = relayed(relay.context);
  write_text(ends.program.get(), "x");
  CHECK(read_text(ends.origin.get(), 1) == "x");
  CHECK(open_descriptors().pipes == pipes);
  auto other = relayed(relay.context);
  exchange(other, 8 << 20);
}

TEST_CASE("relay: where splice is refused it copies") {
  constexpr unsigned kSize = 4;  // the argument
  SUBCASE("always") {
    Context relay([] { refuse(SYS_splice, kSize, false, 0, EINVAL); });
    auto ends = relayed(relay.context);
    exchange(ends, 8 << 20);
  }
  SUBCASE("by the sink only: what the pipe holds is not lost") {
    // Only the way into a pipe asks for as much as a pipe holds.
    Context relay([] { refuse(SYS_splice, kSize, false, 256 << 10, EINVAL); });
    auto ends = relayed(relay.context);
    exchange(ends, 8 << 20);
  }
}
