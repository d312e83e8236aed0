// The same options everywhere, but for one name.
#include "divert/worker/keep_alive.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

namespace divert {
namespace {

constexpr int kSilenceSeconds = 60;
constexpr int kIntervalSeconds = 10;
constexpr int kQuestions = 6;

#ifdef TCP_KEEPIDLE
constexpr int kSilence = TCP_KEEPIDLE;
#else
constexpr int kSilence = TCP_KEEPALIVE;  // macOS
#endif

}  // namespace

void keep_alive(int socket) {
  const auto set = [socket](int level, int name, int value) {
    ::setsockopt(socket, level, name, &value, sizeof value);
  };
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, kSilence, kSilenceSeconds);
  set(IPPROTO_TCP, TCP_KEEPINTVL, kIntervalSeconds);
  set(IPPROTO_TCP, TCP_KEEPCNT, kQuestions);
}

}  // namespace divert
