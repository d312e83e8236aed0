// Which program asks name servers what: copies of packets, attributed and judged. What is in them
// is the worker's business.
#pragma once

#include <chrono>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <thread>
#include <unordered_map>
#include <vector>

#include "divert/packet/packet_log.h"
#include "divert/packet/pending_connections.h"

namespace divert {

/// Remembers who asked, so that the answer is known to be theirs. Plain code, for one thread at a
/// time.
class Questions {
 public:
  using Time = std::chrono::steady_clock::time_point;
  struct Early {
    FlowKey question;
    std::string payload;
    Time came;
  };
  static constexpr std::size_t kMax = 4096;
  static constexpr std::chrono::seconds kQuestionTtl{10};

  void asked(const FlowKey& key, const Ruling& ruling, Time now);
  /// The ruling about the program that asked; null when none did, or it was too long ago.
  [[nodiscard]] const Ruling* asker(const FlowKey& question, Time now) const;

  void forget(const FlowKey& key) { entries_.erase(key); }
  /// Those whose owner is known not to matter, for a second: a flood of questions costs no search
  /// each.
  void does_not_matter(const FlowKey& key, Time now);
  [[nodiscard]] bool matters(const FlowKey& key, Time now) const;

  /// An answer that was faster than the search for the program that asked.
  void answered_early(const FlowKey& question, std::string payload, Time now);
  /// Those that have come for `question` lately; they are forgotten.
  [[nodiscard]] std::vector<Early> early_answers(const FlowKey& question, Time now);

 private:
  static constexpr std::chrono::seconds kIdleMemory{1};
  static constexpr std::size_t kMaxEarly = 512;
  static constexpr std::chrono::seconds kEarlyMemory{1};

  struct Entry {
    Ruling ruling;
    Time asked;
  };
  std::unordered_map<FlowKey, Entry, FlowKeyHash> entries_;
  std::multimap<Time, FlowKey> order_;
  std::unordered_map<FlowKey, Time, FlowKeyHash> idle_;  ///< until when
  std::deque<Early> early_;                              ///< oldest first
};

/// How long one thread may search for owners: a share of each second. The threads that read
/// questions run before everything else, so that a program that asks very much must not keep them
/// busy.
class SearchBudget {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds kEachSecond{250};
  /// One search.
  static constexpr std::chrono::milliseconds kLongest{50};

  /// How long a search that begins now may take; 0: not at all.
  [[nodiscard]] std::chrono::milliseconds left(Clock::time_point now);
  void spend(Clock::duration time) { spent_ += time; }

 private:
  Clock::time_point began_;
  Clock::duration spent_{};
};

class DnsTap {
 public:
  using Judge = std::function<Ruling(procmap::Owner owner, const FlowKey& key)>;
  using Hear = std::function<void(DnsDatagram heard)>;

  /// As open_packet_logs() makes them.
  explicit DnsTap(std::vector<PacketLog> logs);
  DnsTap(const DnsTap&) = delete;
  DnsTap& operator=(const DnsTap&) = delete;
  /// A thread whose search hangs (owner_lookup_thread.h) is left behind, and reports nothing.
  ~DnsTap();

  [[nodiscard]] std::vector<std::uint16_t> question_groups() const;
  [[nodiscard]] std::uint16_t answer_group() const;
  /// From here on there are threads, on which both functions are called.
  [[nodiscard]] base::Result<> start(Judge judge, Hear hear);
  /// Waits until all copies that are there by now have been heard, `limit` at most.
  void catch_up(std::chrono::milliseconds limit) const;
  /// How often copies found no room.
  [[nodiscard]] std::uint64_t lost() const;

 private:
  /// What the threads see; it lasts as long as the last of them.
  struct Shared;

  std::shared_ptr<Shared> shared_;
  std::vector<std::thread> threads_;
};

}  // namespace divert
