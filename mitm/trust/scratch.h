// A directory for the files that another program is to read or change.
#pragma once

#include <memory>
#include <string>

#include "base/error.h"

namespace mitm::trust {

/// In /tmp, which is sticky everywhere, never in $TMPDIR: that may be a user's directory, who could
/// put another one in its place. Only we can look into it. Removed with all that is in it.
class Scratch {
 public:
  [[nodiscard]] static base::Result<std::unique_ptr<Scratch>> make();
  explicit Scratch(std::string path) : path_(std::move(path)) {}
  ~Scratch();
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  [[nodiscard]] std::string operator/(const char* name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace mitm::trust
