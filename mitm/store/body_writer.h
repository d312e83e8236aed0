// Bodies of a session: in pieces, identical ones once.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/lru_cache.h"
#include "mitm/flow/body.h"
#include "mitm/store/database.h"

namespace mitm::store {

/// Bytes of a row of `chunk`; the last one of a body may be shorter. Its id is that of the body
/// times kMostChunks, plus its number.
inline constexpr std::size_t kChunk = 64 << 10;
inline constexpr std::int64_t kMostChunks = 1 << 16;

class BodyWriter;

/// A body that is being written while it arrives.
class PartialBody {
 public:
  PartialBody();
  PartialBody(PartialBody&&) noexcept;
  PartialBody& operator=(PartialBody&&) noexcept;
  ~PartialBody();

  /// Bytes so far.
  [[nodiscard]] std::uint64_t size() const { return size_; }
  /// Not all of it is there; nothing follows.
  void cut() { cut_ = true; }
  [[nodiscard]] bool is_cut() const { return cut_; }
  /// Of its row, which is there from its first chunk on; 0: there is none so far.
  [[nodiscard]] std::int64_t id() const { return id_; }
  /// Its chunks are not there any more: nothing is known but that there was something.
  void abandon();

 private:
  friend class BodyWriter;
  struct Hash;

  std::unique_ptr<Hash> hash_;
  std::string buffer_;  ///< less than kChunk
  std::int64_t id_ = 0;
  std::int64_t chunks_ = 0;  ///< that have been written
  std::uint64_t size_ = 0;
  bool cut_ = false;
};

class BodyWriter {
 public:
  static base::Result<BodyWriter> make(Database& database);

  /// The id of a body with these bytes, with one reference more; 0 for an empty one.
  [[nodiscard]] base::Result<std::int64_t> put(const flow::Body& body);

  /// Takes as much as fits into kMostChunks; what is beyond cuts it.
  [[nodiscard]] base::Result<> append(PartialBody& body, std::string_view bytes);
  /// As put().
  [[nodiscard]] base::Result<std::int64_t> finish(PartialBody body);
  /// Removes what has been written of it.
  [[nodiscard]] base::Result<> discard(PartialBody body);

  /// Before the transaction ends: references to bodies that were there already are counted in
  /// memory until then.
  [[nodiscard]] base::Result<> write_references();
  /// What was written since the last transaction is not there any more.
  void rolled_back();
  /// Bodies may have been deleted from the session.
  void deleted() { recent_->clear(); }

 private:
  /// Two halves of an XXH3-128.
  struct Key {
    std::uint64_t low = 0;
    std::uint64_t high = 0;
  };
  struct Known {
    std::int64_t id = 0;  ///< 0: none
    Key key;
    std::uint64_t size = 0;
  };

  BodyWriter() = default;

  /// The known body that has these bytes; 0: none.
  [[nodiscard]] base::Result<std::int64_t> find(const Key& key, const PartialBody& body);
  [[nodiscard]] base::Result<std::int64_t> find(const Key& key, std::string_view bytes);
  /// Of one chunk or none.
  [[nodiscard]] base::Result<std::int64_t> put_short(std::string_view bytes, bool cut);
  [[nodiscard]] base::Result<> insert_row(std::int64_t id, std::optional<std::uint64_t> size,
                                          bool cut);
  [[nodiscard]] base::Result<> write_chunk(PartialBody& body);
  [[nodiscard]] base::Result<bool> equals(std::int64_t id, const PartialBody& body);
  [[nodiscard]] base::Result<std::string> chunk(std::int64_t id);
  [[nodiscard]] base::Result<> delete_chunks(std::int64_t id);
  [[nodiscard]] Known* known(const Key& key, std::uint64_t size);
  void remember(const Known& body);

  Statement insert_body_, update_body_, delete_body_, insert_chunk_, add_references_, select_chunk_,
      delete_chunks_;
  std::int64_t last_id_ = 0;
  /// Those that were written last, each in the place that its key gives it.
  std::vector<Known> known_;
  /// Bytes of short ones that came more than once, by the lower half of their keys.
  std::unique_ptr<base::LruCache<std::uint64_t, std::string>> recent_;
  std::unordered_map<std::int64_t, std::int64_t> new_references_;  ///< by the body's id
};

}  // namespace mitm::store
