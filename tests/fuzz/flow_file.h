// What must hold for every reader of files of flows: whole and byte by byte they tell the same,
// they come to an end, and what they give can be written and read again.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>

#include "mitm/format/flow_file.h"

namespace fuzz {

using Make = std::unique_ptr<mitm::format::FlowReader> (*)(mitm::format::ByteSource);

inline mitm::format::ByteSource in_pieces(std::string_view bytes, std::size_t piece) {
  return [bytes, piece](std::span<char> out) mutable -> base::Result<std::size_t> {
    const std::string_view part = bytes.substr(0, std::min(piece, out.size()));
    std::copy(part.begin(), part.end(), out.begin());
    bytes.remove_prefix(part.size());
    return part.size();
  };
}

/// The flows, and after them the errors, as text; `flows`: how many.
inline std::string story(Make make, std::string_view bytes, std::size_t piece,
                         mitm::format::FlowWriter& writer, std::size_t& flows) {
  const auto reader = make(in_pieces(bytes, piece));
  std::string out, errors;
  flows = 0;
  writer.begin(out);
  // No flow and no error without a byte of its own.
  for (std::size_t rounds = 0;; ++rounds) {
    if (rounds > 2 * bytes.size() + 2) std::abort();
    auto next = reader->next();
    if (!next) {
      if (next.error().text.empty()) std::abort();
      errors += next.error().text + '\n';
      if (!reader->goes_on()) break;
      continue;
    }
    if (!*next) break;
    ++flows;
    if (!writer.write(**next, out)) std::abort();
  }
  writer.end(out);
  return out + errors;
}

/// `read` reads the bytes, `written` makes them anew, `back` reads what that has written.
inline void check(Make read, std::string_view bytes,
                  std::unique_ptr<mitm::format::FlowWriter> (*written)(), Make back) {
  std::size_t flows = 0, slow_flows = 0, again = 0;
  const std::string whole = story(read, bytes, bytes.size() + 1, *written(), flows);
  const std::string slow = story(read, bytes, 1, *written(), slow_flows);
  if (whole != slow || flows != slow_flows) std::abort();
  std::string out;
  const auto writer = written();
  writer->begin(out);
  const auto reader = read(in_pieces(bytes, bytes.size() + 1));
  for (std::size_t n = 0; n < flows;) {
    auto next = reader->next();
    if (!next) continue;
    if (!*next) std::abort();
    if (!writer->write(**next, out)) std::abort();
    ++n;
  }
  writer->end(out);
  story(back, out, out.size() + 1, *written(), again);
  if (again != flows) std::abort();
}

}  // namespace fuzz
