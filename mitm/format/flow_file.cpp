// Files are told apart by how they begin, never by their names.
#include "mitm/format/flow_file.h"

#include <algorithm>

#include "base/ascii.h"
#include "base/text.h"

namespace mitm::format {
namespace {

constexpr std::string_view kByteOrderMark = "\xef\xbb\xbf";

struct Other {
  std::string_view beginning;
  std::string_view name;
};
constexpr Other kOthers[] = {
    {"SQLite format 3", "an SQLite database, but no session of osproxy"},
    {"\x0a\x0d\x0d\x0a", "a pcapng file: it has packets, no flows"},
    {"\xd4\xc3\xb2\xa1", "a pcap file: it has packets, no flows"},
    {"\xa1\xb2\xc3\xd4", "a pcap file: it has packets, no flows"},
    {"PK\x03\x04", "a zip archive: unpack it first"},
    {"<", "XML or HTML"},
};

bool is_length(std::string_view text) {
  const std::size_t colon = text.substr(0, 13).find(':');
  return colon != text.npos && colon > 0 &&
         std::all_of(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(colon),
                     base::is_digit);
}

/// Our lines have their keys in an order of their own, unless a tool has been over them.
FileFormat json_format(std::string_view text) {
  const std::string_view inside = base::trimmed(text.substr(1), " \t\r\n");
  if (inside.starts_with("\"log\"")) return FileFormat::har;
  const std::string_view line = text.substr(0, text.find('\n'));
  const bool ours = inside.starts_with("\"v\"") ||
                    (line.find("\"event\"") != line.npos && line.find("\"conn\"") != line.npos);
  return ours ? FileFormat::jsonl : FileFormat::har;
}

}  // namespace

ByteSource source_of(std::string_view bytes) {
  return [bytes](std::span<char> out) mutable -> base::Result<std::size_t> {
    const std::string_view part = bytes.substr(0, out.size());
    std::copy(part.begin(), part.end(), out.begin());
    bytes.remove_prefix(part.size());
    return part.size();
  };
}

std::string_view to_string(FileFormat format) {
  constexpr std::string_view kNames[] = {"mitm", "har", "jsonl"};
  return kNames[static_cast<std::size_t>(format)];
}

base::Result<FileFormat> detect_format(std::string_view beginning) {
  if (beginning.empty()) return base::failure("the file is empty");
  for (const Other& other : kOthers) {
    if (beginning.starts_with(other.beginning)) return base::failure("this is {}", other.name);
  }
  if (is_length(beginning)) return FileFormat::mitm;
  if (beginning.starts_with(kByteOrderMark)) beginning.remove_prefix(kByteOrderMark.size());
  const std::string_view text = base::trimmed(beginning, " \t\r\n");
  if (text.starts_with('{')) return json_format(text);
  return base::failure(
      "unknown format: expected flows of mitmproxy, a HAR or JSON lines of osproxy, found '{}'",
      base::printable(beginning.substr(0, 16)));
}

}  // namespace mitm::format
