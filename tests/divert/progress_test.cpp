#include "divert/packet/progress.h"

#include "tests/test.h"

using namespace std::chrono_literals;

TEST_CASE("progress: a mark counts for as long as it is young") {
  divert::Progress progress;
  const divert::Progress::Clock::time_point start{100s};
  progress.mark(start);
  CHECK(progress.within(1s, start + 999ms));
  CHECK(!progress.within(1s, start + 1s));
  progress.mark(start + 1s);
  CHECK(progress.within(1s, start + 1999ms));
}

// A batch of 256 first packets, each judged in 5 ms, once lasted longer than the guard's patience:
// it killed osproxy while it worked.
TEST_CASE("progress: a thread that takes packet after packet has made progress after each") {
  divert::Progress progress;
  int taken = 0;
  const auto long_ago = divert::Progress::Clock::now() - 1h;
  const auto take =
      divert::marking(progress, [&](const divert::HeldPacket& packet, std::string_view bytes) {
        CHECK(!progress.within(1min));
        CHECK(packet.id == 7);
        CHECK(bytes == "packet");
        ++taken;
      });
  for (int i = 0; i < 3; ++i) {
    progress.mark(long_ago);
    take({0, 7, 0, 0}, "packet");
    CHECK(progress.within(1min));
  }
  CHECK(taken == 3);
}
