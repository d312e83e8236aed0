// Flows for people, in the spirit of mitmdump: one line each, more below it when asked for. Foreign
// bytes pass base::printable on their way here: what a server sends cannot drive the terminal.
#include "base/text.h"

#include <algorithm>
#include <ctime>
#include <utility>

#include <boost/beast/http/status.hpp>
#include <fmt/format.h>

#include "mitm/format/dns_repeats.h"
#include "mitm/format/line.h"
#include "mitm/format/output.h"
#include "mitm/format/sinks.h"
#include "mitm/format/text_details.h"
#include "mitm/format/units.h"
#include "mitm/http/grpc.h"
#include "procmap/program_names.h"

namespace mitm::format {
namespace {

constexpr std::size_t kColumns = 120;      ///< of a line at detail 1
constexpr std::size_t kShortestUrl = 40;   ///< shown even when the line grows longer than that
constexpr std::size_t kShortestSaid = 20;  ///< likewise, of a message
constexpr std::size_t kScript = 30;        ///< columns at most, of the script of an interpreter
constexpr std::chrono::microseconds kShortestDuration{50};
constexpr std::size_t kEditor = 60;       ///< columns at most
constexpr std::size_t kGrpcFailure = 60;  ///< columns at most

/// At which detail a message is shown.
int detail_of(const flow::StreamMessage& message) {
  using Kind = http::Message::Kind;
  return message.what.kind == Kind::ping || message.what.kind == Kind::pong ? 2 : 1;
}

/// The time of day where osproxy runs: "09:26:50".
std::string clock_text(flow::Time time) {
  const std::time_t seconds = std::chrono::system_clock::to_time_t(time);
  std::tm local{};
  ::localtime_r(&seconds, &local);
  return fmt::format("{:02}:{:02}:{:02}", local.tm_hour, local.tm_min, local.tm_sec);
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

/// What every line begins with: when what it shows has begun, and whose it is.
Line begun_line(flow::Time began, const flow::ConnectionRecord& connection, bool colour) {
  Line line(colour);
  line.add(clock_text(began), kDim).add(" ");
  add_process(line, connection);
  return line;
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

/// Nothing where it would be 0.0ms: such a flow failed before it began.
void add_duration(Line& line, const flow::Offset& duration) {
  if (duration && *duration >= kShortestDuration) line.add(" ").add(duration_text(*duration), kDim);
}

void add_error(Line& line, std::string_view error) {
  if (!error.empty()) line.add(" ✗ ", kRed).add(base::printable(error), kRed);
}

/// Who changed or answered it: "edited by no cache"; of what was delayed or not done: "rule slow".
void add_edits(Line& line, const flow::HttpFlow& flow) {
  if (!flow.edits) return;
  const flow::Edits& edits = *flow.edits;
  const std::string_view word = edits.answered                    ? " answered by "
                                : edits.request || edits.response ? " edited by "
                                                                  : " rule ";
  std::string by;
  for (const std::string& name : edits.by) by.append(by.empty() ? "" : ", ").append(name);
  line.add(word, kDim);
  line.add(shortened(base::printable(by), kEditor), kCyan);
}

/// "09:26:50 curl[1234] GET https://example.org/path → 200 OK 1.2k 34ms"
Line http_line(const flow::HttpFlow& flow, bool ended, const TextStyle& style) {
  Line tail(style.colour);
  add_status(tail, flow, ended);
  if (ended && flow.response.status != 0 && flow.response.body_bytes)
    tail.add(" ").add(size_text(*flow.response.body_bytes), kDim);
  if (ended) add_duration(tail, flow.duration);
  if (!ended)
    tail.add(flow.response.status == 0 ? ", waiting for the response" : ", under way", kDim);

  Line line = begun_line(flow.began, *flow.connection, style.colour);
  const std::string& method = flow.request.method;
  line.add(method.empty() ? "http" : base::printable(method)).add(" ");
  const std::string url =
      flow.url.empty() ? destination(flow.host, *flow.connection) : base::printable(flow.url);
  const std::size_t used = line.columns() + tail.columns();
  const std::size_t room = std::max(kColumns - std::min(kColumns, used), kShortestUrl);
  line.add(style.detail == 1 ? shortened(url, room) : url).add(tail);
  add_edits(line, flow);
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

/// "09:26:50 node[77] websocket wss://example.org/chat ↓ text 5b hello"
Line message_line(const flow::StreamMessage& stream_message, const TextStyle& style) {
  const http::Message& message = stream_message.what;
  const bool from_server = stream_message.direction == flow::Direction::response;
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

  Line line = begun_line(stream_message.time, *stream_message.connection, style.colour);
  line.add(to_string(stream_message.kind)).add(" ");
  const std::string url = stream_message.url.empty()
                              ? destination(stream_message.host, *stream_message.connection)
                              : base::printable(stream_message.url);
  line.add(style.detail == 1 ? shortened(url, kShortestUrl) : url).add(tail);
  const std::size_t room = kColumns - std::min(kColumns - kShortestSaid, line.columns());
  const std::string words =
      style.detail < 3 || message.kind == http::Message::Kind::close ? said(message, room) : "";
  if (!words.empty()) line.add(" ").add(words);
  return line;
}

/// A failed handshake is "tls" here: the error behind it says the rest.
std::string_view kind_text(flow::TcpFlow::Kind kind) {
  return kind == flow::TcpFlow::Kind::tls_error ? "tls" : to_string(kind);
}

std::string_view kind_colour(flow::TcpFlow::Kind kind) {
  using Kind = flow::TcpFlow::Kind;
  if (kind == Kind::tls_error || kind == Kind::block) return kRed;
  return kind == Kind::pass ? kDim : kPlain;
}

/// "09:26:50 ssh[77] tcp 10.0.0.1:22 1.2k up 3.4k down 2.30s"; of passed and blocked connections
/// also why.
Line connection_line(const flow::TcpFlow& flow, bool ended, const TextStyle& style) {
  using Kind = flow::TcpFlow::Kind;
  const flow::ConnectionRecord& connection = *flow.connection;
  Line line = begun_line(flow.began, connection, style.colour);
  line.add(kind_text(flow.kind), kind_colour(flow.kind)).add(" ");
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

/// "09:26:50 curl[1234] dns A example.org → 93.184.216.34 1.2ms"
Line dns_line(const flow::DnsFlow& dns, const TextStyle& style) {
  Line line = begun_line(dns.began, *dns.connection, style.colour);
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

std::string http_text(const flow::HttpFlow& flow, bool ended, const TextStyle& style) {
  std::string out = http_line(flow, ended, style).text() + '\n';
  if (style.detail < 2) return out;
  append_facts(out, *flow.connection, flow.request.version, style);
  append_certificates(out, *flow.connection, style);
  append_request_and_response(out, flow, ended, style);
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

std::string message_text(const flow::StreamMessage& stream_message, const TextStyle& style) {
  if (style.detail < detail_of(stream_message)) return {};
  std::string out = message_line(stream_message, style).text() + '\n';
  append_payload(out, stream_message, style);
  return out;
}

class TextSink final : public flow::Subscriber {
 public:
  TextSink(base::UniqueFd out, std::string name, TextStyle style)
      : out_(std::move(out)), name_(std::move(name)), style_(style) {
    ::tzset();  // before the worker is confined
  }
  TextSink(const TextSink&) = delete;
  TextSink& operator=(const TextSink&) = delete;
  ~TextSink() override {
    append_lookups(repeats_.take_all());
    (void)out_.flush();  // the bus has reported an error of its last flush
  }

  base::Result<> write(const flow::Event& event) override {
    const auto* dns = std::get_if<flow::DnsEnd>(&event);
    if (style_.detail == 1 && dns && !repeats_.shows(dns->flow)) return {};
    out_.buffer() += render_text(event, style_);
    return out_.write_if_large();
  }
  base::Result<> flush() override {
    append_lookups(repeats_.take_overdue(std::chrono::system_clock::now()));
    return out_.flush();
  }
  [[nodiscard]] flow::EventSet wants() const override { return kShownEvents; }
  [[nodiscard]] const std::string& name() const override { return name_; }

 private:
  void append_lookups(const std::list<DnsRepeats::Flow>& lookups) {
    for (const auto& dns : lookups) out_.buffer() += dns_text(*dns, style_);
  }

  Output out_;
  std::string name_;
  TextStyle style_;
  DnsRepeats repeats_;  ///< at detail 1
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
