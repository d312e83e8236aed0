// An intermediate that ends soon, or has ended while the machine slept.
#include <atomic>

#include <boost/asio/co_spawn.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>

#include "mitm/intercept/wire/renewal.h"
#include "tests/mitm/connection_dialogue.h"
#include "tests/mitm/tls_fixture.h"

using namespace std::chrono_literals;
using mitm::intercept::Renewal;
using mitm::tls::LeafCache;

namespace {

/// A cache whose clock is set, and how often another intermediate was asked for.
struct Setting {
  tls_test::Chain chain;
  std::chrono::system_clock::duration later{};
  LeafCache leaves{chain.signer,
                   {.now = [this] { return std::chrono::system_clock::now() + later; }}};
  int asked = 0;
  boost::asio::io_context io{1};

  std::string before_leaf(Renewal& renewal) {
    std::string why = "it did not end";
    boost::asio::co_spawn(io, renewal.before_leaf(leaves),
                          [&](std::exception_ptr, std::string said) { why = std::move(said); });
    io.restart();
    io.run();
    return why;
  }
};

}  // namespace

TEST_CASE("renewal: nothing is asked while the intermediate is good") {
  Setting setting;
  Renewal renewal{[&] { ++setting.asked; }};
  CHECK(setting.before_leaf(renewal).empty());
  setting.later = 5 * 24h;
  CHECK(setting.before_leaf(renewal).empty());
  CHECK(setting.asked == 0);
}

TEST_CASE("renewal: on the last day another one is asked for, once in a while, and leaves go on") {
  Setting setting;
  Renewal renewal{[&] { ++setting.asked; }};
  setting.later = 6 * 24h + 12h;
  for (int i = 0; i < 3; ++i) CHECK(setting.before_leaf(renewal).empty());
  CHECK(setting.asked == 1);
}

TEST_CASE("renewal: one that has expired is waited for") {
  Setting setting;
  boost::asio::steady_timer broker{setting.io};
  Renewal renewal{[&] {
                    ++setting.asked;
                    broker.expires_after(50ms);
                    broker.async_wait([&](const auto&) {
                      setting.leaves.renew(setting.chain.new_signer());
                      setting.later = {};
                    });
                  },
                  1min};
  setting.later = 8 * 24h;
  CHECK(setting.before_leaf(renewal).empty());
  CHECK(setting.asked == 1);
  CHECK_FALSE(setting.leaves.expires_within(6 * 24h));
}

TEST_CASE("renewal: when none comes, that is the reason") {
  Setting setting;
  Renewal renewal{[&] { ++setting.asked; }, 50ms};
  setting.later = 7 * 24h;
  CHECK(setting.before_leaf(renewal).find("has expired") != std::string::npos);
  Renewal alone{{}};
  CHECK(setting.before_leaf(alone).empty());
}

TEST_CASE("renewal: a program that begins after days of sleep gets a leaf that is good") {
  auto settings = rig::trusting();
  std::atomic<bool> slept = true;
  std::atomic<int> asked = 0;
  settings.now = [&] { return std::chrono::system_clock::now() + (slept ? 8 * 24h : 0h); };
  settings.ask_for_intermediate = [&] {
    ++asked;
    slept = false;
  };
  dialogue::Engine engine{settings};
  auto [program, server] = engine.open();
  const auto client = rig::ours().client();
  const auto origin = rig::theirs().server("h.test");
  const auto shaken = dialogue::shake(program, client.get(), server, origin.get(), "h.test");
  CHECK(shaken.program);
  CHECK(shaken.server);
  CHECK(asked == 1);
  program.close();
  server.close();
  CHECK(engine.idle());
}
