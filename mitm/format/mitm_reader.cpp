// Lenient where mitmproxy's own reader is strict: a key of another version has its old name or is
// missing, and what cannot be told from it stays unknown.
#include <algorithm>

#include <fmt/format.h>

#include "base/ascii.h"
#include "base/text.h"
#include "mitm/flow/dns_names.h"
#include "mitm/format/dns_data.h"
#include "mitm/format/flow_builder.h"
#include "mitm/format/mitm_file.h"
#include "mitm/format/mitm_metadata.h"
#include "mitm/format/mitm_state.h"
#include "mitm/format/source_buffer.h"
#include "mitm/format/url_parts.h"

namespace mitm::format {
namespace {

using flow::Direction;
using flow::Offset;
using flow::Time;
using Kind = TnetValue::Kind;

constexpr int kOldest = 12, kNewest = 21;
constexpr std::uint16_t kLastPort = 65535;
/// Bytes of one flow: a damaged length must not fill the memory.
constexpr std::size_t kLargestFlow = 1U << 30U;

const TnetValue& member(const TnetValue& dict, std::string_view key) {
  static const TnetValue kNull;
  const TnetValue* const value = dict.find(key);
  return value == nullptr ? kNull : *value;
}

/// The first of the keys that is there: a newer name, an older one.
const TnetValue& member(const TnetValue& dict, std::string_view key, std::string_view old_key) {
  const TnetValue* const value = dict.find(key);
  return value == nullptr ? member(dict, old_key) : *value;
}

bool is_true(const TnetValue& dict, std::string_view key) {
  const TnetValue& value = member(dict, key);
  return value.kind == Kind::boolean && value.truth;
}

std::optional<Time> time_of(const TnetValue& dict, std::string_view key) {
  const auto seconds = member(dict, key).as_real();
  if (!seconds) return std::nullopt;
  return from_seconds(*seconds);
}

Offset since(Time begin, const std::optional<Time>& time) {
  if (!time) return std::nullopt;
  return std::chrono::duration_cast<std::chrono::microseconds>(*time - begin);
}

struct HostAndPort {
  std::string_view host;
  std::uint16_t port = 0;
};

HostAndPort address_of(const TnetValue& pair) {
  if (pair.kind != Kind::list || pair.items.size() < 2) return {};
  const std::int64_t port = pair.items[1].number;
  return {pair.items[0].string(),
          port < 0 || port > kLastPort ? std::uint16_t{0} : static_cast<std::uint16_t>(port)};
}

http::Fields fields_of(const TnetValue& list) {
  http::Fields fields;
  if (list.kind != Kind::list) return fields;
  for (const TnetValue& pair : list.items) {
    if (pair.kind == Kind::list && pair.items.size() == 2)
      fields.add(pair.items[0].string(), pair.items[1].string());
  }
  return fields;
}

std::shared_ptr<const flow::TlsFacts> tls_of(const TnetValue& side) {
  if (!is_true(side, "tls") && !is_true(side, "tls_established")) return nullptr;
  auto tls = std::make_shared<flow::TlsFacts>();
  tls->version = text_of(side, "tls_version");
  tls->cipher = member(side, "cipher", "cipher_name").string();
  tls->alpn = text_of(side, "alpn");
  return tls;
}

/// "HTTP/1.1" is "1.1", "HTTP/2.0" is "2".
std::string version_of(std::string_view text) {
  if (text.starts_with("HTTP/")) text.remove_prefix(5);
  if (text == "2.0" || text == "3.0") text.remove_suffix(2);
  return std::string(text);
}

class StateReader {
 public:
  StateReader(const TnetValue& state, std::uint64_t number)
      : state_(state), meta_(member(state, "metadata")), number_(number) {}

