#include "mitm/format/compressed_source.h"
#include "mitm/format/har.h"
#include "mitm/format/jsonl_reader.h"
#include "mitm/format/mitm_file.h"
#include "mitm/format/source_buffer.h"

namespace mitm::format {

base::Result<FlowFile> open_flow_file(ByteSource source) {
  auto plain = decompressed(std::move(source));
  if (!plain) return plain.error();
  auto buffer = std::make_shared<SourceBuffer>(std::move(*plain));
  if (auto filled = buffer->fill(kFormatPrefix); !filled) return filled.error();
  const auto format = detect_format(buffer->view().substr(0, kFormatPrefix));
  if (!format) return format.error();
  ByteSource whole = source_of(std::move(buffer));
  FlowFile file{*format, nullptr};
  switch (*format) {
    case FileFormat::mitm:
      file.reader = make_mitm_reader(std::move(whole));
      break;
    case FileFormat::har:
      file.reader = make_har_reader(std::move(whole));
      break;
    case FileFormat::jsonl:
      file.reader = make_jsonl_reader(std::move(whole));
      break;
  }
  return file;
}

}  // namespace mitm::format
