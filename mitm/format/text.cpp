// Flows for people, in the spirit of mitmdump: one line each, more below it when asked for. Foreign
// bytes pass base::printable on their way here: what a server sends cannot drive the terminal.
#include "base/text.h"

#include <algorithm>
#include <limits>
#include <utility>

#include <boost/beast/http/status.hpp>
#include <fmt/chrono.h>

#include "mitm/format/body_text.h"
#include "mitm/format/output.h"
#include "mitm/format/sinks.h"
#include "mitm/format/units.h"
#include "mitm/http/grpc.h"
#include "procmap/program_names.h"

namespace mitm::format {
namespace {

constexpr std::size_t kColumns = 120;        ///< of a line at detail 1
constexpr std::size_t kShortestUrl = 40;     ///< shown even when the line grows longer than that
constexpr std::size_t kShortestSaid = 20;    ///< likewise, of a message
constexpr std::size_t kRefusedShown = 2048;  ///< bytes of what was refused
constexpr std::size_t kScript = 30;          ///< columns at most, of the script of an interpreter
constexpr std::size_t kGrpcFailure = 60;     ///< columns at most
constexpr std::size_t kBodyAtDetail3 = 512;

// SGR parameters of ECMA-48.
constexpr std::string_view kPlain = "";
constexpr std::string_view kBold = "1";
constexpr std::string_view kDim = "2";
constexpr std::string_view kRed = "31";
constexpr std::string_view kGreen = "32";
constexpr std::string_view kYellow = "33";
constexpr std::string_view kCyan = "36";

std::size_t columns(std::string_view utf8) {
  return static_cast<std::size_t>(
      std::count_if(utf8.begin(), utf8.end(), [](char c) { return (c & 0xc0) != 0x80; }));
}

/// The first `limit` columns, the last one an ellipsis when something is missing.
std::string shortened(std::string_view utf8, std::size_t limit) {
  if (columns(utf8) <= limit) return std::string(utf8);
  std::size_t end = 0;
  for (std::size_t seen = 0; end < utf8.size(); ++end) {
    if ((utf8[end] & 0xc0) != 0x80 && ++seen == limit) break;
  }
  return std::string(utf8.substr(0, end)) + "…";
}

/// A line under construction that knows how wide it is.
class Line {
 public:
  explicit Line(bool colour) : colour_(colour) {}

