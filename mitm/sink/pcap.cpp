// Decrypted bytes for Wireshark: each recorded connection becomes a TCP conversation in a classic pcap file.
#include <cerrno>
#include <cstdio>
#include <list>
#include <unordered_map>

#include <pcap/pcap.h>

#include "mitm/sink/conversation.h"
#include "mitm/sink/sinks.h"

namespace mitm::sink {
namespace {

constexpr std::size_t kBuffer = 256U << 10U;
constexpr int kSnapLength = 65535;

/// Beyond this, the conversation that was silent longest is forgotten: an end that was lost (a full queue)
/// must not hold memory for ever. Should it speak again, it begins with a new handshake.
constexpr std::size_t kMaxConversations = 65536;

struct Closer {
  void operator()(pcap_t* handle) const { pcap_close(handle); }
  void operator()(pcap_dumper_t* dumper) const { pcap_dump_close(dumper); }
};

timeval as_timeval(std::chrono::system_clock::time_point time) {
  const auto second = std::chrono::floor<std::chrono::seconds>(time);
  const auto micros = std::chrono::duration_cast<std::chrono::microseconds>(time - second);
  return {static_cast<time_t>(second.time_since_epoch().count()), static_cast<suseconds_t>(micros.count())};
}

class PcapSink final : public flow::Sink {
 public:
  explicit PcapSink(std::string name) : name_(std::move(name)), buffer_(kBuffer) {}
  base::Result<> open(base::UniqueFd out);

  base::Result<> write(const flow::Flow&) override { return {}; }
  base::Result<> write(const flow::Data& data) override;
  base::Result<> flush() override;
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

  std::string name_;
  std::vector<char> buffer_;  ///< of the dumper's stream, hence before it
  std::unique_ptr<pcap_t, Closer> handle_;
  std::unique_ptr<pcap_dumper_t, Closer> dumper_;
  std::list<Known> by_age_;  ///< the last one spoke last
  std::unordered_map<std::uint64_t, Position> by_conn_;
  std::vector<Segment> segments_;
  std::string packet_;
};

base::Result<> PcapSink::open(base::UniqueFd out) {
  handle_.reset(pcap_open_dead(DLT_RAW, kSnapLength));
  if (!handle_) return base::os_error("cannot write", ENOMEM);
  std::FILE* file = ::fdopen(out.get(), "wb");
  if (file == nullptr) return base::os_error("cannot write", errno);
  (void)out.release();
  std::setvbuf(file, buffer_.data(), _IOFBF, buffer_.size());
  dumper_.reset(pcap_dump_fopen(handle_.get(), file));
  if (dumper_) return flush();
  const int code = errno;
  std::fclose(file);
  return base::os_error("cannot write", code);
}

base::Result<> PcapSink::write(const flow::Data& data) {
  segments_.clear();
  const Position known = find_or_begin(data.conn);
  known->conversation.add(data, segments_);
  if (known->conversation.ended()) forget(known);

  errno = 0;
  for (const Segment& segment : segments_) {
    render_packet(segment, data.client, data.server, packet_);
    const auto size = static_cast<bpf_u_int32>(packet_.size());
    const pcap_pkthdr header{as_timeval(data.time), size, size};
    pcap_dump(reinterpret_cast<u_char*>(dumper_.get()), &header,
              reinterpret_cast<const u_char*>(packet_.data()));
  }
  // pcap_dump() returns nothing: a failed write shows in the stream only.
  if (std::ferror(pcap_dump_file(dumper_.get())) != 0) return base::os_error("cannot write", errno);
  return {};
}

base::Result<> PcapSink::flush() {
  if (pcap_dump_flush(dumper_.get()) != 0) return base::os_error("cannot write", errno);
  return {};
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
  auto sink = std::make_unique<PcapSink>(std::move(name));
  if (auto opened = sink->open(std::move(out)); !opened) return opened.error();
  return sink;
}

}  // namespace mitm::sink
