#include "divert/broker/program_socket.h"

namespace divert {

std::optional<SocketMaker> maker_of(const procmap::Owner& owner) {
  const auto& socket = owner.socket;
  const auto* process = owner.process.get();
  SocketMaker maker;
  // The socket's own user is that of the moment when it was made.
  if (socket && socket->uid_known) {
    maker.uid = socket->uid;
  } else if (process) {
    maker.uid = process->uid;
  } else {
    return std::nullopt;
  }
  maker.gid = process ? process->gid : kUnknownGroup;
  if (socket && socket->gid) maker.gid = *socket->gid;
  if (process) maker.groups = process->groups;
  if (socket) maker.mark = socket->mark;
  return maker;
}

}  // namespace divert
