// FreeBSD, and its own word on the layout that natlook_layout.h writes out.
#include <cstddef>

#include <net/if.h>
#include <net/pfvar.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "pfctl/native_dialect.h"
#include "pfctl/natlook_layout.h"

namespace pfctl {

static_assert(DIOCNATLOOK == kNatlookFreebsd.request);
static_assert(sizeof(pfioc_natlook) == kNatlookFreebsd.size);
static_assert(offsetof(pfioc_natlook, saddr) == kNatlookSource);
static_assert(offsetof(pfioc_natlook, daddr) == kNatlookDestination);
static_assert(offsetof(pfioc_natlook, rsaddr) == kNatlookAnsweredSource);
static_assert(offsetof(pfioc_natlook, rdaddr) == kNatlookAnsweredDestination);
static_assert(offsetof(pfioc_natlook, sport) == kNatlookFreebsd.source_port);
static_assert(offsetof(pfioc_natlook, dport) == kNatlookFreebsd.destination_port);
static_assert(offsetof(pfioc_natlook, rsport) == kNatlookFreebsd.answered_source_port);
static_assert(offsetof(pfioc_natlook, rdport) == kNatlookFreebsd.answered_destination_port);
static_assert(offsetof(pfioc_natlook, af) == kNatlookFreebsd.family);
static_assert(offsetof(pfioc_natlook, proto) == kNatlookFreebsd.protocol);
static_assert(offsetof(pfioc_natlook, direction) == kNatlookFreebsd.direction);
static_assert(PF_OUT == 2 && AF_INET == 2 && AF_INET6 == kNatlookFreebsd.inet6);

Dialect native_dialect() {
  return Dialect::freebsd;
}

std::string_view native_dialect_name() {
  return "freebsd";
}

}  // namespace pfctl
