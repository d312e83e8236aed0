// A cgroup's id is the file handle of its folder (kernfs: FILEID_KERNFS and eight bytes).
#include <array>
#include <cstring>
#include <fstream>
#include <sstream>

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "procmap/cgroup_path.h"

namespace procmap {
namespace {

constexpr int kHandleOfKernfs = 0xfe;  // FILEID_KERNFS of linux/exportfs.h

/// Of proc_pid_mounts(5).
std::string mount_point() {
  std::ifstream file{"/proc/self/mounts"};
  for (std::string line; std::getline(file, line);) {
    std::istringstream words{line};
    std::string device, where, type;
    words >> device >> where >> type;
    if (type == "cgroup2") return where;
  }
  return {};
}

}  // namespace

CgroupPaths::CgroupPaths() : mount_(mount_point()) {
  if (!mount_.empty()) root_.reset(::open(mount_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

std::string CgroupPaths::path_of(std::uint64_t id) const {
  if (!root_ || id == 0) return {};
  alignas(file_handle) std::array<unsigned char, sizeof(file_handle) + sizeof id> bytes{};
  auto* const handle = reinterpret_cast<file_handle*>(bytes.data());
  handle->handle_bytes = sizeof id;
  handle->handle_type = kHandleOfKernfs;
  std::memcpy(handle->f_handle, &id, sizeof id);
  const base::UniqueFd folder{::open_by_handle_at(root_.get(), handle, O_PATH | O_CLOEXEC)};
  if (!folder) return {};
  std::array<char, 4096> target;
  const auto link = fmt::format("/proc/self/fd/{}", folder.get());
  const ssize_t n = ::readlink(link.c_str(), target.data(), target.size());
  const std::string_view path{target.data(), n > 0 ? static_cast<std::size_t>(n) : 0};
  if (!path.starts_with(mount_)) return {};
  const auto below = path.substr(mount_ == "/" ? 0 : mount_.size());
  return below.empty() ? "/" : std::string(below);
}

}  // namespace procmap
