// HTTP Archive 1.2, as browsers and other proxies read and write it.
#pragma once

#include <memory>
#include <string>

#include "mitm/format/flow_file.h"

namespace mitm::format {

struct HarStyle {
  /// Cookies, credentials and tokens are written as they were; else "[masked]" stands in their
  /// place.
  bool with_secrets = false;
  std::string version;  ///< osproxy's, for `log.creator`
};

/// Flows of kind http are entries; others stand in `log._flows`, and are kept in memory (without
/// what was said) until end().
[[nodiscard]] std::unique_ptr<FlowWriter> make_har_writer(HarStyle style);

/// HARs of ours, Chrome, Firefox, Fiddler, mitmproxy.
[[nodiscard]] std::unique_ptr<FlowReader> make_har_reader(ByteSource source);

}  // namespace mitm::format
