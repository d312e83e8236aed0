// The packet engine: the kernel holds first packets, we say what becomes of each. Receiving threads
// parse, park and answer from what is known; a thread beside them searches /proc; the broker's loop
// does the talking with the worker.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "divert/packet/dns_tap.h"
#include "divert/packet/owner_lookup_thread.h"
#include "divert/packet/packet_source.h"
#include "divert/packet/passed_programs.h"
#include "divert/packet/pending_connections.h"
#include "divert/packet/unknown_owners.h"

namespace divert {

class PacketEngine {
 public:
  /// Opens its queues; nothing is judged before start(). Errors: this kernel cannot hold packets,
  /// or may not.
  [[nodiscard]] static base::Result<std::unique_ptr<PacketEngine>> open(unsigned queues);
  PacketEngine(const PacketEngine&) = delete;
  PacketEngine& operator=(const PacketEngine&) = delete;
  /// Lets everything go that is still held. The rules must be gone, or no longer hold anything.
  ~PacketEngine();

  /// For the rules that send packets here.
  [[nodiscard]] pfctl::Queueing queueing() const;

  /// From here on there are threads: no fork(2). `policy` and `own_pids` stay as they are while
  /// this lives.
  [[nodiscard]] base::Result<> start(const Policy& policy, std::vector<pid_t> own_pids,
                                     std::uint32_t mark_bit);

  /// Readable when take_requests() has something.
  [[nodiscard]] int descriptor() const { return wake_.out.get(); }
  /// ConnectAhead, Show, QuicRefused, Reply and DnsDatagram: what only the broker's loop can do.
  [[nodiscard]] Effects take_requests();

  /// The worker's answer to ConnectAhead; `error` is connect(2)'s errno or 0.
  void connected(std::uint64_t token, int error);
  /// A diverted connection has been accepted. True: a Reply comes, among the next requests. False:
  /// unknown.
  bool accepted(const FlowKey& key, const PendingQuestion& waiter);
  /// Releases every held packet (PendingConnections::release_all).
  void release_all();

  /// Error: why a receiving thread has ended by itself.
  [[nodiscard]] base::Result<> check_threads() const;
  /// False when a receiving thread has neither waited nor judged a packet for a second.
  [[nodiscard]] bool alive() const;
  /// To be called several times a second: does something about searches that hang. False: there are
  /// too many.
  [[nodiscard]] bool check_lookups();
  /// What went wrong up to now, in words; empty: nothing.
  [[nodiscard]] std::string health_report() const;
  [[nodiscard]] UnknownOwners& unknown_owners() { return unknown_owners_; }
  [[nodiscard]] const PassedPrograms& passed_programs() const { return passed_programs_; }
  /// Waits, briefly, for the copies of DNS packets that are there by now: they are among the next
  /// requests.
  void catch_up() const;
  /// Why no copies of DNS packets can be had; empty: they can.
  [[nodiscard]] const std::string& dns_tap_error() const { return dns_tap_error_; }

 private:
  struct Lane;

  PacketEngine(PacketSources sources, base::Pipe wake);
  void receive(Lane& lane);
  void judge(Lane& lane, const HeldPacket& packet, std::string_view bytes);
  [[nodiscard]] base::Result<> start_lookups();
  void found(const LookUp& wanted, procmap::Owner owner);
  void expire();
  void notice(const Ruling& ruling, const FlowKey& key);
  [[nodiscard]] bool known(const FlowKey& key) const;
  [[nodiscard]] Ruling rule(procmap::Owner owner, const FlowKey& key);
  void perform(Effects& effects);
  template <class Step>
  void with_pending(Step step);

  std::uint16_t first_queue_;
  std::vector<std::unique_ptr<Lane>> lanes_;
  base::Pipe wake_;  ///< a byte in it: there are requests
  const Policy* policy_ = nullptr;
  std::vector<pid_t> own_pids_;
  std::uint32_t mark_bit_ = 0;
  std::atomic<bool> stopping_{false};

  mutable std::mutex pending_mutex_;
  PendingConnections pending_;
  std::unordered_map<std::uint64_t, FlowKey> ahead_;  ///< by token: upstream attempts under way

  std::mutex requests_mutex_;
  Effects requests_;

  std::unique_ptr<OwnerLookupThread> lookup_thread_;

  std::atomic<std::uint64_t> unreadable_{0};
  std::atomic<std::uint64_t> not_in_time_{0};
  mutable std::mutex failure_mutex_;
  base::Result<> threads_;
  UnknownOwners unknown_owners_;
  PassedPrograms passed_programs_;
  std::unique_ptr<DnsTap> dns_;  ///< null: this kernel gives no copies of packets
  std::string dns_tap_error_;
};

}  // namespace divert