  Line& add(std::string_view text, std::string_view sgr = kPlain) {
    columns_ += format::columns(text);
    if (!colour_ || sgr.empty()) {
      text_ += text;
    } else {
      text_.append("\x1b[").append(sgr).append("m").append(text).append("\x1b[0m");
    }
    return *this;
  }
  Line& add(const Line& other) {
    columns_ += other.columns_;
    text_ += other.text_;
    return *this;
  }
  [[nodiscard]] std::size_t columns() const { return columns_; }
  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  bool colour_;
  std::size_t columns_ = 0;
  std::string text_;
};

/// At which detail a message is shown.
int detail_of(const flow::StreamMessage& message) {
  using Kind = http::Message::Kind;
  return message.what.kind == Kind::ping || message.what.kind == Kind::pong ? 2 : 1;
}

void add_process(Line& line, const flow::ConnectionRecord& connection) {
  const auto& process = connection.process;
  if (!process) {
    line.add("?", kBold).add(" ");
    return;
  }
  line.add(base::printable(process->name), kBold);
  const auto script = procmap::script_name(process->exe.empty() ? process->name : process->exe,
                                           process->other_names);
  if (!script.empty()) line.add(" ").add(shortened(base::printable(script), kScript), kBold);
  line.add(fmt::format("[{}] ", process->id.pid), kDim);
}

/// "example.org:443 (93.184.216.34)", or the address alone.
std::string destination(std::string_view host, const flow::ConnectionRecord& connection) {
  if (host.empty()) return base::to_string(connection.server);
  return fmt::format("{}:{} ({})", base::printable(host), connection.server.port(),
                     base::unmapped(connection.server.address()).to_string());
}

std::string_view status_colour(int status) {
  if (status >= 500) return kRed;
  if (status >= 400) return kYellow;
  return status >= 300 ? kCyan : kGreen;
}

void add_status(Line& line, const flow::HttpFlow& flow, bool ended) {
  const flow::Response& response = flow.response;
  if (response.status == 0 && !ended) return;
  line.add(" → ", kDim);
  if (response.status == 0) {
    line.add(response.body_bytes.value_or(0) > 0 ? "no status" : "no response", kYellow);
    return;
  }
  namespace beast_http = boost::beast::http;
  const auto known = beast_http::int_to_status(static_cast<unsigned>(response.status));
  std::string text = std::to_string(response.status);
  if (known != beast_http::status::unknown)
    text.append(" ").append(beast_http::obsolete_reason(known));
  line.add(text, status_colour(response.status));
  const std::string failure = http::grpc_failure(response.fields, response.trailers);
  if (!failure.empty()) line.add(" ").add(shortened(base::printable(failure), kGrpcFailure), kRed);
}

void add_duration(Line& line, const flow::Offset& duration) {
  if (duration) line.add(" ").add(duration_text(*duration), kDim);
}

void add_error(Line& line, std::string_view error) {
  if (!error.empty()) line.add(" ✗ ", kRed).add(base::printable(error), kRed);
}

/// "curl[1234] GET https://example.org/path → 200 OK 1.2k 34ms"
Line http_line(const flow::HttpFlow& flow, bool ended, const TextStyle& style) {
  Line tail(style.colour);
  add_status(tail, flow, ended);
  if (ended && flow.response.status != 0 && flow.response.body_bytes)
    tail.add(" ").add(size_text(*flow.response.body_bytes), kDim);
  if (ended) add_duration(tail, flow.duration);
  if (!ended)
    tail.add(flow.response.status == 0 ? ", waiting for the response" : ", under way", kDim);

  Line line(style.colour);
  add_process(line, *flow.connection);
  const std::string& method = flow.request.method;
  line.add(method.empty() ? "http" : base::printable(method)).add(" ");
  const std::string url =
      flow.url.empty() ? destination(flow.host, *flow.connection) : base::printable(flow.url);
  const std::size_t used = line.columns() + tail.columns();
  const std::size_t room = std::max(kColumns - std::min(kColumns, used), kShortestUrl);
  line.add(style.detail == 1 ? shortened(url, room) : url).add(tail);
  add_error(line, flow.error);
  return line;
}

/// What a message says, as far as it fits into a line.
std::string said(const http::Message& message, std::size_t room) {
  if (message.kind == http::Message::Kind::close) {
    std::string text = message.code == 0 ? std::string() : std::to_string(message.code);
    if (!message.reason.empty()) text.append(" ").append(base::printable(message.reason));
    return text;
  }
  const bool text =
      message.kind == http::Message::Kind::text || message.kind == http::Message::Kind::event;
  // A character has at most four bytes; what is hidden by the end of the line need not be made
  // printable.
  return text ? shortened(base::printable(std::string_view(message.payload).substr(0, 4 * room)),
                          room)
              : std::string();
}

/// "node[77] websocket wss://example.org/chat ↓ text 5b hello"
Line message_line(const flow::StreamMessage& said_in, const TextStyle& style) {
  const http::Message& message = said_in.what;
  const bool from_server = said_in.direction == flow::Direction::response;
  Line tail(style.colour);
  tail.add(from_server ? " ↓ " : " ↑ ", kDim).add(to_string(message.kind));
  if (!message.name.empty()) tail.add(" ").add(base::printable(message.name));
  if (!message.id.empty()) tail.add(" #").add(base::printable(message.id));
  if (message.kind != http::Message::Kind::close)
    tail.add(" ").add(size_text(message.bytes.value_or(message.wire_bytes)), kDim);
  if (message.compressed)
    tail.add(message.bytes ? fmt::format(" ({} on the wire)", size_text(message.wire_bytes))
                           : " (compressed)",
             kDim);

  Line line(style.colour);
  add_process(line, *said_in.connection);
  line.add(to_string(said_in.kind)).add(" ");
  const std::string url = said_in.url.empty() ? destination(said_in.host, *said_in.connection)
                                              : base::printable(said_in.url);
  line.add(style.detail == 1 ? shortened(url, kShortestUrl) : url).add(tail);
  const std::size_t room = kColumns - std::min(kColumns - kShortestSaid, line.columns());
  const std::string words =
      style.detail < 3 || message.kind == http::Message::Kind::close ? said(message, room) : "";
  if (!words.empty()) line.add(" ").add(words);
  return line;
}

std::string_view kind_colour(flow::TcpFlow::Kind kind) {
  using Kind = flow::TcpFlow::Kind;
  if (kind == Kind::tls_error || kind == Kind::block) return kRed;
  return kind == Kind::pass ? kDim : kPlain;
}

/// "ssh[77] tcp 10.0.0.1:22 1.2k up 3.4k down 2.30s"; of passed and blocked connections also why.
Line connection_line(const flow::TcpFlow& flow, bool ended, const TextStyle& style) {
  using Kind = flow::TcpFlow::Kind;
  const flow::ConnectionRecord& connection = *flow.connection;
  Line line(style.colour);
  add_process(line, connection);
  line.add(to_string(flow.kind), kind_colour(flow.kind)).add(" ");
  line.add(destination(flow.host, connection));
  if (!flow.starttls.empty()) line.add(" ").add(base::printable(flow.starttls)).add(" STARTTLS");
  if (connection.tls && flow.kind == Kind::tcp)
    line.add(" ").add(base::printable(connection.tls->version));
  if (ended && flow.request_bytes)
    line.add(fmt::format(" {} up", size_text(*flow.request_bytes)), kDim);
  if (ended && flow.response_bytes)
    line.add(fmt::format(" {} down", size_text(*flow.response_bytes)), kDim);
  if (ended) add_duration(line, flow.duration);
  if (!ended) line.add(", under way", kDim);
  const bool left_alone = flow.kind == Kind::pass || flow.kind == Kind::block;
  if (left_alone && !connection.reason.empty())
    line.add(": ").add(base::printable(connection.reason));
  add_error(line, flow.error);
  return line;
}

/// "curl[1234] dns A example.org → 93.184.216.34 1.2ms"
Line dns_line(const flow::DnsFlow& dns, const TextStyle& style) {
  Line line(style.colour);
  add_process(line, *dns.connection);
  line.add("dns").add(" ").add(base::printable(dns.type)).add(" ");
  line.add(dns.name.empty() ? "." : base::printable(dns.name));
  std::vector<std::string> found;
  for (const auto& answer : dns.answers) {
    if (answer.type == dns.type) found.push_back(base::printable(answer.data));
  }
  const bool good = dns.rcode == "NOERROR";
  const std::string text = !good           ? dns.rcode
                           : found.empty() ? "no such records"
                                           : fmt::format("{}", fmt::join(found, ", "));
  if (!dns.rcode.empty())
    line.add(" → ", kDim).add(text, good && !found.empty() ? kPlain : kYellow);
  add_duration(line, dns.duration);
  add_error(line, dns.error);
  return line;
}

void append_indented(std::string& out, std::string_view text, const TextStyle& style) {
  out.append(kIndent).append(Line(style.colour).add(text, kDim).text()) += '\n';
}

/// "2026-11-29 21:55 UTC"
std::string minute_text(std::chrono::system_clock::time_point time) {
  return fmt::format("{:%Y-%m-%d %H:%M} UTC",
                     fmt::gmtime(std::chrono::system_clock::to_time_t(time)));
}

/// Who, from where to where, over what, and why it was intercepted.
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

void append_recorded(std::string& out, const flow::Body& body,
                     const std::optional<std::uint64_t>& total, const http::Fields& fields,
                     const TextStyle& style) {
  std::string scratch;
  append_body(
      out,
      {body.bytes(scratch), total, fields.find("content-encoding"), fields.find("content-type")},
      shown_of_bodies(style));
}

void append_messages(std::string& out, const flow::HttpFlow& flow, bool ended,
                     const TextStyle& style) {
  const auto& [request, response] = std::tie(flow.request, flow.response);
  const bool bodies = style.detail >= 3 && ended;
  append_fields(out, ">", request.fields, style);
  if (bodies) append_recorded(out, request.body, request.body_bytes, request.fields, style);
  append_fields(out, "<", response.fields, style);
  if (bodies) append_recorded(out, response.body, response.body_bytes, response.fields, style);
  append_fields(out, ">", request.trailers, style);
  append_fields(out, "<", response.trailers, style);
}

/// "! GET / HTTP/1.1\\x0dA: b", a line each.
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

std::string http_text(const flow::HttpFlow& flow, bool ended, const TextStyle& style) {
  std::string out = http_line(flow, ended, style).text() + '\n';
  if (style.detail < 2) return out;
  append_facts(out, *flow.connection, flow.request.version, style);
  append_certificates(out, *flow.connection, style);
  append_messages(out, flow, ended, style);
  append_refused(out, flow.refused, style);
  return out;
}

/// At detail 1 only what ends, and nothing of connections that pass.
std::string connection_text(const flow::TcpFlow& flow, bool ended, const TextStyle& style) {
  if (style.detail < 2 && (!ended || flow.kind == flow::TcpFlow::Kind::pass)) return {};
  std::string out = connection_line(flow, ended, style).text() + '\n';
  if (style.detail < 2) return out;
  append_facts(out, *flow.connection, {}, style);
  append_certificates(out, *flow.connection, style);
  return out;
}

std::string dns_text(const flow::DnsFlow& flow, const TextStyle& style) {
  std::string out = dns_line(flow, style).text() + '\n';
  if (style.detail >= 2) append_facts(out, *flow.connection, {}, style);
  return out;
}

/// The process and the server stand in the text of its flow.
std::string message_text(const flow::StreamMessage& said_in, const TextStyle& style) {
  if (style.detail < detail_of(said_in)) return {};
  std::string out = message_line(said_in, style).text() + '\n';
  const http::Message& message = said_in.what;
  if (style.detail >= 3 && message.bytes)
    append_body(out, {message.payload, message.bytes, {}}, shown_of_bodies(style));
  return out;
}

class TextSink final : public flow::Subscriber {
 public:
  TextSink(base::UniqueFd out, std::string name, TextStyle style)
      : out_(std::move(out)), name_(std::move(name)), style_(style) {}

