#include "divert/link/link_queue.h"

#include <array>

#include "tests/test.h"

using divert::LinkQueue;
using divert::MessageSocket;

TEST_CASE("link_queue: a reader that takes nothing costs no more than its limit") {
  auto pair = MessageSocket::make_pair();
  REQUIRE(pair);
  LinkQueue queue;
  const std::string message(2000, 'x');
  std::size_t taken = 0;
  while (queue.push(message, LinkQueue::Kind::needed)) {
    ++taken;
    queue.flush(pair->ours);
    REQUIRE(taken < 100'000);
  }
  CHECK(queue.bytes() <= LinkQueue::kMaxBytes);
  CHECK(queue.bytes() > LinkQueue::kMaxBytes - message.size());
  // It reads again: everything that was taken comes, in order, and there is room.
  std::string buffer(128 << 10, '\0');
  std::size_t received = 0;
  for (; received < taken; ++received) {
    queue.flush(pair->ours);
    REQUIRE(pair->theirs.receive(buffer, MessageSocket::Wait::no) ==
            static_cast<ssize_t>(message.size()));
  }
  CHECK(queue.empty());
  CHECK(queue.bytes() == 0);
  CHECK(queue.push(message, LinkQueue::Kind::needed));
}

TEST_CASE(
    "link_queue: what is only to be shown is dropped earlier, what a connection waits for is not") {
  LinkQueue queue;
  for (std::size_t i = 0; i < LinkQueue::kMaxLossy; ++i)
    REQUIRE(queue.push("flow", LinkQueue::Kind::lossy));
  CHECK_FALSE(queue.push("flow", LinkQueue::Kind::lossy));
  CHECK(queue.push("answer", LinkQueue::Kind::needed));
}

TEST_CASE("link_queue: says whether anything has gone") {
  auto pair = MessageSocket::make_pair();
  REQUIRE(pair);
  LinkQueue queue;
  CHECK_FALSE(queue.flush(pair->ours));
  REQUIRE(queue.push("one", LinkQueue::Kind::needed));
  CHECK(queue.flush(pair->ours));
  CHECK_FALSE(queue.flush(pair->ours));
  // The reader has gone: nothing is kept for it.
  pair->theirs = {};
  REQUIRE(queue.push("two", LinkQueue::Kind::needed));
  CHECK_FALSE(queue.flush(pair->ours));
  CHECK(queue.empty());
}
