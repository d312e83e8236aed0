// TLS by its record header and ClientHello (RFC 8446), HTTP by its request line, everything else raw. The
// order and the HTTP heuristic are mitmproxy's: few protocols are guessed wrong by it.
#include "divert/first_bytes.h"

#include <algorithm>
#include <optional>

namespace divert {
namespace {

constexpr std::string_view kHttp2Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
constexpr std::size_t kMaxMethod = 24;
constexpr std::size_t kMaxHostName = 253;

bool is_letter(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}
char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
}

/// Big-endian fields of a TLS structure. Reading past the end makes it bad and gives zeros.
class Cursor {
 public:
  explicit Cursor(std::string_view bytes) : bytes_(bytes) {}

  std::uint32_t number(std::size_t size) {
    std::uint32_t value = 0;
    for (const char c : take(size)) value = value << 8 | static_cast<unsigned char>(c);
    return value;
  }
  std::string_view take(std::size_t size) {
    good_ = good_ && size <= bytes_.size();
    if (!good_) return {};
    const auto taken = bytes_.substr(0, size);
    bytes_.remove_prefix(size);
    return taken;
  }
  /// A vector whose length stands before it in `size_bytes` bytes.
  Cursor vector(std::size_t size_bytes) {
    Cursor inner{take(number(size_bytes))};
    inner.good_ = good_;
    return inner;
  }
  std::vector<std::uint16_t> numbers() {
    std::vector<std::uint16_t> list;
    while (good_ && bytes_.size() >= 2) list.push_back(static_cast<std::uint16_t>(number(2)));
    return list;
  }
  [[nodiscard]] bool good() const { return good_; }
  [[nodiscard]] bool more() const { return good_ && !bytes_.empty(); }
  [[nodiscard]] std::string_view rest() const { return bytes_; }

 private:
  std::string_view bytes_;
  bool good_ = true;
};

/// A host name as certificates have them, lower case and without the last dot; empty when it is none.
std::string host_name(std::string_view text) {
  if (text.ends_with('.')) text.remove_suffix(1);
  if (text.empty() || text.size() > kMaxHostName) return {};
  const auto allowed = [](char c) {
    return is_letter(c) || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_';
  };
  if (!std::ranges::all_of(text, allowed)) return {};
  std::string name(text);
  std::ranges::transform(name, name.begin(), lower);
  return name;
}

std::string server_name(Cursor body) {
  for (Cursor list = body.vector(2); list.more();) {
    const auto type = list.number(1);
    const auto name = list.vector(2).rest();
    if (type == 0) return host_name(name);
  }
  return {};
}

void read_extension(std::uint32_t type, Cursor body, ClientHello& hello) {
  switch (type) {
    case 0:  // server_name, RFC 6066
      hello.sni = server_name(body);
      break;
    case 10:  // supported_groups
      hello.groups = body.vector(2).numbers();
      break;
    case 13:  // signature_algorithms
      hello.signature_algorithms = body.vector(2).numbers();
      break;
    case 16:  // application_layer_protocol_negotiation, RFC 7301
      for (Cursor list = body.vector(2); list.more();) {
        const auto name = list.vector(1).rest();
        if (list.good()) hello.alpn.emplace_back(name);
      }
      break;
    case 43:  // supported_versions; GREASE values (RFC 8701) are no versions
      for (const auto version : body.vector(1).numbers()) {
        if (version >> 8 == 3) hello.max_version = std::max(hello.max_version, version);
      }
      break;
    case 0xfe0d:  // encrypted_client_hello
    case 0xffce:  // its draft, encrypted_server_name
      hello.encrypted_client_hello = true;
      break;
    default:
      break;
  }
}

/// `body`: the ClientHello without its handshake header. Empty when a length in it lies.
std::optional<ClientHello> parse_client_hello(std::string_view body) {
  Cursor in{body};
  ClientHello hello;
  const auto legacy_version = static_cast<std::uint16_t>(in.number(2));
  in.take(32);
  in.vector(1);  // session id
  hello.ciphers = in.vector(2).numbers();
  in.vector(1);  // compression methods
  if (in.more()) {
    for (Cursor extensions = in.vector(2); extensions.more();) {
      const auto type = extensions.number(2);
      const Cursor extension = extensions.vector(2);
      if (!extensions.good()) return std::nullopt;
      read_extension(type, extension, hello);
    }
  }
  if (!in.good()) return std::nullopt;
  if (hello.max_version == 0) hello.max_version = legacy_version;
  return hello;
}

/// The payloads of the handshake records at the front of `bytes`, put together. False when something else
/// comes between.
bool join_handshake_records(std::string_view bytes, std::string& handshake) {
  while (bytes.size() > 5) {
    if (bytes[0] != 0x16) return false;
    const std::size_t size = static_cast<unsigned char>(bytes[3]) << 8 | static_cast<unsigned char>(bytes[4]);
    handshake.append(bytes.substr(5, size));
    bytes.remove_prefix(std::min(bytes.size(), 5 + size));
  }
  return true;
}

/// A record header of TLS 1.0 to 1.3 with a handshake of a legal length in it, as far as the bytes go.
bool may_be_tls(std::string_view bytes) {
  const auto at = [&](std::size_t i) { return static_cast<unsigned char>(bytes[i]); };
  if (at(0) != 0x16) return false;
  if (bytes.size() > 1 && at(1) != 3) return false;
  if (bytes.size() > 2 && at(2) > 4) return false;
  if (bytes.size() > 4 && ((at(3) << 8 | at(4)) == 0 || (at(3) << 8 | at(4)) > 16384 + 2048)) return false;
  return bytes.size() <= 5 || at(5) == 1;  // client_hello
}

FirstBytes inspect_tls(std::string_view bytes) {
  FirstBytes seen;
  seen.protocol = bytes.size() > 5 ? Protocol::tls : Protocol::undecided;
  std::string handshake;
  if (!join_handshake_records(bytes, handshake)) {
    seen.protocol = Protocol::raw;
    seen.complete = true;
    return seen;
  }
  if (handshake.size() < 4) return seen;
  Cursor in{handshake};
  in.number(1);
  const std::size_t size = in.number(3);
  if (size > kMaxFirstBytes) {
    seen.complete = true;  // no hello is that long: the TLS library will say so
    return seen;
  }
  if (handshake.size() < 4 + size) return seen;
  seen.complete = true;
  if (auto hello = parse_client_hello(std::string_view(handshake).substr(4, size))) {
    seen.hello = std::move(*hello);
    seen.host = seen.hello.sni;
  }
  return seen;
}

/// "example.org:8080", "[::1]:80", "user@host": the host alone.
std::string host_of_authority(std::string_view text) {
  if (const auto at = text.rfind('@'); at != text.npos) text.remove_prefix(at + 1);
  if (text.starts_with('[')) {
    const auto close = text.find(']');
    if (close == text.npos) return {};
    std::string address(text.substr(1, close - 1));
    const auto allowed = [](char c) {
      return std::isxdigit(static_cast<unsigned char>(c)) || c == ':' || c == '.';
    };
    return std::ranges::all_of(address, allowed) ? address : std::string();
  }
  return host_name(text.substr(0, text.find(':')));
}

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t");
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r") - first + 1);
}

