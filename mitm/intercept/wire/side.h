// One side of an intercepted connection, the program's or the server's.
#pragma once

#include <memory>

#include "mitm/intercept/wire/peek_buffer.h"
#include "mitm/intercept/wire/tls_stream.h"
#include "mitm/intercept/wire/transport.h"

namespace mitm::intercept {

struct Side {
  /// `transport` must outlive it.
  explicit Side(Transport& transport) : tcp(transport) {}

  /// From here on `stream` goes through `ssl`, whose client or server state the caller has set.
  /// What was unread is read by TLS first.
  void start_tls(tls::SslPtr ssl) {
    tls = std::make_unique<TlsStream>(tcp, std::move(ssl), stream.take_unread());
    stream.set_below(*tls);
  }

  /// All that is unread, without consuming it. `leave`: the bytes stay in the kernel (where nothing
  /// is unread yet and without TLS; at most `scratch`.size() of them are seen), so that the socket
  /// can still be handed on. Else they are read and kept in `stream`.
  [[nodiscard]] PeekBuffer::Look look(std::span<char> scratch, bool leave) {
    if (!leave || tls || stream.has_unread()) return stream.look(scratch);
    const IoResult result = tcp.peek(scratch);
    return {{result.status, 0, result.drained}, {scratch.data(), result.bytes}};
  }

  Transport& tcp;
  std::unique_ptr<TlsStream> tls;  ///< null: plain
  PeekBuffer stream{tcp};
};

}  // namespace mitm::intercept
