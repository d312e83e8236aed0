// Whole flows for the tests of files.
#pragma once

#include <string>
#include <vector>

#include "mitm/format/flow_file.h"

namespace mitm::format {

/// One of everything that can be recorded, under the names that the tests use.
struct SampleFlow {
  std::string name;
  flow::Flow flow;
};
std::vector<SampleFlow> sample_flows();
flow::Flow sample_flow(std::string_view name);

/// A copy of the record, for tests that change it.
std::shared_ptr<flow::HttpFlow> copy_http(const flow::Flow& flow);
std::shared_ptr<flow::ConnectionRecord> copy_connection(const flow::Flow& flow);

struct ReadFlows {
  std::vector<flow::Flow> flows;
  std::vector<std::string> errors;
};
/// All of a file, errors that can be passed over included.
ReadFlows read_all(FlowReader& reader);
/// A whole file of `flows`.
std::string write_all(FlowWriter& writer, const std::vector<flow::Flow>& flows);

/// Gives one byte at a time.
ByteSource slow_source(std::string_view bytes);

}  // namespace mitm::format
