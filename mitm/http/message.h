// Messages of which many travel in one body or one upgraded connection: those of WebSocket, gRPC
// and event streams. Readers of them look on, as the other readers here do: bytes in, events out,
// no I/O.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace mitm::http {

struct Message {
  enum class Kind : std::uint8_t {
    text,      ///< WebSocket
    binary,    ///< WebSocket
    ping,      ///< WebSocket
    pong,      ///< WebSocket
    close,     ///< WebSocket
    event,     ///< event stream
    call,      ///< gRPC: a request or an answer
    trailers,  ///< gRPC-Web
  };
  Kind kind = Kind::text;
  bool compressed = false;
  bool cut = false;                    ///< there was more than the reader's limit
  std::string payload;                 ///< WebSocket: decompressed; event stream: the data
  std::optional<std::uint64_t> bytes;  ///< of the whole payload; empty: it was not decompressed
  std::uint64_t wire_bytes = 0;        ///< of all that carried it
  int code = 0;                        ///< close; 0: none was given
  std::string reason;                  ///< close
  std::string name;                    ///< event: its type; empty: "message"
  std::string id;                      ///< event
};
std::string_view to_string(Message::Kind kind);

/// Reads one direction. Of a payload, a limit of bytes is kept; the rest is counted.
class MessageReader {
 public:
  class Handler {
   public:
    virtual ~Handler() = default;
    /// When its last byte has come. May be moved from.
    virtual void message(Message& message) = 0;
  };

  explicit MessageReader(std::size_t limit) : limit_(limit), next_limit_(limit) {}
  MessageReader(const MessageReader&) = delete;
  MessageReader& operator=(const MessageReader&) = delete;
  virtual ~MessageReader() = default;

  virtual void feed(std::string_view bytes, Handler& handler) = 0;
  /// From here on no payload is kept, and that of the message under way is given up: there is no
  /// memory.
  virtual void keep_nothing() = 0;
  /// The limit from the next message on. Compressed ones of a WebSocket that may refer to what was
  /// given up stay unread.
  void keep_from_next(std::size_t limit) { next_limit_ = limit; }
  /// Bytes of memory that it holds, roughly.
  [[nodiscard]] virtual std::size_t held() const = 0;
  /// Why not everything could be read; null: it could. What follows may still be read, or nothing
  /// more.
  [[nodiscard]] const char* error() const { return error_; }

 protected:
  std::size_t limit_;       ///< of the payload under way
  std::size_t next_limit_;  ///< of those after it
  const char* error_ = nullptr;
};

/// Appends what fits into `limit` of a payload that comes in parts.
void keep(std::string_view part, std::size_t limit, Message& message);
/// Gives up what was kept of it.
void drop_payload(Message& message);

}  // namespace mitm::http
