// Most bodies are one piece, as large as what came first; the pieces of a long one double in size.
#include "mitm/flow/body.h"

#include <algorithm>
#include <cstring>

namespace mitm::flow {

Body::Body(std::string_view bytes) {
  BodyRecorder recorder;
  recorder.append(bytes, bytes.size());
  *this = recorder.body();
}

std::string_view Body::bytes(std::string& scratch) const {
  if (size_ == 0) return {};
  if (size_ <= first_->capacity) return {first_->bytes.get(), size_};
  scratch = text();
  return scratch;
}

std::string Body::text() const {
  std::string all;
  all.reserve(size_);
  const Piece* piece = first_.get();
  while (all.size() < size_) {
    all.append(piece->bytes.get(), std::min(piece->capacity, size_ - all.size()));
    piece = piece->next.get();
  }
  return all;
}

Body Body::without_bytes() const {
  Body bare;
  bare.cut_ = cut_ || size_ > 0;
  return bare;
}

Body Body::first(std::size_t limit) const {
  if (size_ <= limit) return *this;
  Body shorter = *this;
  shorter.size_ = limit;
  shorter.cut_ = true;
  return shorter;
}

std::size_t BodyRecorder::room(std::size_t limit) const {
  return body_.cut_ ? 0 : limit - std::min(limit, body_.size_);
}

std::size_t BodyRecorder::growth(std::string_view part, std::size_t limit) const {
  const std::size_t kept = std::min(room(limit), part.size());
  return kept > free_ ? std::max(kept - free_, std::min(capacity_, room(limit) - free_)) : 0;
}

std::size_t BodyRecorder::append(std::string_view part, std::size_t limit) {
  std::size_t grown = 0;
  std::string_view kept = part.substr(0, room(limit));
  if (kept.size() < part.size() && limit > 0) body_.cut_ = true;
  while (!kept.empty()) {
    if (free_ == 0) {
      // What growth() has said.
      grown = std::max(kept.size(), std::min(capacity_, room(limit)));
      auto piece = std::make_shared<Body::Piece>(grown);
      if (last_) {
        last_->next = piece;
      } else {
        body_.first_ = piece;
      }
      last_ = std::move(piece);
      free_ = grown;
      capacity_ += grown;
    }
    const std::size_t taken = std::min(free_, kept.size());
    std::memcpy(last_->bytes.get() + (last_->capacity - free_), kept.data(), taken);
    free_ -= taken;
    body_.size_ += taken;
    kept.remove_prefix(taken);
  }
  return grown;
}

}  // namespace mitm::flow
