// The sinks of `osproxy run`: text and JSON lines for people and programs, pcap for Wireshark.
#pragma once

#include <memory>
#include <string>

#include "base/error.h"
#include "base/fd.h"
#include "mitm/flow/bus.h"

namespace mitm::format {

struct TextStyle {
  int detail = 1;  ///< 0-4, as mitmdump's flow_detail
  bool colour = false;
};

/// Lines for people: the process stands in every line. `name` as Sink::name().
std::unique_ptr<flow::Sink> make_text_sink(base::UniqueFd out, std::string name, TextStyle style);

/// One JSON object a line (conf/flow.schema.json), flushed. `bodies`: whether request_body and
/// response_body are written.
std::unique_ptr<flow::Sink> make_jsonl_sink(base::UniqueFd out, std::string name, bool bodies);

/// Decrypted bytes as synthesised TCP conversations (raw IP packets). Takes over an open, empty,
/// writable file.
[[nodiscard]] base::Result<std::unique_ptr<flow::Sink>> make_pcap_sink(base::UniqueFd out,
                                                                       std::string name);

/// The object of `flow` without newline; the one place where the JSON form is made.
void render_json(const flow::Flow& flow, bool bodies, std::string& out);

/// What the text sink prints for `flow`, newlines included; empty when `style` shows nothing of it.
std::string render_text(const flow::Flow& flow, const TextStyle& style);

}  // namespace mitm::format
