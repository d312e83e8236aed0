// Whatever an upstream proxy can answer, and a URL that somebody typed: in one piece and byte by
// byte it must mean the same.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>

#include "mitm/proxy/handshake.h"

namespace {

using mitm::proxy::Handshake;
using What = Handshake::What;

constexpr const char* kUrls[] = {"http://p:1", "https://ann:secret@p:1", "socks5://p:1",
                                 "socks5h://ann:secret@p:1"};

std::string story(const mitm::proxy::Proxy& proxy, std::string_view stream, std::size_t piece) {
  const base::Endpoint server{boost::asio::ip::address_v4{0xc0000201}, 443};
  Handshake handshake{proxy, {server, "one.test"}};
  std::string told = handshake.to_send();
  std::size_t at = 0;
  while (at < stream.size()) {
    const auto bytes = stream.substr(at, piece);
    const auto step = handshake.take(bytes);
    if (step.used > bytes.size() || (step.what == What::more && step.used != bytes.size()))
      std::abort();
    at += step.used;
    if (step.what == What::send) told += handshake.to_send();
    if (step.what == What::refused) {
      if (handshake.why().empty() || handshake.error() == 0) std::abort();
      if (handshake.why().find("secret") != std::string::npos &&
          stream.find("secret") == std::string_view::npos)
        std::abort();
      return told + "!" + handshake.why() + std::to_string(at);
    }
    if (step.what == What::open) return told + "=" + std::to_string(at);
  }
  return told;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 1) return 0;
  const std::string_view stream{reinterpret_cast<const char*>(data) + 1, size - 1};
  if (const auto typed = mitm::proxy::parse_proxy(stream)) {
    // What is shown of it is a URL of the same place.
    const auto again = mitm::proxy::parse_proxy(typed->label());
    if (!again || again->label() != typed->label() || again->credentials) std::abort();
    (void)story(*typed, stream, 1);
  }
  const auto proxy = mitm::proxy::parse_proxy(kUrls[data[0] % 4]);
  if (!proxy) std::abort();
  if (story(*proxy, stream, stream.size()) != story(*proxy, stream, 1)) std::abort();
  return 0;
}
