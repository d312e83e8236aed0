#include "mitm/store/body_writer.h"

#include <algorithm>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace mitm::store {
namespace {

/// Bodies that are compared with new ones: 3 MB of memory.
constexpr std::size_t kKnownBodies = 32 << 10;

constexpr std::uint64_t kMostBytes = static_cast<std::uint64_t>(kMostChunks) * kChunk;

}  // namespace

struct PartialBody::Hash {
  Hash() { XXH3_128bits_reset(&state); }
  XXH3_state_t state;
};

PartialBody::PartialBody() = default;
PartialBody::PartialBody(PartialBody&&) noexcept = default;
PartialBody& PartialBody::operator=(PartialBody&&) noexcept = default;
PartialBody::~PartialBody() = default;

void PartialBody::abandon() {
  if (size_ == 0) return;
  *this = {};
  cut_ = true;
}

base::Result<BodyWriter> BodyWriter::make(Database& database) {
  BodyWriter writer;
  writer.known_ = std::make_unique<base::LruCache<std::uint64_t, Known>>(kKnownBodies);
  auto prepared = database.prepare({
      {&writer.insert_body_, "INSERT INTO body (id, cut, refs) VALUES (?, 1, 1)"},
      {&writer.update_body_, "UPDATE body SET size = ?, cut = ? WHERE id = ?"},
      {&writer.delete_body_, "DELETE FROM body WHERE id = ?"},
      {&writer.insert_chunk_, "INSERT INTO chunk (id, data) VALUES (?, ?)"},
      {&writer.add_reference_, "UPDATE body SET refs = refs + 1 WHERE id = ?"},
      {&writer.select_chunk_, "SELECT data FROM chunk WHERE id = ?"},
      {&writer.delete_chunks_, "DELETE FROM chunk WHERE id BETWEEN ? AND ?"},
  });
  if (!prepared) return prepared.error();
  const auto last = database.number("SELECT max(id) FROM body");
  if (!last) return last.error();
  writer.last_id_ = last->value_or(0);
  return writer;
}

base::Result<std::int64_t> BodyWriter::put(const flow::Body& body) {
  PartialBody partial;
  std::string scratch;
  if (auto appended = append(partial, body.bytes(scratch)); !appended) return appended.error();
  if (body.is_cut()) partial.cut();
  return finish(std::move(partial));
}

base::Result<> BodyWriter::append(PartialBody& body, std::string_view bytes) {
  if (body.cut_) return {};
  const auto fits =
      static_cast<std::size_t>(std::min<std::uint64_t>(bytes.size(), kMostBytes - body.size_));
  if (fits < bytes.size()) body.cut_ = true;
  bytes = bytes.substr(0, fits);
  body.size_ += fits;
  while (!bytes.empty()) {
    const std::size_t taken = std::min(bytes.size(), kChunk - body.buffer_.size());
    body.buffer_ += bytes.substr(0, taken);
    bytes.remove_prefix(taken);
    if (body.buffer_.size() < kChunk) break;
    if (auto written = write_chunk(body); !written) return written.error();
  }
  return {};
}

base::Result<> BodyWriter::insert_row(PartialBody& body) {
  if (body.id_ != 0) return {};
  body.id_ = ++last_id_;
  return insert_body_.bind(1, body.id_).run();
}

/// What is in its buffer.
base::Result<> BodyWriter::write_chunk(PartialBody& body) {
  if (!body.hash_) body.hash_ = std::make_unique<PartialBody::Hash>();
  XXH3_128bits_update(&body.hash_->state, body.buffer_.data(), body.buffer_.size());
  if (auto inserted = insert_row(body); !inserted) return inserted.error();
  insert_chunk_.bind(1, body.id_ * kMostChunks + body.chunks_++);
  auto written = insert_chunk_.bind_blob(2, body.buffer_).run();
  body.buffer_.clear();
  return written;
}

base::Result<std::int64_t> BodyWriter::finish(PartialBody body) {
  if (body.size_ == 0 && !body.cut_) return 0;
  XXH128_hash_t hash;
  if (body.hash_) {
    XXH3_128bits_update(&body.hash_->state, body.buffer_.data(), body.buffer_.size());
    hash = XXH3_128bits_digest(&body.hash_->state);
  } else {
    hash = XXH3_128bits(body.buffer_.data(), body.buffer_.size());
  }
  const Known* const known = body.cut_ ? nullptr : known_->find(hash.low64);
  if (known != nullptr && known->high == hash.high64 && known->size == body.size_) {
    const std::int64_t id = known->id;
    const auto same = equals(id, body);
    if (!same) return same.error();
    if (*same) {
      if (auto gone = discard(std::move(body)); !gone) return gone.error();
      if (auto added = add_reference_.bind(1, id).run(); !added) return added.error();
      return id;
    }
  }
  if (!body.buffer_.empty()) {
    if (auto written = write_chunk(body); !written) return written.error();
  }
  if (auto inserted = insert_row(body); !inserted) return inserted.error();
  update_body_.bind(1, static_cast<std::int64_t>(body.size_)).bind(2, std::int64_t{body.cut_});
  if (auto updated = update_body_.bind(3, body.id_).run(); !updated) return updated.error();
  if (!body.cut_) {
    known_->put(hash.low64, {body.id_, hash.high64, body.size_});
    new_keys_.push_back(hash.low64);
  }
  return body.id_;
}

base::Result<> BodyWriter::discard(PartialBody body) {
  if (body.id_ == 0) return {};
  if (auto gone = delete_body_.bind(1, body.id_).run(); !gone) return gone.error();
  return delete_chunks(body.id_);
}

base::Result<std::string> BodyWriter::chunk(std::int64_t id) {
  const auto row = select_chunk_.bind(1, id).step();
  if (!row) return row.error();
  std::string data{*row ? select_chunk_.text(0) : std::string_view()};
  select_chunk_.reset();
  return data;
}

/// Equal hashes do not prove it: bodies come from strangers.
base::Result<bool> BodyWriter::equals(std::int64_t id, const PartialBody& body) {
  for (std::int64_t n = 0; n < body.chunks_; ++n) {
    const auto theirs = chunk(id * kMostChunks + n);
    if (!theirs) return theirs.error();
    const auto ours = chunk(body.id_ * kMostChunks + n);
    if (!ours) return ours.error();
    if (*ours != *theirs) return false;
  }
  if (body.buffer_.empty()) return true;
  const auto theirs = chunk(id * kMostChunks + body.chunks_);
  if (!theirs) return theirs.error();
  return *theirs == body.buffer_;
}

base::Result<> BodyWriter::delete_chunks(std::int64_t id) {
  return delete_chunks_.bind(1, id * kMostChunks).bind(2, (id + 1) * kMostChunks - 1).run();
}

void BodyWriter::rolled_back() {
  for (const std::uint64_t key : new_keys_) known_->erase(key);
  new_keys_.clear();
}

}  // namespace mitm::store
