// close_range(2), Linux 5.9.
#include <unistd.h>

#include "base/fd.h"

namespace base {

void close_from(int first) {
  ::close_range(static_cast<unsigned>(first), ~0U, 0);
}

}  // namespace base
