// TLS by its record header and ClientHello (RFC 8446), HTTP by its request line, everything else
// raw. The order is mitmproxy's; its HTTP guess is made stricter, because a text protocol that is
// taken for HTTP is broken, while HTTP that is taken for raw is only not shown. Beginnings wait for
// more bytes.
#include "divert/first_bytes.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "divert/proxy_header.h"

namespace divert {
namespace {

constexpr std::string_view kHttp2Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
constexpr std::size_t kRecordHeader = 5;
constexpr std::size_t kMaxRecord = 16384;  // plaintext, RFC 8446 section 5.1
constexpr std::size_t kMaxMethod = 32;
constexpr std::size_t kMaxScheme = 16;
constexpr std::size_t kMaxName = 253;

bool is_letter(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}
bool is_digit(char c) {
  return c >= '0' && c <= '9';
}
char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
}

std::string lowered(std::string_view text) {
  std::string out(text);
  std::ranges::transform(out, out.begin(), lower);
  return out;
}

/// A name as DNS has it, in lower case and without its last dot; empty when `text` is none.
std::string dns_name(std::string_view text) {
  if (text.ends_with('.')) text.remove_suffix(1);
  if (text.size() > kMaxName) return {};
  std::size_t label = 0;
  for (const char c : text) {
    if (c == '.' ? label == 0 : !(is_letter(c) || is_digit(c) || c == '-' || c == '_')) return {};
    label = c == '.' ? 0 : label + 1;
    if (label > 63) return {};
  }
  return label > 0 ? lowered(text) : std::string();
}

/// Big-endian fields of a TLS structure. Reading past its end makes it bad, and bad gives zeros and
/// nothing.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}

  std::string_view take(std::size_t size) {
    good_ = good_ && size <= bytes_.size();
    if (!good_) return {};
    const auto taken = bytes_.substr(0, size);
    bytes_.remove_prefix(size);
    return taken;
  }
  std::size_t number(std::size_t size) {
    std::size_t value = 0;
    for (const char c : take(size)) value = value << 8 | static_cast<unsigned char>(c);
    return value;
  }
  std::uint16_t number16() { return static_cast<std::uint16_t>(number(2)); }
  /// A vector behind its length of `size` bytes.
  Reader vector(std::size_t size) {
    Reader inner{take(number(size))};
    inner.good_ = good_;
    return inner;
  }
  /// All that is left as numbers of two bytes; none when that does not come out even.
  std::vector<std::uint16_t> numbers16() {
    std::vector<std::uint16_t> list;
    if (!good_ || bytes_.size() % 2 != 0) return list;
    list.reserve(bytes_.size() / 2);
    while (more()) list.push_back(number16());
    return list;
  }
  [[nodiscard]] bool good() const { return good_; }
  [[nodiscard]] bool more() const { return good_ && !bytes_.empty(); }
  [[nodiscard]] std::string_view rest() const { return bytes_; }

 private:
  std::string_view bytes_;
  bool good_ = true;
};

std::string server_name(Reader extension) {
  for (Reader list = extension.vector(2); list.more();) {
    const auto type = list.number(1);
    const Reader name = list.vector(2);
    if (name.good() && type == 0) return dns_name(name.rest());
  }
  return {};
}

std::vector<std::string> protocol_names(Reader extension) {
  std::vector<std::string> names;
  for (Reader list = extension.vector(2); list.more();) {
    const Reader name = list.vector(1);
    if (!name.more()) return {};
    names.emplace_back(name.rest());
  }
  return names;
}

/// GREASE values (RFC 8701) and drafts are no versions.
void read_versions(Reader extension, ClientHello& hello) {
  hello.max_version = hello.min_version = 0;
  for (const auto version : extension.vector(1).numbers16()) {
    if (version >> 8 != 3) continue;
    hello.max_version = std::max(hello.max_version, version);
    hello.min_version = hello.min_version == 0 ? version : std::min(hello.min_version, version);
  }
}

