// Two sysctls: the sockets, and the open files that say who holds them. Layouts are in
// freebsd_pcblist.cpp; where the system's own headers are at hand, here, they are compared.
#include <cstddef>

// In this order: socketvar.h makes in_pcb.h declare what the kernel exports, and both make
// tcp_var.h do so.
// clang-format off
#include <sys/param.h>
#include <sys/socket.h>
#include <sys/socketvar.h>
#include <netinet/in.h>
#include <netinet/in_pcb.h>
#include <netinet/tcp_var.h>
#include <sys/file.h>
// clang-format on

#include "procmap/bsd_attribution.h"
#include "procmap/freebsd_pcblist.h"
#include "procmap/sysctl.h"

namespace procmap {
namespace {

static_assert(sizeof(xinpgen) == 64 && offsetof(xinpgen, xig_count) == 8 &&
              offsetof(xinpgen, xig_gen) == 16);
static_assert(sizeof(xinpcb) == 400 && offsetof(xinpcb, xi_socket.xso_so) == 16 &&
              offsetof(xinpcb, xi_socket.so_uid) == 128 && offsetof(xinpcb, inp_fport) == 252 &&
              offsetof(xinpcb, inp_lport) == 254 &&
              offsetof(xinpcb, inp_inc.inc_ie.ie_dependfaddr) == 256 &&
              offsetof(xinpcb, inp_inc.inc_ie.ie_dependladdr) == 272 &&
              offsetof(xinpcb, inp_vflag) == 392);
static_assert(sizeof(xtcpcb) == 744 && offsetof(xtcpcb, xt_inp) == 8 &&
              offsetof(xtcpcb, t_state) == 568);
static_assert(sizeof(xfile) == 128 && offsetof(xfile, xf_pid) == 8 &&
              offsetof(xfile, xf_uid) == 12 && offsetof(xfile, xf_fd) == 16 &&
              offsetof(xfile, xf_type) == 32 && offsetof(xfile, xf_data) == 56);
static_assert(DTYPE_SOCKET == 2);

base::Result<BsdTable> sockets(Transport transport) {
  const auto bytes =
      query_sysctl(transport == Transport::tcp ? "net.inet.tcp.pcblist" : "net.inet.udp.pcblist");
  if (!bytes) return bytes.error();
  return parse_freebsd_pcblist(*bytes, transport);
}

base::Result<std::vector<SocketHolder>> open_sockets() {
  const auto bytes = query_sysctl("kern.file");
  if (!bytes) return bytes.error();
  return parse_freebsd_files(*bytes);
}

}  // namespace

base::Result<BsdSystem> open_bsd_system() {
  auto files = std::make_shared<Snapshot<std::vector<SocketHolder>>>(open_sockets);
  if (const auto readable = files->fresh(); !readable) return readable.error();
  BsdSystem system;
  system.sockets = sockets;
  system.holder = [files](const BsdSocket& socket) -> BsdHolder {
    const auto found = files->find([&](const std::vector<SocketHolder>& holders) {
      return find_holder(holders, socket.name);
    });
    if (!found || !*found) return {};
    return {(*found)->pid, (*found)->descriptor};
  };
  system.processes = system_processes();
  return system;
}

}  // namespace procmap
