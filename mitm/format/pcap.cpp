// Decrypted bytes for Wireshark: each recorded connection becomes a TCP conversation in a pcapng
// file. A process is an interface there, which every packet names.
#include <list>
#include <map>
#include <unordered_map>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/text.h"
#include "mitm/format/output.h"
#include "mitm/format/pcapng.h"
#include "mitm/format/sinks.h"
#include "mitm/format/synthetic_tcp_stream.h"

namespace mitm::format {
namespace {

/// Beyond this, the conversation that was silent longest is forgotten: an end that was lost (a full
/// queue) must not hold memory for ever. Should it speak again, it begins with a new handshake.
constexpr std::size_t kMaxConversations = 65536;
/// Beyond this, all are forgotten, and described again when they come again.
constexpr std::size_t kMaxProcesses = 65536;
/// Of a command line.
constexpr std::size_t kMaxDescription = 1024;

std::string name_of(const procmap::ProcessFacts& process) {
  return fmt::format("{}[{}]", base::printable(process.name), process.id.pid);
}

std::string description_of(const procmap::ProcessFacts& process) {
  std::string command = fmt::format("{}", fmt::join(process.argv, " "));
  if (command.empty()) command = process.exe;
  return base::printable(std::string_view(command).substr(0, kMaxDescription));
}

class PcapSink final : public flow::Sink {
 public:
  PcapSink(base::UniqueFd out, std::string name) : name_(std::move(name)), out_(std::move(out)) {}

  base::Result<> begin();
  base::Result<> write(const flow::Flow&) override { return {}; }
  base::Result<> write(const flow::Data& data) override;
  base::Result<> flush() override { return out_.flush(); }
  [[nodiscard]] bool wants_data() const override { return true; }
  [[nodiscard]] const std::string& name() const override { return name_; }

 private:
  struct Known {
    std::uint64_t conn;
    Conversation conversation;
  };
  using Position = std::list<Known>::iterator;

  Position find_or_begin(std::uint64_t conn);
  void forget(Position position);
  std::uint32_t interface_of(const procmap::ProcessFacts* process);

  std::string name_;
  Output out_;
  std::list<Known> by_age_;  ///< the last one spoke last
  std::unordered_map<std::uint64_t, Position> by_conn_;
  std::map<std::pair<pid_t, std::uint64_t>, std::uint32_t> interfaces_;  ///< by process
  std::uint32_t next_interface_ = 0;
  std::vector<Segment> segments_;
  std::string packet_;
};

/// Readers want an interface in front of the first packet, and in a file without any.
base::Result<> PcapSink::begin() {
  pcapng::append_section(out_.buffer());
  pcapng::append_interface("unknown", "connections whose process was not found", out_.buffer());
  next_interface_ = 1;
  return flush();
}

std::uint32_t PcapSink::interface_of(const procmap::ProcessFacts* process) {
  if (process == nullptr) return 0;
  const std::pair key{process->id.pid, process->id.start_ticks};
  if (const auto found = interfaces_.find(key); found != interfaces_.end()) return found->second;
  if (interfaces_.size() >= kMaxProcesses) interfaces_.clear();
  pcapng::append_interface(name_of(*process), description_of(*process), out_.buffer());
  return interfaces_.emplace(key, next_interface_++).first->second;
}

base::Result<> PcapSink::write(const flow::Data& data) {
  segments_.clear();
  const Position known = find_or_begin(data.conn);
  known->conversation.add(data, segments_);
  if (known->conversation.ended()) forget(known);

  const std::uint32_t interface = interface_of(data.process.get());
  for (const Segment& segment : segments_) {
    render_packet(segment, data.client, data.server, packet_);
    std::string comment;
    if (segment.flags == kSyn && data.process)
      comment = fmt::format("{}: {}", name_of(*data.process), description_of(*data.process));
    pcapng::append_packet(interface, data.time, packet_, comment, out_.buffer());
  }
  return out_.write_if_large();
}

PcapSink::Position PcapSink::find_or_begin(std::uint64_t conn) {
  if (const auto found = by_conn_.find(conn); found != by_conn_.end()) {
    by_age_.splice(by_age_.end(), by_age_, found->second);
    return found->second;
  }
  if (by_age_.size() >= kMaxConversations) forget(by_age_.begin());
  const Position known = by_age_.insert(by_age_.end(), {conn, Conversation(conn)});
  by_conn_.emplace(conn, known);
  return known;
}

void PcapSink::forget(Position position) {
  by_conn_.erase(position->conn);
  by_age_.erase(position);
}

}  // namespace

base::Result<std::unique_ptr<flow::Sink>> make_pcap_sink(base::UniqueFd out, std::string name) {
  auto sink = std::make_unique<PcapSink>(std::move(out), std::move(name));
  if (auto begun = sink->begin(); !begun) return begun.error();
  return sink;
}

}  // namespace mitm::format
