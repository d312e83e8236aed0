// Files in gzip or zstd, read as what is in them.
#pragma once

#include "mitm/format/flow_file.h"

namespace mitm::format {

/// Reads the first bytes of `source`; the result gives the same bytes without the compression, if
/// there was any. Errors of the result: damaged, or cut short.
[[nodiscard]] base::Result<ByteSource> decompressed(ByteSource source);

}  // namespace mitm::format
