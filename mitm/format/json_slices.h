// One value of a large JSON file at a time, without the rest of it in memory.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "mitm/format/source_buffer.h"

namespace mitm::format {

/// Walks through a file and hands out the items of arrays, and members, by their path: "log",
/// "entries" ... What is in them is not looked at, only where they end.
class JsonSlices {
 public:
  explicit JsonSlices(ByteSource source) : buffer_(std::move(source)) {}

  struct Slice {
    std::string key;        ///< of the array that holds it: "entries"; empty: the file has ended
    std::string_view text;  ///< valid until the next call
    std::uint64_t offset = 0;
  };
  /// The next item of an array that is a member of the file's member "log". An error ends the walk.
  [[nodiscard]] base::Result<Slice> next();

 private:
  enum class Where : std::uint8_t { before, top, log, array, done };

  base::Result<char> peek();
  base::Result<> expect(char wanted);
  base::Result<std::string> read_key();
  base::Result<std::size_t> value_size();
  base::Result<> skip_value();
  base::Result<> step();
  base::Result<bool> enter_member();
  [[nodiscard]] base::Error failure(std::string_view what) const;

  SourceBuffer buffer_;
  Where where_ = Where::before;
  bool first_ = true;  ///< of the members or items of what we are in
  std::string key_;
};

}  // namespace mitm::format
