// The HTTP/1 reader on any bytes: whole and in two pieces it must tell the same events and cover no
// byte twice.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "mitm/http/http1.h"

namespace {

using mitm::http::Answers;
using mitm::http::Http1Reader;
using mitm::http::Side;

std::string story(Side side, Answers answers, std::string_view first, std::string_view second) {
  Http1Reader reader{side};
  reader.answers(answers);
  std::string held;
  std::string told;
  for (const auto piece : {first, second}) {
    held.append(piece);
    for (bool more = true; more;) {
      const auto event = reader.next(held);
      if (event.size > held.size()) std::abort();
      if (event.what == Http1Reader::What::head) told += '[';
      if (event.what == Http1Reader::What::end) told += ']';
      if (event.what == Http1Reader::What::bad) return told + '!';
      told.append(event.body);
      held.erase(0, event.size);
      more = event.what != Http1Reader::What::need_more;
    }
  }
  return told;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 3) return 0;
  const Side side = (data[0] & 1) != 0 ? Side::response : Side::request;
  const auto answers = static_cast<Answers>((data[0] >> 1) % 3);
  const std::string_view stream{reinterpret_cast<const char*>(data) + 3, size - 3};
  const std::size_t cut = (data[1] | data[2] << 8) % (stream.size() + 1);
  const std::string whole = story(side, answers, stream, {});
  if (whole != story(side, answers, stream.substr(0, cut), stream.substr(cut))) std::abort();
  return 0;
}