void read_extension(std::uint16_t type, Reader extension, ClientHello& hello) {
  switch (type) {
    case 0:  // server_name, RFC 6066
      hello.sni = server_name(extension);
      break;
    case 10:  // supported_groups
      hello.groups = extension.vector(2).numbers16();
      break;
    case 13:  // signature_algorithms
      hello.signature_algorithms = extension.vector(2).numbers16();
      break;
    case 16:  // application_layer_protocol_negotiation, RFC 7301
      hello.alpn = protocol_names(extension);
      break;
    case 41:  // pre_shared_key, RFC 8446
      hello.psk = true;
      break;
    case 43:  // supported_versions
      read_versions(extension, hello);
      break;
    case 0xfe0d:
      hello.encrypted_client_hello = true;
      break;
    case 0xffce:
      hello.encrypted_server_name = true;
      break;
    default:
      break;
  }
}

/// IANA's TLS_PSK_, TLS_DHE_PSK_, TLS_ECDHE_PSK_ and TLS_RSA_PSK_, as ranges: RFC 4279, 4785, 5487,
/// 5489, 6209, 6367, 6655, 7905, 8442.
constexpr std::pair<std::uint16_t, std::uint16_t> kPskSuites[] = {
    {0x002c, 0x002e}, {0x008a, 0x0095}, {0x00a8, 0x00b9}, {0xc033, 0xc03b}, {0xc064, 0xc071},
    {0xc08e, 0xc09b}, {0xc0a4, 0xc0ab}, {0xccab, 0xccae}, {0xd001, 0xd005}};

bool is_psk_suite(std::uint16_t suite) {
  return std::ranges::any_of(
      kPskSuites, [&](const auto& range) { return suite >= range.first && suite <= range.second; });
}

bool is_grease(std::uint16_t value) {
  return (value & 0x0f0f) == 0x0a0a && value >> 8 == (value & 0xff);
}

/// What the suites mean together with the extensions.
void judge_suites(ClientHello& hello) {
  constexpr std::uint16_t kTls13 = 0x0304;
  bool with_certificate = hello.max_version >= kTls13 && !hello.signature_algorithms.empty();
  for (const auto suite : hello.ciphers) {
    const bool psk = is_psk_suite(suite), grease = is_grease(suite);
    hello.psk = hello.psk || psk;
    hello.grease = hello.grease || grease;
    // TLS 1.3's say nothing of keys, and two values are signals (RFC 5746, RFC 7507).
    const bool neutral = psk || grease || suite >> 8 == 0x13 || suite == 0x00ff || suite == 0x5600;
    with_certificate = with_certificate || !neutral;
  }
  hello.psk_only = hello.psk && !with_certificate;
}

/// False when a length in it lies. What was read until then stays in `hello`.
bool read_client_hello(std::string_view body, ClientHello& hello) {
  Reader in{body};
  const auto legacy_version = in.number16();
  hello.max_version = legacy_version;
  in.take(32);  // random
  const Reader session = in.vector(1);
  const Reader ciphers = in.vector(2);
  hello.ciphers = Reader{ciphers}.numbers16();
  const Reader compressions = in.vector(1);
  if (!in.good() || legacy_version >> 8 != 3 || session.rest().size() > 32) return false;
  if (hello.ciphers.empty() || !compressions.more()) return false;
  judge_suites(hello);
  if (!in.more()) return true;  // SSL 3.0 and some of TLS 1.0 had no extensions
  Reader extensions = in.vector(2);
  while (extensions.more()) {
    const auto type = extensions.number16();
    const Reader extension = extensions.vector(2);
    if (extension.good()) read_extension(type, extension, hello);
  }
  if (hello.max_version == 0) hello.max_version = legacy_version;
  judge_suites(hello);
  return in.good() && extensions.good() && !in.more();
}