  base::Result<> write(const flow::Event& event) override {
    out_.buffer() += render_text(event, style_);
    return out_.write_if_large();
  }
  base::Result<> flush() override { return out_.flush(); }
  [[nodiscard]] flow::EventSet wants() const override { return kShownEvents; }
  [[nodiscard]] const std::string& name() const override { return name_; }

 private:
  Output out_;
  std::string name_;
  TextStyle style_;
};

}  // namespace

std::string render_text(const flow::Event& event, const TextStyle& style) {
  if (style.detail < 1) return {};
  return std::visit(
      [&]<class Kind>(const Kind& it) -> std::string {
        if constexpr (std::is_same_v<Kind, flow::HttpUnderWay>) {
          return http_text(*it.flow, false, style);
        } else if constexpr (std::is_same_v<Kind, flow::HttpEnd>) {
          return http_text(*it.flow, true, style);
        } else if constexpr (std::is_same_v<Kind, flow::TcpBegin>) {
          return connection_text(*it.flow, false, style);
        } else if constexpr (std::is_same_v<Kind, flow::TcpEnd>) {
          return connection_text(*it.flow, true, style);
        } else if constexpr (std::is_same_v<Kind, flow::DnsEnd>) {
          return dns_text(*it.flow, style);
        } else if constexpr (std::is_same_v<Kind, flow::Message>) {
          return message_text(*it.message, style);
        } else {
          return {};
        }
      },
      event);
}

std::unique_ptr<flow::Subscriber> make_text_sink(base::UniqueFd out, std::string name,
                                                 TextStyle style) {
  return std::make_unique<TextSink>(std::move(out), std::move(name), style);
}

}  // namespace mitm::format
