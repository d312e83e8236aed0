// Any conversation: as it comes and byte by byte the same verdict, at the same byte.
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "mitm/starttls/recogniser.h"

namespace {

using mitm::starttls::Finding;
using mitm::starttls::From;
using mitm::starttls::Recogniser;
using Verdict = Finding::Verdict;

struct Outcome {
  Verdict verdict = Verdict::undecided;
  std::size_t plain = 0;  ///< bytes of both sides until it was agreed
  std::string protocol;
};

/// Pieces: who speaks (the highest bit) and how much, then that.
Outcome outcome_of(std::string_view input, bool byte_by_byte) {
  Recogniser recogniser;
  std::size_t plain = 0;
  while (!input.empty()) {
    const auto head = static_cast<unsigned char>(input.front());
    input.remove_prefix(1);
    const auto from = (head & 0x80U) != 0 ? From::server : From::program;
    std::string_view piece = input.substr(0, head & 0x7fU);
    input.remove_prefix(piece.size());
    while (!piece.empty()) {
      const auto part = byte_by_byte ? piece.substr(0, 1) : piece;
      piece.remove_prefix(part.size());
      const auto finding = recogniser.feed(from, part);
      if (finding.bytes > part.size()) std::abort();
      if (finding.verdict == Verdict::agreed)
        return {finding.verdict, plain + finding.bytes, std::string(recogniser.protocol())};
      if (finding.verdict == Verdict::never) return {finding.verdict, 0, ""};
      plain += part.size();
    }
  }
  return {};
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input{reinterpret_cast<const char*>(data), size};
  const auto whole = outcome_of(input, false);
  const auto bytes = outcome_of(input, true);
  // Only whole shows that a server has said more than yes.
  const bool said_more = whole.verdict == Verdict::never && bytes.verdict == Verdict::agreed;
  if (!said_more && (whole.verdict != bytes.verdict || whole.plain != bytes.plain ||
                     whole.protocol != bytes.protocol))
    std::abort();
  return 0;
}
