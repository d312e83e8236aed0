#include "tests/mitm/memory_stream.h"

#include "mitm/intercept/wire/pump.h"

namespace test {
namespace {

using mitm::flow::Direction;
using mitm::intercept::IoResult;
using mitm::intercept::Pump;

class Counter final : public Pump::Handler {
 public:
  Pump::Taken on_bytes(Direction direction, std::span<char> bytes,
                       mitm::intercept::Turn& /*turn*/) override {
    (direction == Direction::request ? outcome.request_bytes : outcome.response_bytes) +=
        bytes.size();
    return {bytes.size()};
  }
  Pump::Ending on_end(Direction, IoResult, std::string_view) override { return {}; }
  void on_failure(Direction direction, std::string) override {
    outcome.error = direction == Direction::request ? "client reset" : "server reset";
  }

  divert::Outcome outcome;
};

}  // namespace

boost::asio::awaitable<divert::Outcome> MemoryStream::relay_to(Transport& server) {
  mitm::intercept::MemoryAccount memory{std::make_shared<mitm::intercept::MemoryBudget>()};
  mitm::intercept::PeekBuffer from_client{*this}, from_server{server};
  std::vector<char> scratch(64 << 10);
  Counter counter;
  Pump pump{from_client, from_server, scratch, memory, counter};
  co_await pump.run();
  co_await pump.deliver_end();
  co_return std::move(counter.outcome);
}

}  // namespace test
