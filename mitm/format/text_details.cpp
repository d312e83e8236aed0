// Foreign bytes pass base::printable on their way here, as those of the first line do.
#include "mitm/format/text_details.h"

#include <limits>
#include <utility>

#include <fmt/chrono.h>

#include "base/text.h"
#include "mitm/format/body_text.h"
#include "mitm/format/line.h"
#include "mitm/http/event_stream.h"
#include "mitm/http/grpc.h"

namespace mitm::format {
namespace {

constexpr std::size_t kRefusedShown = 2048;  ///< bytes of what was refused
constexpr std::size_t kBodyAtDetail3 = 512;
constexpr std::string_view kRequestMark = ">";
constexpr std::string_view kResponseMark = "<";

void append_indented(std::string& out, std::string_view text, const TextStyle& style) {
  out.append(kIndent).append(Line(style.colour).add(text, kDim).text()) += '\n';
}

/// "2026-11-29 21:55 UTC"
std::string minute_text(std::chrono::system_clock::time_point time) {
  return fmt::format("{:%Y-%m-%d %H:%M} UTC",
                     fmt::gmtime(std::chrono::system_clock::to_time_t(time)));
}

void append_fields(std::string& out, std::string_view mark, const http::Fields& fields,
                   const TextStyle& style) {
  for (std::size_t i = 0; i < fields.size(); ++i) {
    const auto [name, value] = fields[i];
    Line line(style.colour);
    line.add(kIndent).add(mark, kDim).add(" ").add(base::printable(name), kCyan).add(": ");
    out.append(line.add(base::printable(value)).text()) += '\n';
  }
}

std::size_t shown_of_bodies(const TextStyle& style) {
  return style.detail == 3 ? kBodyAtDetail3 : std::numeric_limits<std::size_t>::max();
}

void append_recorded(std::string& out, std::string_view mark, const flow::Body& body,
                     const std::optional<std::uint64_t>& total, const http::Fields& fields,
                     const TextStyle& style) {
  std::string scratch;
  std::string text;
  append_body(
      text,
      {body.bytes(scratch), total, fields.find("content-encoding"), fields.find("content-type")},
      {shown_of_bodies(style), mark});
  // An empty line parts the body from the header fields, as in the message itself.
  if (!text.empty()) out.append(kIndent).append(mark).append("\n").append(text);
}

/// Events of a stream and calls of gRPC have been shown one by one while they came; when reading
/// them failed, the body has the rest.
bool shown_as_messages(const flow::HttpFlow& flow, const http::Fields& fields) {
  if (!flow.error.empty()) return false;
  const std::string_view type = fields.find("content-type");
  const std::string_view coding = fields.find("content-encoding");
  const bool coded = !coding.empty() && !http::iequals(coding, "identity");
  return http::is_grpc(type) || (http::is_event_stream(type) && !coded);
}

}  // namespace

void append_facts(std::string& out, const flow::ConnectionRecord& connection,
                  std::string_view http_version, const TextStyle& style) {
  if (const auto& process = connection.process) {
    std::string command;
    for (const std::string& argument : process->argv)
      command.append(command.empty() ? "" : " ") += argument;
    append_indented(
        out,
        fmt::format("{} (user {}, parent {}): {}",
                    base::printable(process->exe.empty() ? process->name : process->exe),
                    base::printable(process->user), process->ppid, base::printable(command)),
        style);
  }
  std::string path = fmt::format("{} → {}", base::to_string(connection.client),
                                 base::to_string(connection.server));
  if (connection.tls)
    path += fmt::format(", {} {}", connection.tls->version, connection.tls->cipher);
  if (connection.tls && !connection.sni.empty()) path += fmt::format(" for {}", connection.sni);
  if (connection.upstream_tls)
    path += fmt::format("; server: {} {}", connection.upstream_tls->version,
                        connection.upstream_tls->cipher);
  if (connection.upstream_tls && connection.upstream_tls->client_certificate == "none")
    path += ", client certificate asked for, none shown";
  else if (connection.upstream_tls && !connection.upstream_tls->client_certificate.empty())
    path += fmt::format(", client certificate {}", connection.upstream_tls->client_certificate);
  if (!http_version.empty()) path += fmt::format(", HTTP/{}", http_version);
  if (!connection.reason.empty())
    path += fmt::format(", {} ({})", connection.decision, connection.reason);
  append_indented(out, base::printable(path), style);
}

/// "server's certificate: CN = one.test (one.test, two.test), issued by CN = e2e CA, valid ...";
/// then those that it sent with it.
void append_certificates(std::string& out, const flow::ConnectionRecord& connection,
                         const TextStyle& style) {
  constexpr std::size_t kNamesShown = 5;
  const auto& upstream = connection.upstream_tls;
  if (!upstream || !upstream->certificates) return;
  std::string_view what = "server's certificate";
  for (const auto& facts : *upstream->certificates) {
    std::string line = fmt::format("{}: {}", std::exchange(what, "  sent with it"),
                                   facts.subject.empty() ? "no subject" : facts.subject);
    const std::size_t shown = std::min(facts.names.size(), kNamesShown);
    const auto end = facts.names.begin() + static_cast<std::ptrdiff_t>(shown);
    if (shown > 0) line += fmt::format(" ({}", fmt::join(facts.names.begin(), end, ", "));
    if (shown > 0)
      line += facts.names.size() > shown ? fmt::format(" and {} more)", facts.names.size() - shown)
                                         : ")";
    line += fmt::format(", issued by {}, valid {} to {}",
                        facts.issuer == facts.subject ? "itself" : facts.issuer,
                        minute_text(facts.not_before), minute_text(facts.not_after));
    append_indented(out, base::printable(line), style);
  }
}

void append_request_and_response(std::string& out, const flow::HttpFlow& flow, bool ended,
                                 const TextStyle& style) {
  const auto append = [&](std::string_view mark, const auto& message) {
    append_fields(out, mark, message.fields, style);
    if (style.detail >= 3 && ended && !shown_as_messages(flow, message.fields))
      append_recorded(out, mark, message.body, message.body_bytes, message.fields, style);
    append_fields(out, mark, message.trailers, style);
  };
  append(kRequestMark, flow.request);
  append(kResponseMark, flow.response);
}

void append_payload(std::string& out, const flow::StreamMessage& message, const TextStyle& style) {
  const http::Message& what = message.what;
  if (style.detail < 3 || !what.bytes || what.kind == http::Message::Kind::close) return;
  const bool from_server = message.direction == flow::Direction::response;
  append_body(out, {what.payload, what.bytes, {}},
              {shown_of_bodies(style), from_server ? kResponseMark : kRequestMark});
}

void append_refused(std::string& out, std::string_view refused, const TextStyle& style) {
  std::string_view rest = refused.substr(0, kRefusedShown);
  while (!rest.empty()) {
    const auto end = std::min(rest.find('\n'), rest.size());
    auto line = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    out.append(
        Line(style.colour).add(kIndent).add("!", kRed).add(" ").add(base::printable(line)).text());
    out += '\n';
  }
}

}  // namespace mitm::format