  base::Result<flow::Flow> read() {
    const std::string_view type = member(state_, "type").string();
    read_connection();
    if (type == "http") {
      if (member(state_, "request").kind != Kind::dict) return base::failure("it has no request");
      read_http();
    } else if (type == "tcp" || type == "udp") {
      read_tcp();
    } else if (type == "dns") {
      if (member(state_, "request").kind != Kind::dict) return base::failure("it has no request");
      read_dns();
    } else {
      return base::failure("unknown type '{}' of flow", base::printable(type.substr(0, 20)));
    }
    read_notes();
    return std::move(flow_);
  }

 private:
  void read_connection() {
    const TnetValue& client = member(state_, "client_conn");
    const TnetValue& server = member(state_, "server_conn");
    auto facts = std::make_shared<flow::ConnectionRecord>();
    facts->id = count_of(meta_, meta::kConn).value_or(number_for(member(client, "id").string()));
    facts->opened = time_of(client, "timestamp_start").value_or(Time());
    facts->process = process_of(meta_);
    const auto peer = address_of(member(client, "peername", "address"));
    facts->client = endpoint_of(peer.host, peer.port);
    const auto asked = address_of(member(server, "address"));
    auto reached = address_of(member(server, "peername", "ip_address"));
    if (reached.host.empty()) reached = asked;
    facts->server = endpoint_of(reached.host, reached.port);
    boost::system::error_code no_address;
    boost::asio::ip::make_address(std::string(asked.host), no_address);
    facts->sni = member(client, "sni").string();
    facts->host = no_address ? asked.host : std::string_view(facts->sni);
    facts->tls = tls_of(client);
    facts->upstream_tls = tls_of(server);
    facts->decision = text_of(meta_, meta::kDecision);
    facts->reason = text_of(meta_, meta::kReason);
    facts->times.connect_began = since(facts->opened, time_of(server, "timestamp_start"));
    facts->times.connected = since(facts->opened, time_of(server, "timestamp_tcp_setup"));
    facts->times.upstream_tls_done = since(facts->opened, time_of(server, "timestamp_tls_setup"));
    facts->times.tls_done = since(facts->opened, time_of(client, "timestamp_tls_setup"));
    connection_ = std::move(facts);
  }

  void read_facts(flow::FlowFacts& facts, Time began) {
    facts.id = count_of(meta_, meta::kId).value_or(number_);
    facts.connection = connection_;
    facts.began = began;
    facts.error = text_of(member(state_, "error"), "msg");
    if (facts.error == flow::kInterrupted) facts.error.clear();  // its state says so
    if (const auto duration = member(meta_, meta::kDuration).as_real())
      facts.duration =
          std::chrono::microseconds(std::llround(std::clamp(*duration, 0.0, 1e9) * 1e6));
  }

  /// Of flows that another program has written: until the last thing that happened.
  static void end_by(flow::FlowFacts& facts, const std::optional<Time>& last) {
    if (!facts.duration && last && *last >= facts.began) facts.duration = since(facts.began, last);
  }

  [[nodiscard]] Time created() const {
    const auto created = time_of(state_, "timestamp_created");
    return created ? *created : connection_->opened;
  }

  static std::optional<std::uint64_t> size_of(const TnetValue& content) {
    if (content.is_null()) return std::nullopt;
    return content.string().size();
  }

  void read_request(flow::HttpFlow& http) {
    const TnetValue& state = member(state_, "request");
    flow::Request& request = http.request;
    request.method = text_of(state, "method");
    request.version = version_of(member(state, "http_version").string());
    request.fields = fields_of(member(state, "headers"));
    request.trailers = fields_of(member(state, "trailers"));
    request.scheme = text_of(state, "scheme");
    const TnetValue& content = member(state, "content");
    request.body = body_of(content.string(), is_true(meta_, meta::kRequestCut));
    request.body_bytes = count_of(meta_, meta::kRequestBytes);
    if (!request.body_bytes) request.body_bytes = size_of(content);
    request.ended = since(http.began, time_of(state, "timestamp_end"));
    read_target(state, http);
  }

