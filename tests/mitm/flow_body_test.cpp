// Bodies that are recorded while others read what is there of them.
#include <thread>

#include "mitm/flow/body.h"
#include "tests/test.h"

namespace mitm::flow {
namespace {

constexpr std::size_t kNoLimit = std::size_t{1} << 40;

}  // namespace

TEST_CASE("body: what was appended, in its order, in however many parts") {
  for (const std::size_t part : {1, 2, 3, 7, 100, 5000}) {
    CAPTURE(part);
    std::string whole;
    BodyRecorder recorder;
    std::size_t memory = 0;
    for (int round = 0; round < 300; ++round) {
      const std::string bytes(part, static_cast<char>('a' + round % 26));
      whole += bytes;
      const std::size_t expected = recorder.growth(bytes, kNoLimit);
      const std::size_t grown = recorder.append(bytes, kNoLimit);
      CHECK(grown == expected);
      memory += grown;
    }
    std::string scratch;
    CHECK(recorder.body().text() == whole);
    CHECK(recorder.body().bytes(scratch) == whole);
    CHECK_FALSE(recorder.body().is_cut());
    CHECK(memory >= whole.size());
    CHECK(memory <= 2 * whole.size() + part);
  }
}

TEST_CASE("body: one part is held in one piece, without a copy") {
  BodyRecorder recorder;
  CHECK(recorder.append("hello", kNoLimit) == 5);
  std::string scratch;
  const Body body = recorder.body();
  CHECK(body.bytes(scratch) == "hello");
  CHECK(scratch.empty());
}

TEST_CASE("body: no more than the limit is kept, and that is said") {
  BodyRecorder recorder;
  CHECK(recorder.append("123456", 8) == 6);
  CHECK_FALSE(recorder.body().is_cut());
  recorder.append("7890", 8);
  CHECK(recorder.body().text() == "12345678");
  CHECK(recorder.body().is_cut());
  CHECK(recorder.append("more", 100) == 0);
  CHECK(recorder.body().size() == 8);
}

TEST_CASE("body: with a limit of nothing, nothing is missing") {
  BodyRecorder recorder;
  CHECK(recorder.append("hello", 0) == 0);
  CHECK(recorder.body().empty());
  CHECK_FALSE(recorder.body().is_cut());
}

TEST_CASE("body: an earlier view stays what it was") {
  BodyRecorder recorder;
  recorder.append("first", kNoLimit);
  const Body before = recorder.body();
  recorder.append(" and second", kNoLimit);
  CHECK(before.text() == "first");
  CHECK(recorder.body().text() == "first and second");
  CHECK(before.without_bytes().empty());
  CHECK(before.without_bytes().is_cut());
  CHECK_FALSE(Body().without_bytes().is_cut());
}

TEST_CASE("body: a view is read by another thread while more is recorded") {
  BodyRecorder recorder;
  std::vector<std::thread> readers;
  for (int round = 1; round <= 200; ++round) {
    recorder.append(std::string(97, static_cast<char>('a' + round % 26)), kNoLimit);
    readers.emplace_back([view = recorder.body(), round] {
      const std::string text = view.text();
      CHECK(text.size() == 97 * static_cast<std::size_t>(round));
      CHECK(text.back() == static_cast<char>('a' + round % 26));
    });
  }
  for (auto& reader : readers) reader.join();
}

}  // namespace mitm::flow
