// Plain text on purpose: it is read in a terminal at least as often as in a browser.
#include "mitm/intercept/page.h"

#include <fmt/format.h>

#include "base/text.h"

namespace mitm::intercept {

std::string error_page(int status, std::string_view text, bool body) {
  const std::string content = fmt::format("osproxy: {}\n", base::printable(text));
  return fmt::format(
      "HTTP/1.1 {} {}\r\nServer: osproxy\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n"
      "Cache-Control: no-store\r\nConnection: close\r\n\r\n{}",
      status, status == 400 ? "Bad Request" : "Bad Gateway", content.size(), body ? content : "");
}

}  // namespace mitm::intercept