  void read_target(const TnetValue& state, flow::HttpFlow& http) {
    flow::Request& request = http.request;
    const std::string authority = text_of(state, "authority");
    const std::string path = text_of(state, "path");
    const std::string_view named = request.fields.find("host");
    const auto host = HostAndPort{member(state, "host").string(), port_in(state)};
    const bool binary = request.version == "2" || request.version == "3";
    request.authority = binary && !authority.empty() ? authority : std::string(named);
    request.target = path;
    if (request.method == "CONNECT") {
      request.target = authority.empty() ? fmt::format("{}:{}", host.host, host.port) : authority;
      request.scheme = connection_->tls ? "https" : "http";
      if (request.authority.empty()) request.authority = request.target;
      http.url = request.target;
    } else if (!authority.empty() && !binary) {
      request.target = fmt::format("{}://{}{}", request.scheme, authority, path);
      http.url = request.target;
    } else {
      const std::string shown = request.authority.empty() ? url_host(host.host) : request.authority;
      http.url = make_url(request.scheme, shown, host.port, path);
    }
    http.host = !connection_->host.empty() && connection_->tls ? connection_->host
                                                               : split_url(http.url).host;
  }

  static std::uint16_t port_in(const TnetValue& state) {
    const auto port = count_of(state, "port").value_or(0);
    return port > kLastPort ? std::uint16_t{0} : static_cast<std::uint16_t>(port);
  }

  void read_response(flow::HttpFlow& http) {
    const TnetValue& state = member(state_, "response");
    if (state.kind != Kind::dict) return;
    flow::Response& response = http.response;
    response.status =
        static_cast<int>(std::min<std::uint64_t>(count_of(state, "status_code").value_or(0), 999));
    response.reason = text_of(state, "reason");
    response.fields = fields_of(member(state, "headers"));
    response.trailers = fields_of(member(state, "trailers"));
    const TnetValue& content = member(state, "content");
    response.body = body_of(content.string(), is_true(meta_, meta::kResponseCut));
    response.body_bytes = count_of(meta_, meta::kResponseBytes);
    if (!response.body_bytes) response.body_bytes = size_of(content);
    response.began = since(http.began, time_of(state, "timestamp_start"));
    response.ended = since(http.began, time_of(state, "timestamp_end"));
  }

  void read_http() {
    auto http = std::make_shared<flow::HttpFlow>();
    const TnetValue& request = member(state_, "request");
    read_facts(*http, time_of(request, "timestamp_start").value_or(created()));
    read_request(*http);
    read_response(*http);
    const TnetValue& websocket = member(state_, "websocket");
    auto last = time_of(member(state_, "response"), "timestamp_end");
    if (websocket.kind == Kind::dict) read_websocket(websocket, *http, last);
    if (!last) last = time_of(member(state_, "error"), "timestamp");
    end_by(*http, last);
    flow_.record = std::move(http);
  }

  static Direction direction_of(const TnetValue& from_client) {
    return from_client.truth ? Direction::request : Direction::response;
  }

  static void set_payload(std::string_view payload, http::Message& what) {
    what.payload = payload;
    what.bytes = what.wire_bytes = payload.size();
  }

  void read_websocket(const TnetValue& state, const flow::HttpFlow& http,
                      std::optional<Time>& last) {
    constexpr std::size_t kOldest4 = 4;  // type, from_client, content, timestamp; others came later
    const auto add = [&](Direction direction, Time time) {
      auto message = make_message(http, flow::StreamMessage::Kind::websocket, direction, time);
      flow_.messages.push_back(message);
      last = time;
      return message;
    };
    for (const TnetValue& one : member(state, "messages").items) {
      if (one.kind != Kind::list || one.items.size() < kOldest4) continue;
      const auto message =
          add(direction_of(one.items[1]), from_seconds(one.items[3].as_real().value_or(0)));
      message->what.kind =
          one.items[0].number == 2 ? http::Message::Kind::binary : http::Message::Kind::text;
      set_payload(one.items[2].string(), message->what);
    }
    const auto code = count_of(state, "close_code");
    if (!code) return;
    constexpr std::uint64_t kNoStatus = 1005;
    const bool by_client = is_true(state, "closed_by_client");
    const auto close = add(by_client ? Direction::request : Direction::response,
                           time_of(state, "timestamp_end").value_or(last.value_or(http.began)));
    close->what.kind = http::Message::Kind::close;
    close->what.code = *code == kNoStatus || *code > kLastPort ? 0 : static_cast<int>(*code);
    close->what.reason = text_of(state, "close_reason");
    close->what.bytes = close->what.wire_bytes =
        close->what.code == 0 ? 0 : sizeof(std::uint16_t) + close->what.reason.size();
  }

