// What connections hold together is bounded, and what they carry arrives all the same.
#include <future>

#include "mitm/intercept/memory.h"
#include "tests/mitm/http2_frames.h"
#include "tests/mitm/intercept_rig.h"
#include "tests/mitm/websocket_frames.h"
#include "tests/test.h"

using mitm::intercept::MemoryAccount;
using mitm::intercept::MemoryBudget;
using mitm::intercept::MemoryShare;
using rig::kGet;
using rig::kOk;
using rig::Rig;

namespace {

constexpr std::int64_t kMiB = 1 << 20;

/// All of a budget is held by somebody else.
struct Exhausted {
  std::shared_ptr<MemoryBudget> budget = std::make_shared<MemoryBudget>(8 * kMiB);
  MemoryAccount others{budget};

  Exhausted() { others.change(9 * kMiB); }
  void release() { others.change(-9 * kMiB); }
  [[nodiscard]] mitm::intercept::Settings settings() const {
    auto settings = rig::trusting();
    settings.memory = budget;
    return settings;
  }
};

}  // namespace

TEST_CASE("memory: accounts report to their budget what is more than small, and all of it at their end") {
  auto budget = std::make_shared<MemoryBudget>(kMiB);
  {
    MemoryAccount account{budget};
    MemoryShare one{account};
    one.set(1000);
    CHECK(budget->used() == 0);
    one.add(MemoryAccount::kSlack);
    CHECK(budget->used() == 1000 + MemoryAccount::kSlack);
    {
      MemoryShare other{account};
      other.set(kMiB);
      CHECK(budget->is_exhausted());
      const MemoryShare moved{std::move(other)};
      CHECK(moved.bytes() == kMiB);
      CHECK(mitm::intercept::readable(account, 128 << 10) == 16 << 10);
      CHECK(mitm::intercept::readable(account, 100) == 100);
    }
    CHECK_FALSE(budget->is_exhausted());
    CHECK(mitm::intercept::readable(account, 128 << 10) == 128 << 10);
    one.take(1000);
  }
  CHECK(budget->used() == 0);
  int told = 0;
  budget->on_first_drop([&] { ++told; });
  budget->count_drop();
  budget->count_drop();
  CHECK(told == 1);
  CHECK(budget->dropped() == 2);
}

TEST_CASE("memory: large requests that are pipelined wait for answers in the kernel, not here") {
  constexpr std::size_t kHeads = 40;
  auto settings = rig::trusting();
  Rig rig{settings};
  auto [program, server] = rig.open();
  const std::string head = "GET / HTTP/1.1\r\nHost: h\r\nx: " + std::string(240'000, 'x') + "\r\n\r\n";
  auto said = std::async(std::launch::async, [&program = program, &head] {
    for (std::size_t i = 0; i < kHeads; ++i) program.say(head);
  });
  CHECK(server.hear(head.size()) == head);
  std::size_t heard = 1;
  // As many turns as the engine would need to read it all.
  rig.run_turns(300);
  CHECK(settings.memory->used() < 2 * kMiB);
  for (std::size_t i = 0; i < kHeads; ++i) {
    rig::passes(server, program, kOk);
    if (heard < kHeads) CHECK(server.hear(head.size()) == head);
    ++heard;
  }
  said.get();
  CHECK(rig.ended(kHeads).size() == kHeads);
  CHECK(settings.memory->dropped() == 0);
}

TEST_CASE("memory: without any, exchanges pass one by one, and their bodies are not recorded") {
  const Exhausted all;
  Rig rig{all.settings()};
  auto [program, server] = rig.open();
  const std::string post =
      "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n" + std::string(100'000, 'x');
  auto said = std::async(std::launch::async, [&program = program, &post] { program.say(post + post); });
  for (int i = 0; i < 2; ++i) {
    CHECK(server.hear(post.size()) == post);
    rig::passes(server, program, kOk);
  }
  said.get();
  for (const auto& flow : rig.ended(2)) {
    CHECK(flow.request_bytes == 100'000);
    CHECK(flow.request_headers.size() == 2);
    CHECK(flow.request_body == "");
    CHECK(flow.request_body_cut);
    CHECK(flow.response_body == "");
    CHECK(flow.response_body_cut);
    CHECK(flow.error == "");
  }
  CHECK(all.budget->dropped() == 4);
}

TEST_CASE("memory: without any, a large head in pieces waits until there is some") {
  Exhausted all;
  Rig rig{all.settings()};
  auto [program, server] = rig.open();
  const std::string head = "GET / HTTP/1.1\r\nHost: h\r\nx: " + std::string(100'000, 'x') + "\r\n\r\n";
  program.say(head.substr(0, 60'000));
  rig.run_turns(100);
  program.say(head.substr(60'000));
  all.release();
  CHECK(server.hear(head.size()) == head);
  rig::passes(server, program, kOk);
  CHECK(rig.ended(1).at(0).error == "");
}

TEST_CASE("memory: without any, HTTP/2 passes, without its header fields in the flows") {
  const Exhausted all;
  Rig rig{all.settings()};
  auto [program, server] = rig.open();
  frames::Packer up, down;
  rig::passes(program, server,
              std::string(frames::kPreface) + frames::settings() + up.headers(1, frames::get("/a"), true));
  rig::passes(server, program,
              frames::settings() + down.headers(1, {{":status", "200"}, {"x", "y"}}, false) +
                  frames::data(1, "body", true));
  const auto flow = rig.ended(1).at(0);
  CHECK(flow.url == rig::with_port("https://h.test/a", flow));
  CHECK(flow.status == 200);
  CHECK(flow.response_headers.empty());
  CHECK(flow.response_bytes == 4);
  CHECK(flow.response_body == "");
  CHECK(flow.response_body_cut);
  CHECK(flow.error == "the memory for all connections was used up: header fields were not recorded");
}

TEST_CASE("memory: without any, messages are shown without what they say, and the flow says why") {
  const Exhausted all;
  Rig rig{all.settings()};
  auto [program, server] = rig.open();
  rig::passes(program, server,
              "GET / HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
  rig::passes(server, program,
              "HTTP/1.1 101 Ok\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
              "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n");
  websocket::Deflater deflater;
  rig::passes(server, program,
              websocket::says(websocket::kText, "hello") +
                  websocket::says(websocket::kText | websocket::kCompressed, deflater.deflate("hello")));
  server.finish();
  program.hear_all();
  program.finish();
  const auto messages = rig.messages(2);
  for (const auto& message : messages) {
    CHECK(message.message->what.payload == "");
    CHECK(message.message->what.cut);
  }
  CHECK(messages[0].message->what.bytes == 5);
  CHECK_FALSE(messages[1].message->what.bytes);
  CHECK(rig.ended(1).at(0).error ==
        "the memory for all connections was used up: later messages are shown without what they say");
}
