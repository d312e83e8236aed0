// What the columns of a row do not have of a record, as a blob (fields_codec.h).
#pragma once

#include <string>
#include <string_view>

#include "mitm/flow/records.h"
#include "procmap/process.h"

namespace mitm::store {

/// All of it that is in no column of `flow`, without bodies.
void encode(const flow::HttpFlow& flow, std::string& out);
void encode(const flow::TcpFlow& flow, std::string& out);
void encode(const flow::DnsFlow& flow, std::string& out);
/// All but flow, connection, time, direction, kind, host, url and payload.
void encode(const flow::StreamMessage& message, std::string& out);
/// argv, start_ticks, groups, other names, image; of each ancestor its ticks and other names.
void encode(const procmap::ProcessFacts& facts, std::string& out);

/// Into a record whose columns have been read. False: the blob is damaged; what came before the
/// damage has been set.
[[nodiscard]] bool decode(std::string_view blob, flow::HttpFlow& flow);
[[nodiscard]] bool decode(std::string_view blob, flow::TcpFlow& flow);
[[nodiscard]] bool decode(std::string_view blob, flow::DnsFlow& flow);
[[nodiscard]] bool decode(std::string_view blob, flow::StreamMessage& message);
[[nodiscard]] bool decode(std::string_view blob, procmap::ProcessFacts& facts);

}  // namespace mitm::store