  void read_tcp() {
    constexpr std::size_t kParts = 3;  // from_client, content, timestamp
    auto tcp = std::make_shared<flow::TcpFlow>();
    read_facts(*tcp, created());
    tcp->kind = flow::tcp_kind(text_of(meta_, meta::kType)).value_or(flow::TcpFlow::Kind::tcp);
    tcp->host = connection_->host;
    tcp->starttls = text_of(meta_, meta::kStarttls);
    std::uint64_t sent = 0, received = 0;
    std::optional<Time> last = time_of(member(state_, "error"), "timestamp");
    for (const TnetValue& one : member(state_, "messages").items) {
      if (one.kind != Kind::list || one.items.size() < kParts) continue;
      last = from_seconds(one.items[2].as_real().value_or(0));
      const auto message = make_message(*tcp, direction_of(one.items[0]), *last);
      set_payload(one.items[1].string(), message->what);
      (one.items[0].truth ? sent : received) += message->what.payload.size();
      flow_.messages.push_back(message);
    }
    const bool ours = meta_.find(meta::kType) != nullptr;
    tcp->request_bytes = count_of(meta_, meta::kRequestBytes);
    tcp->response_bytes = count_of(meta_, meta::kResponseBytes);
    if (!ours) std::tie(tcp->request_bytes, tcp->response_bytes) = std::tie(sent, received);
    end_by(*tcp, last);
    flow_.record = std::move(tcp);
  }

  static std::string dns_name(const TnetValue& record) {
    const std::string name = text_of(record, "name");
    return name.empty() ? "." : name;
  }

  static std::uint16_t short_of(const TnetValue& record, std::string_view key) {
    return static_cast<std::uint16_t>(count_of(record, key).value_or(0));
  }

  void read_dns() {
    auto dns = std::make_shared<flow::DnsFlow>();
    const TnetValue& request = member(state_, "request");
    const TnetValue& response = member(state_, "response");
    read_facts(*dns, time_of(request, "timestamp").value_or(created()));
    const TnetValue& questions = member(request, "questions");
    if (!questions.items.empty()) {
      dns->name = dns_name(questions.items.front());
      dns->type = flow::dns_type_name(short_of(questions.items.front(), "type"));
    }
    if (response.kind == Kind::dict) {
      dns->rcode = flow::dns_rcode_name(short_of(response, "response_code"));
      for (const TnetValue& record : member(response, "answers").items) {
        const std::uint16_t type = short_of(record, "type");
        dns->answers.push_back({dns_name(record), flow::dns_type_name(type),
                                static_cast<std::uint32_t>(count_of(record, "ttl").value_or(0)),
                                dns_data_text(type, member(record, "data").string())});
      }
    }
    dns->request_bytes = count_of(meta_, meta::kRequestBytes);
    dns->response_bytes = count_of(meta_, meta::kResponseBytes);
    end_by(*dns, time_of(response, "timestamp"));
    flow_.record = std::move(dns);
  }

  void read_notes() {
    flow_.uuid = text_of(state_, "id");
    flow_.notes.comment = text_of(state_, "comment");
    flow_.notes.mark =
        is_true(state_, "marked") ? ":default:" : text_of(state_, "marked");  // until version 12
    const std::string tags = text_of(meta_, meta::kTags);
    for (std::string_view rest = tags; !rest.empty();) {
      const std::string_view tag = rest.substr(0, rest.find(','));
      flow_.notes.tags.emplace_back(tag);
      rest.remove_prefix(std::min(tag.size() + 1, rest.size()));
    }
    const std::string state = text_of(meta_, meta::kState);
    if (state == "live") flow_.state = flow::Flow::State::live;
    if (state == "interrupted") flow_.state = flow::Flow::State::interrupted;
  }

