// closefrom(2).
#include <unistd.h>

#include "base/fd.h"

namespace base {

void close_from(int first) {
  ::closefrom(first);
}

}  // namespace base
