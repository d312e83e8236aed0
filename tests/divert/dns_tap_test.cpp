// Who asked, as far as it is remembered; and copies of packets as bytes.
#include "divert/packet/dns_tap.h"

#include <cstring>

#include "tests/test.h"

namespace {

using namespace divert;
using namespace std::chrono_literals;

FlowKey question(std::uint16_t port) {
  return {base::parse_endpoint("192.0.2.1:" + std::to_string(port)).value(),
          base::parse_endpoint("192.0.2.53:53").value(), true};
}

Ruling by(const char* reason) {
  Ruling ruling;
  ruling.verdict.reason = reason;
  return ruling;
}

}  // namespace

TEST_CASE("dns_tap: an answer belongs to whoever asked last from there") {
  Questions questions;
  const Questions::Time start{};
  CHECK(questions.asker(question(1), start) == nullptr);
  questions.asked(question(1), by("first"), start);
  questions.asked(question(1), by("second"), start + 1s);
  REQUIRE(questions.asker(question(1), start + 11s));
  CHECK(questions.asker(question(1), start + 11s)->verdict.reason == "second");
  CHECK(questions.asker(question(1), start + 12s) == nullptr);
  CHECK(questions.asker(question(2), start) == nullptr);
  CHECK(questions.matters(question(1), start));
  questions.does_not_matter(question(1), start + 2s);
  CHECK_FALSE(questions.matters(question(1), start + 2s));
  CHECK(questions.matters(question(2), start + 2s));
  CHECK(questions.matters(question(1), start + 3s));
  CHECK(questions.asker(question(1), start + 2s) == nullptr);
}

TEST_CASE("dns_tap: what is remembered is bounded, the oldest goes first") {
  Questions questions;
  const Questions::Time start{};
  for (unsigned i = 0; i <= Questions::kMax; ++i)
    questions.asked(question(static_cast<std::uint16_t>(i)), by("x"),
                    start + std::chrono::milliseconds{i});
  CHECK(questions.asker(question(0), start + 5s) == nullptr);
  CHECK(questions.asker(question(1), start + 5s));
}

TEST_CASE("dns_tap: answers that are faster than the search wait for it, but not long") {
  Questions questions;
  const Questions::Time start{};
  questions.answered_early(question(1), "a", start);
  questions.answered_early(question(2), "b", start);
  questions.answered_early(question(1), "c", start + 10ms);
  const auto early = questions.early_answers(question(1), start + 20ms);
  REQUIRE(early.size() == 2);
  CHECK(early[0].payload + early[1].payload == "ac");
  CHECK(early[1].came == start + 10ms);
  CHECK(questions.early_answers(question(1), start + 20ms).empty());
  CHECK(questions.early_answers(question(2), start + 1001ms).empty());
}

TEST_CASE("dns_tap: searches take a share of each second, no more") {
  SearchBudget budget;
  const SearchBudget::Clock::time_point start{100s};
  CHECK(budget.left(start) == SearchBudget::kLongest);
  budget.spend(210ms);
  CHECK(budget.left(start + 1ms) == 40ms);
  budget.spend(60ms);
  CHECK(budget.left(start + 999ms) == 0ms);
  CHECK(budget.left(start + 1000ms) == SearchBudget::kLongest);
}

TEST_CASE("dns_tap: copies of packets, several in a datagram, cut ones passed over") {
  const auto message = [](std::uint16_t type, const std::string& payload) {
    std::string bytes(16, '\0');
    const std::string body = std::string(4, '\0') + std::string("\x08\0\1\0\x08\0\3\0", 8) +
                             std::string(1, static_cast<char>(4 + payload.size())) +
                             std::string("\0\x09\0", 3) + payload;
    bytes += body;
    const auto size = static_cast<std::uint32_t>(bytes.size());
    std::memcpy(bytes.data(), &size, sizeof size);
    std::memcpy(bytes.data() + 4, &type, sizeof type);
    bytes.resize((bytes.size() + 3) & ~std::size_t{3});
    return bytes;
  };
  const std::string both =
      message(0x400, "E..one") + message(0x401, "no copy") + message(0x400, "E..two!");
  std::vector<char> buffer(both.begin(), both.end());
  std::vector<std::string> taken;
  const auto take = [&](std::string_view bytes) { taken.emplace_back(bytes); };
  decode_packet_log({buffer.data(), buffer.size()}, take);
  CHECK(taken == std::vector<std::string>{"E..one", "E..two!"});
  taken.clear();
  for (std::size_t size = 0; size < 36; ++size) decode_packet_log({buffer.data(), size}, take);
  CHECK(taken.empty());
}
