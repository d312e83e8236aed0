// Programs in languages that have strings of their own.
#include <algorithm>

#include <fmt/format.h>

#include "base/ascii.h"
#include "base/base64.h"
#include "base/text.h"
#include "mitm/format/json_text.h"
#include "mitm/format/snippet_request.h"

namespace mitm::format {
namespace {

/// A string of JavaScript; JSON's are such.
std::string literal(std::string_view text) {
  std::string out;
  append_json_string(out, text);
  return out;
}

/// Bytes of Python, in ASCII.
std::string python_bytes(std::string_view bytes) {
  std::string out = "b\"";
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte >= ' ' && byte < 0x7f) {
      out += c;
    } else {
      out += fmt::format("\\x{:02x}", byte);
    }
  }
  return out + '"';
}

/// Names that fetch() keeps for itself (Fetch Standard, and undici, which Node has).
bool is_forbidden(std::string_view name) {
  return base::iequals(name, "host");
}

bool is_latin1(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x80; });
}

}  // namespace

base::Result<std::string> fetch_snippet(const SnippetRequest& request) {
  const bool bodiless = request.method == "GET" || request.method == "HEAD";
  if (bodiless && !request.body.empty())
    return base::failure("it sends no body with {}", request.method);
  if (request.method == "TRACE" || request.method == "TRACK")
    return base::failure("it does not send {}", request.method);
  if (auto good = check_once(request); !good) return good.error();
  if (auto good = check_target(request, {.escaped = "\"<>\\^`{|}'"}); !good) return good.error();
  std::string out = fmt::format("const response = await fetch({}, {{\n", literal(request.url));
  out += fmt::format("  method: {},\n  headers: [\n", literal(request.method));
  for (const auto& [name, value] : request.fields) {
    if (is_forbidden(name)) return base::failure("it does not let {} be set", name);
    if (!is_latin1(value)) return base::failure("the field {} is not ASCII", name);
    out += fmt::format("    [{}, {}],\n", literal(name), literal(value));
  }
  out += "  ],\n  redirect: \"manual\",\n";
  if (!request.body.empty()) {
    // A string would get a Content-Type; bytes have none.
    out += fmt::format("  body: Uint8Array.from(atob(\"{}\"), (c) => c.charCodeAt(0)),\n",
                       base::base64(request.body));
  }
  out += "});\nconsole.log(response.status, await response.text());\n";
  return out;
}

base::Result<std::string> requests_snippet(const SnippetRequest& request) {
  if (auto good = check_once(request); !good) return good.error();
  const TargetRules rules{.escaped = "\"<>\\^`{|}[]", .dots_removed = false, .hex_changed = true};
  if (auto good = check_target(request, rules); !good) return good.error();
  std::string out =
      "import requests\n\nsession = requests.Session()\nsession.headers.clear()\n"
      "request = requests.Request(";
  out += fmt::format("{}, {}, headers={{\n", literal(request.method), literal(request.url));
  for (const auto& [name, value] : request.fields)
    out += fmt::format("    {}: {},\n", literal(name), python_bytes(value));
  for (const char* own : {"User-Agent", "Accept-Encoding"}) {  // else http.client adds them
    if (!request.has(own)) out += fmt::format("    {}: SKIP_HEADER,\n", literal(own));
  }
  out += "}";
  if (!request.body.empty()) out += fmt::format(", data={}", python_bytes(request.body));
  out += ").prepare()\n";
  // As it stood in the request: requests would normalise it.
  out += fmt::format("request.url = {}\n", literal(request.url));
  // send() alone would leave out REQUESTS_CA_BUNDLE and proxies.
  out +=
      "settings = session.merge_environment_settings(request.url, {}, None, None, None)\n"
      "response = session.send(request, allow_redirects=False, **settings)\n"
      "print(response.status_code, response.text)\n";
  const bool skips = out.find("SKIP_HEADER") != out.npos;
  return (skips ? "from urllib3.util import SKIP_HEADER\n" : "") + out;
}

}  // namespace mitm::format