bool is_host_field(std::string_view name) {
  constexpr std::string_view kHost = "host";
  return std::ranges::equal(name, kHost, {}, lower);
}

/// Value of the Host field among the whole lines of `head`; empty when there is none (yet).
std::string host_field(std::string_view head) {
  for (std::size_t begin = head.find('\n'); begin != head.npos;) {
    const std::size_t end = head.find('\n', ++begin);
    if (end == head.npos) break;
    const auto line = head.substr(begin, end - begin);
    const auto colon = line.find(':');
    if (colon != line.npos && is_host_field(line.substr(0, colon)))
      return host_of_authority(trimmed(line.substr(colon + 1)));
    begin = end;
  }
  return {};
}

/// From an absolute-form or authority-form target (RFC 9112 section 3.2).
std::string host_of_target(std::string_view line) {
  const auto space = line.find(' ');
  const auto method = line.substr(0, space);
  auto target = line.substr(space + 1);
  target = target.substr(0, target.find(' '));
  if (method == "CONNECT") return host_of_authority(target);
  const auto scheme = target.find("://");
  if (scheme == target.npos || target.starts_with('/')) return {};
  target.remove_prefix(scheme + 3);
  return host_of_authority(target.substr(0, target.find_first_of("/?#")));
}

/// Whether the bytes so far can be the beginning of an HTTP request line.
enum class Guess { no, maybe, yes };
Guess guess_http(std::string_view bytes) {
  for (std::size_t i = 0; i < std::min<std::size_t>(bytes.size(), 3); ++i) {
    if (!is_letter(bytes[i])) return Guess::no;
  }
  if (bytes.starts_with("SSH")) return Guess::no;
  const auto newline = bytes.find('\n');
  const auto space = bytes.find(' ');
  if (newline != bytes.npos && (space == bytes.npos || newline < space)) return Guess::no;
  if (space == bytes.npos) return bytes.size() > kMaxMethod ? Guess::no : Guess::maybe;
  if (space > kMaxMethod) return Guess::no;
  if (newline == bytes.npos) return Guess::maybe;
  // "EHLO a b" and "USER ann" have a space as well: a request line names its protocol, or nothing at all
  // (HTTP/0.9 is gone).
  return bytes.substr(0, newline).find(" HTTP/") != bytes.npos ? Guess::yes : Guess::no;
}

FirstBytes inspect_http(std::string_view bytes) {
  FirstBytes seen;
  seen.protocol = Protocol::http1;
  const auto line = bytes.substr(0, bytes.find_first_of("\r\n"));
  seen.host = host_of_target(line);
  if (seen.host.empty()) seen.host = host_field(bytes);
  seen.complete = bytes.find("\r\n\r\n") != bytes.npos || bytes.find("\n\n") != bytes.npos;
  return seen;
}

FirstBytes only(Protocol protocol) {
  FirstBytes seen;
  seen.protocol = protocol;
  seen.complete = protocol != Protocol::undecided;
  return seen;
}

FirstBytes look(std::string_view bytes) {
  if (bytes.empty()) return {};
  if (may_be_tls(bytes)) return inspect_tls(bytes);
  const auto common = std::min(bytes.size(), kHttp2Preface.size());
  if (bytes.substr(0, common) == kHttp2Preface.substr(0, common) && common > 3) {
    return only(common == kHttp2Preface.size() ? Protocol::http2 : Protocol::undecided);
  }
  switch (guess_http(bytes)) {
    case Guess::no:
      return only(Protocol::raw);
    case Guess::maybe:
      return {};
    case Guess::yes:
      break;
  }
  return inspect_http(bytes);
}

}  // namespace

FirstBytes inspect(std::string_view bytes) {
  FirstBytes seen = look(bytes);
  if (seen.complete || bytes.size() < kMaxFirstBytes) return seen;
  if (seen.protocol == Protocol::undecided) seen.protocol = Protocol::raw;
  seen.complete = true;
  return seen;
}

}  // namespace divert
