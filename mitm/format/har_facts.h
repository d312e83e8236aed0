// What osproxy adds to HAR entries, under names that begin with "_".
#pragma once

#include <string>

#include "mitm/flow/flow.h"
#include "mitm/format/json_text.h"

namespace mitm::format {

/// `_process`, `_tls`, `_osproxy` and the messages of a flow of HTTP. Command lines hold secrets.
void add_har_facts(JsonObject& entry, const flow::Flow& flow, bool with_secrets);

/// `_process` and `_tls` alone, of any flow.
void add_har_connection(JsonObject& entry, const flow::ConnectionRecord& connection,
                        bool with_secrets);

/// Milliseconds with the microseconds as fraction; never less than 0.
void append_millis(std::string& out, std::chrono::microseconds time);

}  // namespace mitm::format
