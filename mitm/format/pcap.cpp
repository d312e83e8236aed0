// Decrypted bytes for Wireshark: each recorded connection becomes a TCP conversation in a pcapng
// file. A process is an interface there, which every packet names.
#include <algorithm>
#include <array>
#include <map>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "base/lru_cache.h"
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

class PcapSink final : public flow::Subscriber {
 public:
  PcapSink(base::UniqueFd out, std::string name, OnHttp2 on_http2)
      : name_(std::move(name)), out_(std::move(out)), on_http2_(std::move(on_http2)) {}

  base::Result<> begin();
  base::Result<> write(const flow::Event& event) override {
    const auto* const data = std::get_if<flow::TcpData>(&event);
    return data ? write(*data->data) : base::Result<>();
  }
  base::Result<> flush() override { return out_.flush(); }
  [[nodiscard]] flow::EventSet wants() const override {
    return flow::EventSet::of<flow::TcpData>();
  }
  [[nodiscard]] const std::string& name() const override { return name_; }

 private:
  base::Result<> write(const flow::Data& data);
  std::uint32_t interface_of(const procmap::ProcessFacts* process);

  std::string name_;
  Output out_;
  OnHttp2 on_http2_;
  base::LruCache<std::uint64_t, Conversation> conversations_{kMaxConversations};  ///< by conn
  std::map<std::pair<pid_t, std::uint64_t>, std::uint32_t> interfaces_;           ///< by process
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
  // The preface of RFC 9113, 3.4, as far as it tells.
  const bool begins =
      data.direction == flow::Direction::request && data.offset == 0 && !data.bytes.empty();
  if (begins && on_http2_ && data.bytes.starts_with("PRI * HTTP/2")) on_http2_(data.server.port());
  segments_.clear();
  Conversation* known = conversations_.find(data.conn);
  if (known == nullptr) known = &conversations_.put(data.conn, Conversation(data.conn));
  known->add(data, segments_);
  if (known->ended()) conversations_.erase(data.conn);

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

/// The ports on which Wireshark 4 looks for HTTP by itself, and thereby for HTTP/2.
constexpr std::array<std::uint16_t, 10> kHttpPorts{80,   1900, 2710, 2869, 3128,
                                                   3132, 5985, 8080, 8088, 11371};

}  // namespace

std::string wireshark_command(const std::set<std::uint16_t>& ports, std::string_view path) {
  std::string options;
  for (const std::uint16_t port : ports) {
    if (std::ranges::find(kHttpPorts, port) == kHttpPorts.end())
      options += fmt::format(" -d tcp.port=={},http", port);
  }
  return options.empty() ? options : fmt::format("wireshark{} {}", options, path);
}

base::Result<std::unique_ptr<flow::Subscriber>> make_pcap_sink(base::UniqueFd out, std::string name,
                                                               OnHttp2 on_http2) {
  auto sink = std::make_unique<PcapSink>(std::move(out), std::move(name), std::move(on_http2));
  if (auto begun = sink->begin(); !begun) return begun.error();
  return sink;
}

}  // namespace mitm::format