/// A handshake record of SSL 3.0 to TLS 1.3, as far as the bytes go.
bool may_be_record(std::string_view bytes) {
  const auto at = [&](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
  if (at(0) != 0x16) return false;
  if (bytes.size() > 1 && at(1) != 3) return false;
  if (bytes.size() > 2 && at(2) > 4) return false;
  const std::size_t size = bytes.size() < kRecordHeader ? 1 : at(3) << 8 | at(4);
  return size > 0 && size <= kMaxRecord;
}

/// Whether the first handshake message is there in full: type, length, body.
bool is_whole_message(std::string_view handshake) {
  Reader in{handshake};
  in.take(1);
  in.take(in.number(3));
  return in.good();
}

/// The payloads of the handshake records in `bytes` together, as far as the first message needs
/// them. Nothing when something else comes between.
std::optional<std::string> joined_records(std::string_view bytes) {
  std::string joined;
  while (!bytes.empty() && !is_whole_message(joined)) {
    if (!may_be_record(bytes)) return std::nullopt;
    if (bytes.size() <= kRecordHeader) break;
    Reader in{bytes.substr(3)};
    const std::size_t claimed = in.number(2);
    const std::size_t size = std::min(claimed, in.rest().size());
    joined.append(bytes.substr(kRecordHeader, size));
    bytes.remove_prefix(kRecordHeader + size);
  }
  return joined;
}

FirstBytes only(Protocol protocol) {
  FirstBytes seen;
  seen.protocol = protocol;
  seen.complete = protocol != Protocol::undecided;
  return seen;
}

/// `bytes` begins as a handshake record does.
FirstBytes inspect_tls(std::string_view bytes) {
  constexpr std::size_t kHeader = 4;          // type and length
  constexpr std::size_t kSmallestHello = 41;  // one cipher, one compression method, nothing else
  const bool at_limit = bytes.size() >= kMaxFirstBytes;
  const auto handshake = joined_records(bytes);
  if (!handshake) return only(Protocol::raw);
  if (handshake->empty()) return only(Protocol::undecided);
  if (handshake->front() != 1) return only(Protocol::raw);  // client_hello
  FirstBytes seen;
  seen.protocol = Protocol::tls;
  seen.complete = at_limit;
  if (handshake->size() < kHeader) return seen;
  Reader in{std::string_view(*handshake).substr(1)};
  const std::size_t size = in.number(3);
  if (size < kSmallestHello) return only(Protocol::raw);
  const bool whole = in.rest().size() >= size;
  if (!whole && !at_limit) return seen;
  ClientHello hello;
  if (!read_client_hello(in.rest().substr(0, size), hello) && whole) return only(Protocol::raw);
  hello.cut = !whole;
  seen.complete = true;
  seen.host = hello.sni;
  seen.hello = std::move(hello);
  return seen;
}

/// From an absolute-form or authority-form target (RFC 9112 section 3.2); empty for the others.
std::string host_of_target(std::string_view line) {
  const auto space = line.find(' ');
  if (space == line.npos) return {};
  auto target = line.substr(space + 1);
  const auto end = target.find(' ');
  if (end == target.npos) return {};  // not whole yet
  target = target.substr(0, end);
  if (line.substr(0, space) == "CONNECT") return host_of_authority(target);
  const auto scheme = target.find("://");
  if (scheme == target.npos || target.starts_with('/')) return {};
  target.remove_prefix(scheme + 3);
  return host_of_authority(target.substr(0, target.find_first_of("/?#")));
}

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t\r");
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

/// Value of the first Host field among the whole lines behind the request line; empty when there is
/// none (yet).
std::string host_field(std::string_view head) {
  constexpr std::string_view kHost = "host:";
  for (auto newline = head.find('\n'); newline != head.npos; newline = head.find('\n')) {
    head.remove_prefix(newline + 1);
    const auto end = head.find('\n');
    if (end == head.npos) break;
    const auto line = head.substr(0, end);
    if (std::ranges::equal(line.substr(0, kHost.size()), kHost, {}, lower)) {
      return host_of_authority(trimmed(line.substr(kHost.size())));
    }
  }
  return {};
}

/// Up to and including the empty line; all of `bytes` when it has not come.
std::string_view head_of(std::string_view bytes, bool& complete) {
  complete = true;
  for (auto newline = bytes.find('\n'); newline != bytes.npos;
       newline = bytes.find('\n', newline + 1)) {
    const auto next = bytes.substr(newline + 1);
    if (next.starts_with('\n')) return bytes.substr(0, newline + 2);
    if (next.starts_with("\r\n")) return bytes.substr(0, newline + 3);
  }
  complete = false;
  return bytes;
}

FirstBytes inspect_http(std::string_view bytes) {
  FirstBytes seen;
  seen.protocol = Protocol::http1;
  const auto head = head_of(bytes, seen.complete);
  seen.host = host_of_target(head.substr(0, head.find_first_of("\r\n")));
  if (seen.host.empty()) seen.host = host_field(head);
  return seen;
}

/// Whether the bytes so far can be the beginning of a request line.
enum class Guess : std::uint8_t { no, maybe, yes };

/// The first word of a line, complete or not.
bool may_be_method(std::string_view word) {
  const auto token = [](char c) {
    return is_letter(c) || is_digit(c) ||
           (c != '\0' && std::string_view("!#$%&'*+-.^_`|~").find(c) != std::string_view::npos);
  };
  return word.size() <= kMaxMethod && std::ranges::all_of(word.substr(0, 3), is_letter) &&
         std::ranges::all_of(word, token) && !word.starts_with("SSH");
}

bool is_common_method(std::string_view word) {
  constexpr std::array<std::string_view, 9> kMethods{
      "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"};
  return std::ranges::find(kMethods, word) != kMethods.end();
}

bool starts_as(std::string_view text, std::string_view beginning) {
  return text.starts_with(beginning.substr(0, text.size()));
}

/// After a method of HTTP itself, malformed is still HTTP: the one who parses it answers with 400.
/// Words such as OPTIONS (RTSP, SIP), CONNECT (NATS, STOMP) and GET (Redis, HTTP/0.9) belong to
/// others as well.
Guess guess_after_common(std::string_view rest, bool line_ended) {
  if (rest.find(" HTTP/") != rest.npos) return Guess::yes;
  return line_ended ? Guess::no : Guess::maybe;
}

/// scheme "://" ..., as far as it has come.
bool may_be_absolute(std::string_view target) {
  const auto in_scheme = [](char c) {
    return is_letter(c) || is_digit(c) || c == '+' || c == '-' || c == '.';
  };
  const auto end = std::ranges::find_if_not(target, in_scheme);
  const auto scheme = static_cast<std::size_t>(end - target.begin());
  if (scheme == 0 || scheme > kMaxScheme || !is_letter(target[0])) return false;
  return starts_as(target.substr(scheme, 3), "://");
}

/// After any other word only a well-formed line is HTTP: "EHLO a b", "USER anonymous" and "NICK x"
/// are not.
Guess guess_after_other(std::string_view rest, bool line_ended) {
  const auto space = rest.find(' ');
  const auto target = rest.substr(0, space);
  const bool target_ended = space != rest.npos;
  const bool plausible = target.empty()
                             ? !target_ended
                             : target.starts_with('/') || target == "*" || may_be_absolute(target);
  if (!plausible) return Guess::no;
  if (!target_ended) return line_ended ? Guess::no : Guess::maybe;
  const bool absolute = target.find("://") != target.npos;
  const auto version = rest.substr(space + 1);
  if (!(absolute || target == "*" || target.starts_with('/')) || !starts_as(version, "HTTP/"))
    return Guess::no;
  if (version.size() >= 5) return Guess::yes;
  return line_ended ? Guess::no : Guess::maybe;
}

Guess guess_http(std::string_view bytes) {
  const auto line = bytes.substr(0, bytes.find_first_of("\r\n"));
  const bool line_ended = line.size() < bytes.size();
  const auto space = line.find(' ');
  if (!may_be_method(line.substr(0, space)) || space < 3) return Guess::no;
  if (space == line.npos) return line_ended ? Guess::no : Guess::maybe;
  const auto rest = line.substr(space + 1);
  return is_common_method(line.substr(0, space)) ? guess_after_common(rest, line_ended)
                                                 : guess_after_other(rest, line_ended);
}

/// Whether a word that goes on, or a method and a target that goes on, is what HTTP clients send.
bool is_likely_http(std::string_view bytes) {
  // The registry of IANA, and what is met besides: caches, UPnP, Icecast, Microsoft's.
  constexpr std::string_view kKnown =
      " GET HEAD POST PUT DELETE CONNECT OPTIONS TRACE PATCH ACL BASELINE-CONTROL BIND CHECKIN "
      "CHECKOUT COPY LABEL LINK LOCK MERGE MKACTIVITY MKCALENDAR MKCOL MKREDIRECTREF MKWORKSPACE "
      "MOVE ORDERPATCH PROPFIND PROPPATCH QUERY REBIND REPORT SEARCH UNBIND UNCHECKOUT UNLINK "
      "UNLOCK UPDATE UPDATEREDIRECTREF VERSION-CONTROL PURGE BAN REFRESH NOTIFY SUBSCRIBE "
      "UNSUBSCRIBE SOURCE RPC_IN_DATA RPC_OUT_DATA SSTP_DUPLEX_POST BITS_POST CCM_POST BPROPFIND "
      "BPROPPATCH BMOVE POLL RPC_CONNECT";
  const auto space = bytes.find(' ');
  const auto word = bytes.substr(0, space);
  if (space == bytes.npos) return kKnown.find(" " + std::string(word)) != kKnown.npos;
  const auto target = bytes.substr(space + 1);
  const bool plain = target.empty() || target.starts_with('/') || target.starts_with('*');
  return plain || is_common_method(word) || target.find("://") != target.npos;
}

FirstBytes inspect_text(std::string_view bytes) {
  if (bytes.starts_with(kHttp2Preface)) return only(Protocol::http2);
  if (starts_as(bytes, kHttp2Preface)) return only(Protocol::undecided);
  switch (guess_http(bytes)) {
    case Guess::yes:
      return inspect_http(bytes);
    case Guess::maybe: {
      FirstBytes seen = only(Protocol::undecided);
      seen.doubtful = !is_likely_http(bytes);
      return seen;
    }
    case Guess::no:
      break;
  }
  return only(Protocol::raw);
}

/// Whether `bytes`, undecided so far, go on as no other protocol does.
bool is_long_request_line(std::string_view bytes) {
  const auto space = std::min(bytes.find(' '), bytes.size() - 1);
  const auto target = bytes.substr(space + 1);
  return is_common_method(bytes.substr(0, space)) &&
         (target.starts_with('/') || may_be_absolute(target));
}

}  // namespace

