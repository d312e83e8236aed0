// argc (int), the path, NULs up to the next multiple of a pointer's size, argc strings, then the
// environment, which must not be taken for arguments (bsd/kern/kern_sysctl.c of XNU).
#include "procmap/procargs.h"

#include "procmap/layout.h"

namespace procmap {

std::optional<ProcessArguments> parse_procargs(std::string_view bytes) {
  if (bytes.size() < sizeof(std::int32_t)) return std::nullopt;
  const auto count = number_at<std::int32_t>(bytes, 0);
  bytes.remove_prefix(sizeof count);
  const auto path_end = bytes.find('\0');
  if (count < 0 || path_end == std::string_view::npos) return std::nullopt;
  ProcessArguments arguments{std::string{bytes.substr(0, path_end)}, {}};
  const auto first = bytes.find_first_not_of('\0', path_end);
  if (first == std::string_view::npos) return arguments;
  bytes.remove_prefix(first);
  for (std::int32_t i = 0; i < count && !bytes.empty(); ++i) {
    const auto end = std::min(bytes.find('\0'), bytes.size());
    arguments.argv.emplace_back(bytes.substr(0, end));
    bytes.remove_prefix(std::min(end + 1, bytes.size()));
  }
  return arguments;
}

}  // namespace procmap
