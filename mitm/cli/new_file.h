// A file of the user's that appears under its name once it is whole.
#pragma once

#include <cstdio>
#include <string>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "mitm/cli/output_file.h"

namespace mitm::cli {

/// Written beside its place with mode 0600. Removed unless it is published, also if a signal ends
/// the process. One at a time.
class NewFile {
 public:
  /// Errors begin with `said_by`. `path` may exist only with `overwrite`, and only as a regular
  /// file, not a symbolic link.
  [[nodiscard]] static base::Result<NewFile> create(const std::string& path,
                                                    std::string_view said_by, bool overwrite);
  NewFile(NewFile&& other) noexcept
      : path_(std::move(other.path_)),
        said_by_(std::move(other.said_by_)),
        overwrite_(other.overwrite_),
        temporary_(std::exchange(other.temporary_, {})),
        stream_(std::move(other.stream_)) {}
  NewFile& operator=(NewFile&&) = delete;
  ~NewFile();

  [[nodiscard]] std::FILE* stream() const { return stream_.get(); }
  /// Writes all of it to the disk and gives it its name; without `overwrite` an error if a file of
  /// that name is there by now.
  [[nodiscard]] base::Result<> publish();

 private:
  NewFile(std::string path, std::string said_by, bool overwrite)
      : path_(std::move(path)), said_by_(std::move(said_by)), overwrite_(overwrite) {}
  [[nodiscard]] base::Error failed(std::string_view what, int code) const;
  [[nodiscard]] base::Result<> check_name() const;

  std::string path_, said_by_;
  bool overwrite_;
  std::string temporary_;  ///< empty: there is none, or none any more
  UniqueStream stream_;
};

}  // namespace mitm::cli
