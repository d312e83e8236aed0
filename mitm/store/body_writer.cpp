#include "mitm/store/body_writer.h"

#include <algorithm>

#define XXH_INLINE_ALL
#include <xxhash.h>

namespace mitm::store {
namespace {

/// Places for bodies that are compared with new ones: 2 MB of memory, as far as it is used.
constexpr std::size_t kKnownBodies = 64 << 10;
/// Of those whose bytes are kept: 2 MB.
constexpr std::size_t kRecentBodies = 512;
constexpr std::size_t kShort = 4 << 10;

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
  writer.known_.resize(kKnownBodies);
  writer.recent_ = std::make_unique<base::LruCache<std::uint64_t, std::string>>(kRecentBodies);
  auto prepared = database.prepare({
      {&writer.insert_body_, "INSERT INTO body (id, size, cut, refs) VALUES (?, ?, ?, 1)"},
      {&writer.update_body_, "UPDATE body SET size = ?, cut = ? WHERE id = ?"},
      {&writer.delete_body_, "DELETE FROM body WHERE id = ?"},
      {&writer.insert_chunk_, "INSERT INTO chunk (id, data) VALUES (?, ?)"},
      {&writer.add_references_, "UPDATE body SET refs = refs + ? WHERE id = ?"},
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
  std::string scratch;
  const std::string_view bytes = body.bytes(scratch);
  if (bytes.size() <= kChunk) return put_short(bytes, body.is_cut());
  PartialBody partial;
  if (auto appended = append(partial, bytes); !appended) return appended.error();
  if (body.is_cut()) partial.cut();
  return finish(std::move(partial));
}

// Bodies that are known.

BodyWriter::Known* BodyWriter::known(const Key& key, std::uint64_t size) {
  Known& at = known_[key.low % kKnownBodies];
  const bool same = at.id != 0 && at.key.low == key.low && at.key.high == key.high;
  return same && at.size == size ? &at : nullptr;
}

void BodyWriter::remember(const Known& body) {
  known_[body.key.low % kKnownBodies] = body;
}

/// Equal keys do not prove it: bodies come from strangers.
base::Result<std::int64_t> BodyWriter::find(const Key& key, std::string_view bytes) {
  const Known* const known = this->known(key, bytes.size());
  if (known == nullptr) return 0;
  if (const std::string* const recent = recent_->find(key.low); recent != nullptr)
    return *recent == bytes ? known->id : 0;
  auto theirs = chunk(known->id * kMostChunks);
  if (!theirs) return theirs.error();
  if (*theirs != bytes) return 0;
  if (bytes.size() <= kShort) recent_->put(key.low, std::move(*theirs));
  return known->id;
}

base::Result<std::int64_t> BodyWriter::find(const Key& key, const PartialBody& body) {
  const Known* const known = this->known(key, body.size_);
  if (known == nullptr) return 0;
  const auto same = equals(known->id, body);
  if (!same) return same.error();
  return *same ? known->id : 0;
}

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

base::Result<> BodyWriter::write_references() {
  for (const auto& [id, count] : new_references_) {
    if (auto added = add_references_.bind(1, count).bind(2, id).run(); !added) return added.error();
  }
  new_references_.clear();
  return {};
}

void BodyWriter::rolled_back() {
  std::ranges::fill(known_, Known{});
  recent_->clear();
  new_references_.clear();
}

// Rows.

base::Result<> BodyWriter::insert_row(std::int64_t id, std::optional<std::uint64_t> size,
                                      bool cut) {
  if (size) {
    insert_body_.bind(2, static_cast<std::int64_t>(*size));
  } else {
    insert_body_.bind_null(2);
  }
  return insert_body_.bind(1, id).bind(3, std::int64_t{cut}).run();
}

base::Result<std::int64_t> BodyWriter::put_short(std::string_view bytes, bool cut) {
  if (bytes.empty() && !cut) return 0;
  Key key;
  if (!cut) {
    const XXH128_hash_t hash = XXH3_128bits(bytes.data(), bytes.size());
    key = {hash.low64, hash.high64};
    const auto same = find(key, bytes);
    if (!same) return same.error();
    if (*same != 0) {
      ++new_references_[*same];
      return *same;
    }
  }
  const std::int64_t id = ++last_id_;
  if (!bytes.empty()) {
    insert_chunk_.bind(1, id * kMostChunks);
    if (auto written = insert_chunk_.bind_blob(2, bytes).run(); !written) return written.error();
  }
  if (auto inserted = insert_row(id, bytes.size(), cut); !inserted) return inserted.error();
  if (!cut) remember({id, key, bytes.size()});
  return id;
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

/// What is in its buffer.
base::Result<> BodyWriter::write_chunk(PartialBody& body) {
  if (!body.hash_) body.hash_ = std::make_unique<PartialBody::Hash>();
  XXH3_128bits_update(&body.hash_->state, body.buffer_.data(), body.buffer_.size());
  if (body.id_ == 0) {
    body.id_ = ++last_id_;
    if (auto inserted = insert_row(body.id_, std::nullopt, true); !inserted)
      return inserted.error();
  }
  insert_chunk_.bind(1, body.id_ * kMostChunks + body.chunks_++);
  auto written = insert_chunk_.bind_blob(2, body.buffer_).run();
  body.buffer_.clear();
  return written;
}

base::Result<std::int64_t> BodyWriter::finish(PartialBody body) {
  if (body.id_ == 0) return put_short(body.buffer_, body.cut_);
  XXH3_128bits_update(&body.hash_->state, body.buffer_.data(), body.buffer_.size());
  const XXH128_hash_t hash = XXH3_128bits_digest(&body.hash_->state);
  const Key key{hash.low64, hash.high64};
  if (!body.cut_) {
    const auto same = find(key, body);
    if (!same) return same.error();
    if (*same != 0) {
      ++new_references_[*same];
      if (auto gone = discard(std::move(body)); !gone) return gone.error();
      return *same;
    }
  }
  if (!body.buffer_.empty()) {
    if (auto written = write_chunk(body); !written) return written.error();
  }
  update_body_.bind(1, static_cast<std::int64_t>(body.size_)).bind(2, std::int64_t{body.cut_});
  if (auto updated = update_body_.bind(3, body.id_).run(); !updated) return updated.error();
  if (!body.cut_) remember({body.id_, key, body.size_});
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

base::Result<> BodyWriter::delete_chunks(std::int64_t id) {
  return delete_chunks_.bind(1, id * kMostChunks).bind(2, (id + 1) * kMostChunks - 1).run();
}

}  // namespace mitm::store
