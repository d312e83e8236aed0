// Decrypted bytes for Wireshark while they come.
#include "mitm/format/output.h"
#include "mitm/format/packet_log.h"
#include "mitm/format/sinks.h"

namespace mitm::format {
namespace {

class PcapSink final : public flow::Subscriber {
 public:
  PcapSink(base::UniqueFd out, std::string name) : name_(std::move(name)), out_(std::move(out)) {}

  base::Result<> begin() {
    log_.begin(out_.buffer());
    return flush();
  }
  base::Result<> write(const flow::Event& event) override {
    if (const auto* const data = std::get_if<flow::TcpData>(&event))
      log_.add(data->data, out_.buffer());
    if (const auto* const dns = std::get_if<flow::DnsEnd>(&event))
      log_.add_names(*dns->flow, out_.buffer());
    return out_.write_if_large();
  }
  base::Result<> flush() override { return out_.flush(); }
  [[nodiscard]] flow::EventSet wants() const override {
    return flow::EventSet::of<flow::TcpData, flow::DnsEnd>();
  }
  [[nodiscard]] const std::string& name() const override { return name_; }

 private:
  std::string name_;
  Output out_;
  PacketLog log_;
};

}  // namespace

base::Result<std::unique_ptr<flow::Subscriber>> make_pcap_sink(base::UniqueFd out,
                                                               std::string name) {
  auto sink = std::make_unique<PcapSink>(std::move(out), std::move(name));
  if (auto begun = sink->begin(); !begun) return begun.error();
  return sink;
}

}  // namespace mitm::format
