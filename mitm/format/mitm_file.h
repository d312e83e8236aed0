// mitmproxy's flow files (`mitmdump -w`, `-r`): tnetstrings, one flow behind the other.
#pragma once

#include <memory>

#include "mitm/format/flow_file.h"

namespace mitm::format {

/// Which mitmproxy can read what is written; each reads all older versions.
enum class MitmVersion : std::uint8_t {
  v17 = 17,  ///< mitmproxy 8.1 and later
  v21 = 21,  ///< that of 2026
};

/// What the format has no place for is listed in README.md.
[[nodiscard]] std::unique_ptr<FlowWriter> make_mitm_writer(MitmVersion version);

/// Versions 12 to 21.
[[nodiscard]] std::unique_ptr<FlowReader> make_mitm_reader(ByteSource source);

}  // namespace mitm::format
