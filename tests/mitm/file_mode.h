// The permissions of a file.
#pragma once

#include <string>

#include <sys/stat.h>

namespace test {

/// 0: there is no such file.
inline unsigned mode_of(const std::string& path) {
  struct stat facts {};
  return ::stat(path.c_str(), &facts) == 0 ? facts.st_mode & 07777 : 0;
}

}  // namespace test