  const TnetValue& state_;
  const TnetValue& meta_;
  std::uint64_t number_;  ///< of the flow in its file
  std::shared_ptr<const flow::ConnectionRecord> connection_;
  flow::Flow flow_;
};

class MitmReader final : public FlowReader {
 public:
  explicit MitmReader(ByteSource source) : buffer_(std::move(source)) {}

  base::Result<std::optional<flow::Flow>> next() override {
    if (!goes_on_) return std::optional<flow::Flow>();
    const std::uint64_t offset = buffer_.offset();
    auto size = frame();
    if (!size) return stop(offset, size.error());
    if (*size == 0) return std::optional<flow::Flow>();
    const std::string_view whole = buffer_.view().substr(0, *size);
    const std::size_t colon = whole.find(':');
    auto state = parse_tnet(whole.substr(colon + 1, whole.size() - colon - 2), whole.back());
    ++number_;
    auto flow = state ? read_state(*state) : base::Result<flow::Flow>(state.error());
    buffer_.consume(*size);
    if (!flow) return at(offset, flow.error());
    return std::optional<flow::Flow>(std::move(*flow));
  }

  [[nodiscard]] bool goes_on() const override { return goes_on_; }

 private:
  static base::Error at(std::uint64_t offset, const base::Error& error) {
    return base::failure("byte {}: {}", offset, error.text);
  }

  base::Error stop(std::uint64_t offset, const base::Error& error) {
    goes_on_ = false;
    return at(offset, error);
  }

  /// Bytes of the value that begins at the front of the buffer, all of which are there; 0: the
  /// end.
  base::Result<std::size_t> frame() {
    if (auto filled = buffer_.fill(kTnetMaxDigits + 1); !filled) return filled.error();
    const std::string_view view = buffer_.view();
    if (view.empty()) return std::size_t{0};
    std::size_t digits = 0, length = 0;
    for (; digits < std::min(view.size(), kTnetMaxDigits) && base::is_digit(view[digits]); ++digits)
      length = length * 10 + static_cast<std::size_t>(view[digits] - '0');
    if (digits == view.size()) return base::failure("the file ends inside the length of a flow");
    if (digits == 0 || view[digits] != ':')
      return base::failure("expected the length of a flow, found '{}'",
                           base::printable(view.substr(0, digits + 1)));
    if (length > kLargestFlow)
      return base::failure("a flow of {} bytes: expected at most {}", length, kLargestFlow);
    const std::size_t size = digits + 1 + length + 1;
    if (auto filled = buffer_.fill(size); !filled) return filled.error();
    if (buffer_.view().size() >= size) return size;
    return base::failure("the file ends inside a flow: {} of its {} bytes are there",
                         buffer_.view().size(), size);
  }

  base::Result<flow::Flow> read_state(const TnetValue& state) const {
    const TnetValue& version = member(state, "version");
    if (version.kind != Kind::integer && version.kind != Kind::list)
      return base::failure("this is not a flow of mitmproxy");
    if (version.kind == Kind::list || version.number < kOldest || version.number > kNewest) {
      return base::failure("flow format {}: expected {} to {}; mitmproxy itself converts others",
                           version.kind == Kind::list ? 0 : version.number, kOldest, kNewest);
    }
    return StateReader(state, number_).read();
  }

  SourceBuffer buffer_;
  std::uint64_t number_ = 0;
  bool goes_on_ = true;
};

}  // namespace

std::unique_ptr<FlowReader> make_mitm_reader(ByteSource source) {
  return std::make_unique<MitmReader>(std::move(source));
}

}  // namespace mitm::format
