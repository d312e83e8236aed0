// What may want to hold, change or answer messages, as seen by the sessions that ask it.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>

#include "mitm/flow/records.h"
#include "mitm/intercept/context/transaction.h"

namespace mitm::intercept {

/// Where an exchange is when a gate is asked.
enum class Stage : std::uint8_t {
  request_head,   ///< the head has come; nothing has been passed on
  request,        ///< all of it (but see Transaction::is_cut); only where the gate wants it
  response_head,  ///< the head of the final response has come; interim ones (1xx) pass unasked
  response,       ///< all of it, likewise
};

enum class Decision : std::uint8_t {
  pass,    ///< it is passed on as the transaction has it now
  whole,   ///< of a head: the gate is asked again when the message is there as a whole
  answer,  ///< of a request: the program gets Transaction::answer(), the server nothing
  reset,   ///< the program's connection is reset, or its stream (HTTP/2)
};

/// Called on the contexts of connections, by all of them at once; must not block.
class Gate {
 public:
  /// To be called at most once, on the connection's executor, also when the exchange is over: then
  /// nothing follows.
  using Resume = std::function<void(Decision)>;

  virtual ~Gate() = default;
  /// Whether it may want any messages of this connection from now on. Asked between messages, so it
  /// must be quick; the answer may change at any time.
  [[nodiscard]] virtual bool is_interested(const flow::ConnectionRecord& connection) = 0;
  /// A decision, or none: then `resume` is called later. Of each exchange on a connection that it
  /// is interested in, both heads are asked about.
  [[nodiscard]] virtual std::optional<Decision> ask(Stage stage, Transaction& transaction,
                                                    Resume resume) = 0;
  /// The exchange has ended while it was waiting for a decision: the program or the server is gone.
  virtual void withdrawn(Transaction& transaction) = 0;

  /// Is interested in nothing.
  [[nodiscard]] static Gate& none();
};

}  // namespace mitm::intercept
