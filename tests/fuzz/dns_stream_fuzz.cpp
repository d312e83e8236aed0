// DNS over TCP: however the bytes are cut, the same messages come out, and they are the bytes
// between the lengths.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "mitm/dns/message.h"
#include "mitm/dns/stream.h"

namespace {

using Messages = std::vector<std::string>;

/// `step`: how many bytes come at a time, once `first` of them have come at once.
Messages read(std::string_view stream, std::size_t first, std::size_t step) {
  Messages messages;
  mitm::dns::Stream reader;
  const auto take = [&](std::string_view message) { messages.emplace_back(message); };
  reader.feed(stream.substr(0, first), take);
  for (std::size_t at = first; at < stream.size(); at += step)
    reader.feed(stream.substr(at, step), take);
  return messages;
}

std::string with_lengths(const Messages& messages) {
  std::string stream;
  for (const auto& message : messages) {
    stream += static_cast<char>(message.size() >> 8U);
    stream += static_cast<char>(message.size() & 255U);
    stream += message;
  }
  return stream;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 3) return 0;
  const std::string_view stream{reinterpret_cast<const char*>(data) + 3, size - 3};
  const std::size_t first = (data[0] | data[1] << 8U) % (stream.size() + 1);
  const Messages whole = read(stream, stream.size(), 1);
  if (whole != read(stream, first, data[2] + 1U) || whole != read(stream, 0, 1)) std::abort();
  const std::string again = with_lengths(whole);
  if (!stream.starts_with(again)) std::abort();
  const std::string_view rest = stream.substr(again.size());
  if (rest.size() >= 2 &&
      rest.size() - 2 >= (static_cast<std::size_t>(static_cast<unsigned char>(rest[0])) << 8U |
                          static_cast<unsigned char>(rest[1])))
    std::abort();
  for (const auto& message : whole) {
    const auto parsed = mitm::dns::parse(message);
    if (parsed && parsed->answers.size() > mitm::dns::kMaxRecords) std::abort();
  }
  return 0;
}
