// mkdtemp makes the directory with mode 0700 and a name that cannot be guessed.
#include "mitm/trust/scratch.h"

#include <cerrno>
#include <filesystem>

#include <stdlib.h>
#include <unistd.h>

namespace mitm::trust {

base::Result<std::unique_ptr<Scratch>> Scratch::make() {
  std::string path = "/tmp/osproxy-tls-XXXXXX";
  if (::mkdtemp(path.data()) == nullptr)
    return base::os_error(fmt::format("cannot create {}", path), errno);
  return std::make_unique<Scratch>(std::move(path));
}

Scratch::~Scratch() {
  std::error_code error;
  std::filesystem::remove_all(path_, error);
}

}  // namespace mitm::trust
