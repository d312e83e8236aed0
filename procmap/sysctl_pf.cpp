// Values whose size is not known beforehand are asked for twice: for their size, then for
// themselves; when they have outgrown the room meanwhile (ENOMEM), again with more.
#include <cerrno>

#include <sys/param.h>
#include <sys/sysctl.h>

#include "procmap/sysctl.h"

namespace procmap {
namespace {

constexpr int kTries = 8;

}  // namespace

base::Result<std::string> query_sysctl(const char* name) {
  std::size_t size = 0;
  if (::sysctlbyname(name, nullptr, &size, nullptr, 0) != 0)
    return base::os_error(fmt::format("cannot ask the kernel for {}", name), errno);
  for (int i = 0; i < kTries; ++i) {
    std::string bytes(size + size / 8 + 4096, '\0');
    size = bytes.size();
    if (::sysctlbyname(name, bytes.data(), &size, nullptr, 0) == 0) {
      bytes.resize(size);
      return bytes;
    }
    if (errno != ENOMEM) break;
    size = bytes.size() * 2;
  }
  return base::os_error(fmt::format("cannot read {} from the kernel", name), errno);
}

std::string query_sysctl(std::span<const int> numbers, std::size_t room) {
  std::string bytes(room, '\0');
  std::size_t size = room;
  // FreeBSD takes the numbers const, macOS does not, though it only reads them.
  auto* first = const_cast<int*>(numbers.data());
  if (::sysctl(first, static_cast<unsigned>(numbers.size()), bytes.data(), &size, nullptr, 0) != 0)
    return {};
  bytes.resize(size);
  return bytes;
}

}  // namespace procmap
