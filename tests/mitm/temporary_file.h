// A file for another program to read or write.
#pragma once

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "base/fd.h"

namespace mitm::format {

class TemporaryFile {
 public:
  explicit TemporaryFile(std::string_view content) {
    const base::UniqueFd made(::mkstemp(path_));
    std::ofstream(path_, std::ios::binary) << content;
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;
  ~TemporaryFile() { std::filesystem::remove(path_); }
  [[nodiscard]] std::string path() const { return path_; }

 private:
  char path_[32] = "/tmp/osproxy-file-XXXXXX";
};

}  // namespace mitm::format
