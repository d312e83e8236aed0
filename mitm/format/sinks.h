// The sinks of `osproxy run`: text and JSON lines for people and programs, pcap for Wireshark.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/error.h"
#include "base/fd.h"
#include "mitm/flow/bus.h"

namespace mitm::format {

struct TextStyle {
  int detail = 1;  ///< 0-4, as mitmdump's flow_detail
  bool colour = false;
};

/// Lines for people: every line names its process. `name` as Subscriber::name().
std::unique_ptr<flow::Subscriber> make_text_sink(base::UniqueFd out, std::string name,
                                                 TextStyle style);

struct JsonStyle {
  bool bodies = false;  ///< request_body and response_body are written
  bool starts =
      false;  ///< every http flow has a start, as soon as the head of its request is there
};

/// One JSON object a line (conf/flow.schema.json), flushed.
std::unique_ptr<flow::Subscriber> make_jsonl_sink(base::UniqueFd out, std::string name,
                                                  JsonStyle style);

/// Decrypted bytes as synthesised TCP conversations (pcapng), and the names that DNS gave. Takes
/// over an open, empty, writable file.
[[nodiscard]] base::Result<std::unique_ptr<flow::Subscriber>> make_pcap_sink(base::UniqueFd out,
                                                                             std::string name);

/// The object of `event` without newline; the one place where the JSON form is made. Nothing of
/// events that have no JSON form.
void render_json(const flow::Event& event, bool bodies, std::string& out);

/// What the text sink prints for `event`, newlines included; empty when `style` shows nothing of
/// it.
std::string render_text(const flow::Event& event, const TextStyle& style);

/// What text and JSON lines show.
inline constexpr auto kShownEvents =
    flow::EventSet::of<flow::HttpUnderWay, flow::HttpEnd, flow::Message, flow::TcpBegin,
                       flow::TcpEnd, flow::DnsEnd>();

}  // namespace mitm::format
