// Recorded flows as packets, for Wireshark and what else reads pcapng.
#pragma once

#include <memory>

#include "mitm/format/flow_file.h"

namespace mitm::format {

/// What the format has no place for is listed in README.md.
[[nodiscard]] std::unique_ptr<FlowWriter> make_pcapng_writer();

}  // namespace mitm::format
