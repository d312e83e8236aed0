#include "mitm/format/snippets.h"

#include <fmt/format.h>

#include "base/ascii.h"
#include "mitm/format/snippet_request.h"

namespace mitm::format {
namespace {

/// HTTP/1.1 as it went over the wire, or would have; the body without chunks.
base::Result<std::string> raw_request(const flow::Flow& flow) {
  if (flow.http() == nullptr)
    return base::failure("a flow of type {} has no request that could be sent", flow.type());
  const flow::Request& request = flow.http()->request;
  if (auto whole = check_body(flow); !whole) return whole.error();
  std::string out = fmt::format("{} {} HTTP/1.1\r\n", request.method, request.target);
  bool host = false, length = false;
  for (std::size_t i = 0; i < request.fields.size(); ++i) {
    const auto [name, value] = request.fields[i];
    if (base::iequals(name, "transfer-encoding")) continue;
    host = host || base::iequals(name, "host");
    length = length || base::iequals(name, "content-length");
    out += fmt::format("{}: {}\r\n", name, value);
  }
  if (!host) out += fmt::format("Host: {}\r\n", request.authority);
  if (!length && !request.body.empty())
    out += fmt::format("Content-Length: {}\r\n", request.body.size());
  return out + "\r\n" + request.body.text();
}

base::Result<std::string> text_of(Snippet snippet, const flow::Flow& flow) {
  if (snippet == Snippet::raw) return raw_request(flow);
  const auto request = snippet_request(flow);
  if (!request) return request.error();
  switch (snippet) {
    case Snippet::curl:
      return curl_snippet(*request);
    case Snippet::httpie:
      return httpie_snippet(*request);
    case Snippet::wget:
      return wget_snippet(*request);
    case Snippet::fetch:
      return fetch_snippet(*request);
    default:
      return requests_snippet(*request);
  }
}

class SnippetWriter final : public FlowWriter {
 public:
  explicit SnippetWriter(Snippet snippet) : snippet_(snippet) {}

  base::Result<> write(const flow::Flow& flow, std::string& out) override {
    auto text = text_of(snippet_, flow);
    if (!text) return base::failure("{}: {}", to_string(snippet_), text.error().text);
    out += *text;
    return {};
  }

 private:
  Snippet snippet_;
};

}  // namespace

std::string_view to_string(Snippet snippet) {
  constexpr std::string_view kNames[] = {"curl", "httpie", "wget", "fetch", "requests", "raw"};
  return kNames[static_cast<std::size_t>(snippet)];
}

std::unique_ptr<FlowWriter> make_snippet_writer(Snippet snippet) {
  return std::make_unique<SnippetWriter>(snippet);
}

}  // namespace mitm::format
