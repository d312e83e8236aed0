// Command lines. Each tool has ways of its own of taking a value for something else, and fields
// that it adds by itself.
#include <algorithm>

#include <fmt/format.h>

#include "base/ascii.h"
#include "base/base64.h"
#include "base/text.h"
#include "mitm/format/shell_words.h"
#include "mitm/format/snippet_request.h"

namespace mitm::format {
namespace {

/// Arguments end at a zero byte; what is not UTF-8 is lost on the way through a terminal.
bool fits_argument(std::string_view bytes) {
  return bytes.find('\0') == bytes.npos && base::is_utf8(bytes);
}

/// Longer ones are refused by execve(2): MAX_ARG_STRLEN is 128 KiB on Linux.
constexpr std::size_t kLongestArgument = 100'000;

bool fits_line(std::string_view body) {
  return fits_argument(body) && body.size() < kLongestArgument;
}

/// What puts `body` on the standard input of what follows, for bodies of any bytes.
std::string piped(std::string_view body) {
  if (fits_line(body)) return fmt::format("printf %s {} | ", shell_word(body));
  return "base64 -d <<'EOF' | ";
}

/// Behind the command line of piped(): the rest of it.
std::string here_document(std::string_view body) {
  if (fits_line(body)) return {};
  constexpr std::size_t kWidth = 76;
  const std::string digits = base::base64(body);
  std::string text;
  for (std::size_t i = 0; i < digits.size(); i += kWidth)
    text.append(digits, i, kWidth).append("\n");
  return text + "EOF\n";
}

base::Result<> check_fields(const SnippetRequest& request) {
  for (const auto& [name, value] : request.fields) {
    if (!fits_argument(value))
      return base::failure("the field {} is not UTF-8: no argument can hold it", name);
  }
  if (!fits_argument(request.url)) return base::failure("the URL is not UTF-8");
  return {};
}

/// A field for httpie, which parts name and value by the longest of several separators that begins
/// with the first one; a backslash before one of their characters takes it for itself.
base::Result<std::string> httpie_field(const SnippetRequest::Field& field) {
  const auto& [name, value] = field;
  if (value.empty()) return name + ";";
  for (std::size_t i = 0; i + 1 < value.size(); ++i) {
    if (value[i] == '\\' && std::string_view(":;=@").find(value[i + 1]) != std::string_view::npos)
      return base::failure("a backslash before '{}' in the field {} is lost", value[i + 1], name);
  }
  const bool separator = value[0] == '=' || value[0] == '@';
  return fmt::format("{}:{}{}", name, separator ? "\\" : "", value);
}

/// In lines of one option each.
class Command {
 public:
  explicit Command(std::string text) : text_(std::move(text)) {}
  void add(std::string_view option) { text_.append(" \\\n  ").append(option); }
  void add(std::string_view option, std::string_view value) {
    add(option);
    text_.append(" ").append(shell_word(value));
  }
  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  std::string text_;
};

}  // namespace

base::Result<std::string> curl_snippet(const SnippetRequest& request) {
  if (auto good = check_fields(request); !good) return good.error();
  if (request.method == "HEAD" && !request.body.empty())
    return base::failure("it sends no body with HEAD");
  const bool inline_body = fits_line(request.body);
  Command curl(request.body.empty() || inline_body ? "curl" : piped(request.body) + "curl");
  // Dots in paths, braces and brackets stay as they are.
  curl.add("--globoff --path-as-is");
  if (request.method == "HEAD") {
    curl.add("--head");
  } else if (request.method != (request.body.empty() ? "GET" : "POST")) {
    curl.add("-X", request.method);
  }
  if (request.http2)
    curl.add(request.url.starts_with("https:") ? "--http2" : "--http2-prior-knowledge");
  if (!request.resolve.empty()) curl.add("--resolve", request.resolve);
  for (const auto& [name, value] : request.fields) {
    // An empty value has a semicolon; a colon would remove the field.
    curl.add("-H", value.empty() ? name + ";" : fmt::format("{}: {}", name, value));
  }
  for (const char* own : {"User-Agent", "Accept"}) {
    if (!request.has(own)) curl.add("-H", fmt::format("{}:", own));
  }
  if (!request.body.empty()) {
    if (!request.has("Content-Type")) curl.add("-H", "Content-Type:");
    curl.add("-H", "Expect:");
    // --data and --data-binary would take "@..." for the name of a file.
    inline_body ? curl.add("--data-raw", request.body) : curl.add("--data-binary @-");
  }
  curl.add(shell_word(request.url));
  return curl.text() + "\n" + (inline_body ? "" : here_document(request.body));
}

base::Result<std::string> httpie_snippet(const SnippetRequest& request) {
  if (auto good = check_fields(request); !good) return good.error();
  if (auto good = check_once(request); !good) return good.error();
  if (!request.has("User-Agent"))
    return base::failure("it adds a User-Agent where the request has none");
  // It is made of requests, and keeps dots when asked to.
  const TargetRules rules{.escaped = "\"<>\\^`{|}[]", .dots_removed = false, .hex_changed = true};
  if (auto good = check_target(request, rules); !good) return good.error();
  Command http(request.body.empty() ? "http" : piped(request.body) + "http");
  http.add(request.body.empty() ? "--path-as-is --ignore-stdin" : "--path-as-is");
  http.add(shell_word(request.method));
  http.add(shell_word(request.url));
  for (const SnippetRequest::Field& field : request.fields) {
    const auto argument = httpie_field(field);
    if (!argument) return argument.error();
    http.add(shell_word(*argument));
  }
  for (const char* own : {"Accept", "Accept-Encoding"}) {
    if (!request.has(own)) http.add(shell_word(fmt::format("{}:", own)));
  }
  if (!request.body.empty() && !request.has("Content-Type")) http.add("Content-Type:");
  return http.text() + "\n" + here_document(request.body);
}

base::Result<std::string> wget_snippet(const SnippetRequest& request) {
  if (auto good = check_fields(request); !good) return good.error();
  if (auto good = check_once(request); !good) return good.error();
  if (auto good = check_target(request, {}); !good) return good.error();
  if (!request.body.empty() && !request.has("Content-Type"))
    return base::failure("it sends no body without a Content-Type");
  if (!fits_line(request.body))
    return base::failure("it has its body in an argument, which cannot hold this one");
  if (request.method == "HEAD" && !request.body.empty())
    return base::failure("it sends no body with HEAD");
  Command wget("wget");
  wget.add("-O - --content-on-error --max-redirect=0 --no-config");
  if (request.method != "GET" || !request.body.empty()) wget.add("--method", request.method);
  for (const auto& [name, value] : request.fields)
    wget.add("--header", fmt::format("{}: {}", name, value));
  if (!request.has("User-Agent")) wget.add("--user-agent=");
  if (!request.body.empty()) wget.add("--body-data", request.body);
  wget.add(shell_word(request.url));
  return wget.text() + "\n";
}

}  // namespace mitm::format
