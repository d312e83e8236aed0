// Not by fmt::print, which throws: on the bus's thread, or out of a callback of OpenSSL's, that would be the
// end of the worker.
#include "mitm/cli/say.h"

#include <unistd.h>

#include "base/fd.h"

namespace mitm::cli {

void say(std::string_view line) {
  (void)base::write_all(STDERR_FILENO, fmt::format("osproxy: {}\n", line));
}

}  // namespace mitm::cli
