// Writes what happens into a session, in batches.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/fd.h"
#include "mitm/flow/bus.h"
#include "mitm/store/retention.h"
#include "mitm/store/session_writer.h"

namespace mitm::store {

/// A retaining subscriber. Events become rows at once and last from the next commit on, at most
/// kCommitAfter later. Before the disk is full, bodies are no longer stored, then flows neither,
/// until there is room again; `say` is told. When a write fails all the same, what the batch held
/// is lost, and said as well. write() and flush() never fail: the run goes on.
class Recorder final : public flow::Subscriber {
 public:
  /// A line for the user, for any thread.
  using Say = std::function<void(const std::string& line)>;
  static constexpr std::chrono::milliseconds kCommitAfter{100};

  /// Free bytes of the disk below which bodies, and flows, are no longer stored.
  struct Reserve {
    std::uint64_t for_flows = 64 << 20;
    std::uint64_t for_all = 16 << 20;
  };

  /// `name` as Subscriber::name(). `disk`: a directory of the file system on which the session is.
  Recorder(std::unique_ptr<SessionWriter> writer, std::string name, base::UniqueFd disk,
           Limits limits, Reserve reserve, Say say);
  ~Recorder() override;

  base::Result<> write(const flow::Event& event) override;
  base::Result<> flush() override;
  [[nodiscard]] std::optional<std::chrono::milliseconds> flush_again() const override;
  [[nodiscard]] flow::EventSet wants() const override;
  [[nodiscard]] flow::Delivery delivery() const override { return flow::Delivery::retaining; }
  [[nodiscard]] const std::string& name() const override { return name_; }

 private:
  using Clock = std::chrono::steady_clock;
  enum class Level : std::uint8_t { everything, no_bodies, nothing };

  /// A flow that has not ended, and of which something was stored.
  struct Live {
    std::int64_t id = 0;  ///< 0: it has no row so far
    std::uint64_t messages = 0;
    PartialBody bodies[2];  ///< by Direction; of those that are longer than what is kept in memory
  };

  [[nodiscard]] base::Result<> store(const flow::Event& event);
  [[nodiscard]] base::Result<> commit();
  [[nodiscard]] base::Result<> tidy();
  void failed(const base::Error& error);
  void look_at_disk();
  void set_level(Level level, std::string_view why);

  [[nodiscard]] base::Result<> put(const flow::HttpFlow& flow, flow::Flow::State state);
  [[nodiscard]] base::Result<> put(const flow::TcpFlow& flow, flow::Flow::State state);
  [[nodiscard]] base::Result<> put(const flow::DnsFlow& flow);
  [[nodiscard]] base::Result<> put(const flow::StreamMessage& message);
  [[nodiscard]] base::Result<> put(const flow::BodyPart& part);
  /// `bytes`: that were on the wire.
  [[nodiscard]] base::Result<std::int64_t> finish_body(const flow::Body& body,
                                                       std::optional<std::uint64_t> bytes,
                                                       PartialBody partial);
  [[nodiscard]] base::Result<> put_beginning(const flow::StreamMessage& message);

  std::unique_ptr<SessionWriter> writer_;
  std::string name_;
  Retention retention_;
  Say say_;
  std::unordered_map<std::uint64_t, Live> live_;  ///< by the flow's id in this run
  base::UniqueFd disk_;
  Reserve reserve_;
  Clock::time_point begun_;   ///< of the open transaction
  Clock::time_point tidied_;  ///< when limits and disk were looked at
  Level level_ = Level::everything;
  std::optional<Clock::time_point> failed_;  ///< when a write failed last
  std::uint64_t batch_ = 0;                  ///< events in the open transaction
  std::uint64_t lost_ = 0;                   ///< events that were not stored
};

}  // namespace mitm::store
