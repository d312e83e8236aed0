// The HTTP/2 reader on any bytes: whole and in two pieces it must tell the same story; and once
// alternative services are hidden, the same one but for the name of that field. What is taken for a
// server that begins with its settings is read as that.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "mitm/http/http2.h"
#include "mitm/http/http2_alt_svc.h"

namespace {

using mitm::http::Http2Head;
using mitm::http::Http2Reader;
using mitm::http::Http2Settings;
using mitm::http::Side;

struct Story final : Http2Reader::Handler {
  std::string text;
  std::uint32_t body_of = 0;

  void number(char what, std::uint32_t value) {
    body_of = 0;
    text += what + std::to_string(value) + ' ';
  }
  void headers(std::uint32_t stream, Http2Head& head, bool last) override {
    number(last ? 'H' : 'h', stream);
    for (std::size_t i = 0; i < head.fields.size(); ++i) {
      const auto name = head.fields[i].first;
      text.append(name == "alt-svc" ? "alt-sv0" : name) += '=';
    }
    text += head.method + head.path + std::to_string(head.status);
  }
  void data(std::uint32_t stream, std::string_view bytes, bool last) override {
    if (body_of != stream && !bytes.empty()) number('d', stream);
    if (!bytes.empty()) body_of = stream;
    text += bytes;
    if (last) number('D', stream);
  }
  void reset(std::uint32_t stream, std::uint32_t code) override { number('r', stream ^ code); }
  void promise(std::uint32_t stream, std::uint32_t promised, Http2Head&) override {
    number('p', stream ^ promised);
  }
  void goaway(std::uint32_t code) override { number('g', code); }
  void settings(const Http2Settings& settings) override {
    number(settings.push.value_or(true) ? 's' : 'S', settings.table_size.value_or(7));
  }
};

std::string story(Side side, std::string_view first, std::string_view second) {
  Http2Reader reader{side};
  Story story;
  if (!reader.settings_sent({100, {}}) || !reader.settings_sent({})) std::abort();
  for (const auto piece : {first, second}) {
    if (!reader.feed(piece, story)) return story.text + '!' + reader.error();
  }
  return story.text;
}

std::string hidden(std::string_view first, std::string_view second) {
  std::string bytes;
  mitm::http::Http2AltSvc alt_svc;
  for (const auto piece : {first, second}) {
    std::string part{piece};
    alt_svc.hide(part);
    bytes += part;
  }
  return bytes;
}

/// The header of a frame decides, and a reader of answers agrees.
void check_beginning(std::string_view stream) {
  constexpr std::size_t kHeader = 9;
  const bool settings = mitm::http::begins_with_settings(stream);
  if (settings != mitm::http::begins_with_settings(stream.substr(0, kHeader))) std::abort();
  if (!settings) return;
  const std::size_t length = static_cast<std::size_t>(static_cast<unsigned char>(stream[1])) << 8U |
                             static_cast<unsigned char>(stream[2]);
  const auto frame = stream.substr(0, kHeader + length);
  const auto told = story(Side::response, frame, {});
  // A server may say ENABLE_PUSH=0 (RFC 9113, section 6.5.2), which the story tells from silence
  // about it.
  const bool whole = frame.size() == kHeader + length;
  if (whole ? told.find_first_of("sS!") != 0 : !told.empty()) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 3) return 0;
  const Side side = (data[0] & 1) != 0 ? Side::response : Side::request;
  const std::string_view stream{reinterpret_cast<const char*>(data) + 3, size - 3};
  const std::size_t cut = (data[1] | data[2] << 8) % (stream.size() + 1);
  const std::string whole = story(side, stream, {});
  if (whole != story(side, stream.substr(0, cut), stream.substr(cut))) std::abort();
  check_beginning(stream);
  if (side == Side::request) return 0;
  const std::string changed = hidden(stream, {});
  if (changed != hidden(stream.substr(0, cut), stream.substr(cut))) std::abort();
  if (whole.find('!') == whole.npos && story(side, changed, {}) != whole) std::abort();
  return 0;
}