FirstBytes inspect(std::string_view bytes) {
  if (bytes.empty()) return {};
  bytes = bytes.substr(0, kMaxFirstBytes);  // what comes later changes nothing
  const auto empty_lines = std::min(bytes.find_first_not_of("\r\n"), bytes.size());
  if (empty_lines == bytes.size()) {
    // HTTP may follow, or a protocol in which they mean something (gopher).
    FirstBytes seen = only(bytes.size() < kMaxFirstBytes ? Protocol::undecided : Protocol::raw);
    seen.doubtful = true;
    return seen;
  }
  const auto proxy_header = size_of_proxy_header(bytes);
  if (!proxy_header) return only(Protocol::undecided);
  if (*proxy_header > 0) {
    FirstBytes seen = only(Protocol::proxied);
    seen.proxy_header = *proxy_header;
    return seen;
  }
  const auto text = bytes.substr(empty_lines);
  FirstBytes seen = may_be_record(bytes) ? inspect_tls(bytes) : inspect_text(text);
  if (seen.complete || bytes.size() < kMaxFirstBytes) return seen;
  if (seen.protocol == Protocol::undecided)
    return only(is_long_request_line(text) ? Protocol::http1 : Protocol::raw);
  seen.complete = true;
  return seen;
}

std::string host_of_authority(std::string_view text) {
  if (const auto at = text.rfind('@'); at != text.npos) text.remove_prefix(at + 1);
  if (!text.starts_with('[')) return dns_name(text.substr(0, text.find(':')));
  const auto close = text.find(']');
  if (close == text.npos) return {};
  const auto address = text.substr(1, close - 1);
  const auto allowed = [](char c) {
    return is_digit(c) || (lower(c) >= 'a' && lower(c) <= 'f') || c == ':' || c == '.';
  };
  const bool good = address.find(':') != address.npos && std::ranges::all_of(address, allowed);
  return good ? lowered(address) : std::string();
}

}  // namespace divert
