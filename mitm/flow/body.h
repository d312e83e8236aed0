// What was recorded of a body: append-only, shared between the connection that records it and the
// events that have been published of it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mitm::flow {

/// A view of a body as it was at one moment. Copies are cheap and share the bytes. Bytes are those
/// of the wire: content coding kept, chunk framing removed.
class Body {
 public:
  Body() = default;
  /// A whole body, for files that are read and for tests.
  explicit Body(std::string_view bytes);

  /// Bytes that are recorded.
  [[nodiscard]] std::size_t size() const { return size_; }
  [[nodiscard]] bool empty() const { return size_ == 0; }
  /// True if there was more on the wire than is recorded.
  [[nodiscard]] bool is_cut() const { return cut_; }
  /// The recorded bytes; assembled in `scratch` when they lie in several pieces. Valid as long as
  /// this body and `scratch`.
  [[nodiscard]] std::string_view bytes(std::string& scratch) const;
  [[nodiscard]] std::string text() const;
  /// The same without its bytes, for subscribers that have no room for them.
  [[nodiscard]] Body without_bytes() const;
  /// Its first `limit` bytes; cut if there are more.
  [[nodiscard]] Body first(std::size_t limit) const;

 private:
  friend class BodyRecorder;

  /// Written by one thread behind what the others may read, and never moved: a reader looks at no
  /// more than its own `size_`, which reached it through a lock.
  struct Piece {
    explicit Piece(std::size_t room) : capacity(room), bytes(new char[room]) {}
    const std::size_t capacity;
    std::unique_ptr<char[]> bytes;
    std::shared_ptr<Piece> next;
  };

  std::shared_ptr<const Piece> first_;
  std::size_t size_ = 0;
  bool cut_ = false;
};

/// Records one body. For the thread of its connection.
class BodyRecorder {
 public:
  /// Keeps what fits into `limit` bytes of the whole body. Returns the bytes of memory by which the
  /// recording has grown.
  std::size_t append(std::string_view part, std::size_t limit);
  /// Bytes of memory that append() would take for `part`.
  [[nodiscard]] std::size_t growth(std::string_view part, std::size_t limit) const;
  /// Notes that not all of it is recorded; nothing more is.
  void cut() { body_.cut_ = true; }
  /// The body as it is now.
  [[nodiscard]] const Body& body() const { return body_; }

 private:
  [[nodiscard]] std::size_t room(std::size_t limit) const;

  Body body_;
  std::shared_ptr<Body::Piece> last_;
  std::size_t free_ = 0;      ///< bytes left in `last_`
  std::size_t capacity_ = 0;  ///< bytes of all pieces
};

}  // namespace mitm::flow
