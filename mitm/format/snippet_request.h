// The request of a flow as snippets send it again: without what the sending program adds itself.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mitm/flow/flow.h"

namespace mitm::format {

struct SnippetRequest {
  using Field = std::pair<std::string, std::string>;

  std::string method;
  std::string url;     ///< without a fragment
  std::string target;  ///< path and query as they stood in the request
  bool http2 = false;
  /// Without Host where the URL says the same, Content-Length, Transfer-Encoding, Connection and
  /// others of one connection only, and pseudo-header fields.
  std::vector<Field> fields;
  std::string body;
  /// The server's address, for where its name leads elsewhere today: "host:port:address"; empty:
  /// not known.
  std::string resolve;

  [[nodiscard]] bool has(std::string_view name) const;
  [[nodiscard]] std::string_view find(std::string_view name) const;
};

/// Error: there is nothing that could be sent: not HTTP, CONNECT, a body that was not recorded or
/// is cut, a URL that is none.
[[nodiscard]] base::Result<SnippetRequest> snippet_request(const flow::Flow& flow);

/// Error: the body was not recorded, or not all of it. `flow` is one of HTTP.
[[nodiscard]] base::Result<> check_body(const flow::Flow& flow);

/// How a tool changes the path and the query that it is given.
struct TargetRules {
  std::string_view escaped = "\"<>\\^`{|}";  ///< characters that it writes as %XX
  bool dots_removed = true;                  ///< "/a/../b" becomes "/b"
  bool hex_changed = false;                  ///< "%2f" becomes "%2F", and "%41" "A"
};
/// Error: the tool would ask for something else.
[[nodiscard]] base::Result<> check_target(const SnippetRequest& request, const TargetRules& rules);
/// Error: a field comes twice.
[[nodiscard]] base::Result<> check_once(const SnippetRequest& request);

// What each tool is given. Errors name what it cannot send.
[[nodiscard]] base::Result<std::string> curl_snippet(const SnippetRequest& request);
[[nodiscard]] base::Result<std::string> httpie_snippet(const SnippetRequest& request);
[[nodiscard]] base::Result<std::string> wget_snippet(const SnippetRequest& request);
[[nodiscard]] base::Result<std::string> fetch_snippet(const SnippetRequest& request);
[[nodiscard]] base::Result<std::string> requests_snippet(const SnippetRequest& request);

}  // namespace mitm::format
