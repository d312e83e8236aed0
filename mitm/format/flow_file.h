// What all files of flows have in common. Flows go through one at a time: no writer and no reader
// needs all of them in memory. Nothing here opens a path: bytes come from and go to the caller.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/error.h"
#include "mitm/flow/flow.h"

namespace mitm::format {

/// Flows to bytes. begin() once, then write() for each flow, then end() once.
class FlowWriter {
 public:
  virtual ~FlowWriter() = default;
  /// Appends what stands before the first flow.
  virtual void begin(std::string& /*out*/) {}
  /// Appends `flow`. An error says why this flow has no place in the format; then `out` is as it
  /// was, and the next flow may be written.
  [[nodiscard]] virtual base::Result<> write(const flow::Flow& flow, std::string& out) = 0;
  /// Appends what stands behind the last flow.
  virtual void end(std::string& /*out*/) {}
};

/// Bytes to flows.
class FlowReader {
 public:
  virtual ~FlowReader() = default;
  /// The next flow; empty at the end of the file. An error names the offset in bytes (behind
  /// decompression) and the reason; goes_on() says whether more can be read behind it.
  [[nodiscard]] virtual base::Result<std::optional<flow::Flow>> next() = 0;
  /// Whether next() may be called again after an error: what was damaged is skipped.
  [[nodiscard]] virtual bool goes_on() const = 0;
};

/// Fills the span with what comes next in a file and returns how much that is; 0: the end. May be
/// called again after an error or the end.
using ByteSource = std::function<base::Result<std::size_t>(std::span<char>)>;

/// `bytes` as a file; they must outlive it.
[[nodiscard]] ByteSource source_of(std::string_view bytes);

enum class FileFormat : std::uint8_t {
  mitm,   ///< mitmproxy's flow files
  har,    ///< HTTP Archive 1.2
  jsonl,  ///< what `--format jsonl` writes (conf/flow.schema.json)
};
/// "mitm", "har", "jsonl".
[[nodiscard]] std::string_view to_string(FileFormat format);

/// What a file is whose first bytes (decompressed; kFormatPrefix of them, or all) these are. The
/// error says what it is instead, where that can be told.
[[nodiscard]] base::Result<FileFormat> detect_format(std::string_view beginning);
inline constexpr std::size_t kFormatPrefix = 4096;

struct FlowFile {
  FileFormat format = FileFormat::mitm;
  std::unique_ptr<FlowReader> reader;
};
/// Reads a file of any of these formats; gzip and zstd around it are undone.
[[nodiscard]] base::Result<FlowFile> open_flow_file(ByteSource source);

}  // namespace mitm::format
