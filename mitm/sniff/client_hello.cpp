// ClientHello by RFC 8446 section 4.1.2, and by the older ones. A length that contradicts another
// makes it something else than TLS.
#include "mitm/sniff/client_hello.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "base/ascii.h"

namespace mitm::sniff {
namespace {

using base::is_digit;
using base::is_letter;

constexpr std::size_t kRecordHeader = 5;
constexpr std::size_t kMaxRecord = 16384;  // plaintext, RFC 8446 section 5.1
constexpr std::size_t kMaxName = 253;

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
bool read_body(std::string_view body, ClientHello& hello) {
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
bool begins_record(std::string_view bytes) {
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
    if (!begins_record(bytes)) return std::nullopt;
    if (bytes.size() <= kRecordHeader) break;
    Reader in{bytes.substr(3)};
    const std::size_t claimed = in.number(2);
    const std::size_t size = std::min(claimed, in.rest().size());
    joined.append(bytes.substr(kRecordHeader, size));
    bytes.remove_prefix(kRecordHeader + size);
  }
  return joined;
}

}  // namespace

std::string dns_name(std::string_view text) {
  if (text.ends_with('.')) text.remove_suffix(1);
  if (text.size() > kMaxName) return {};
  std::size_t label = 0;
  for (const char c : text) {
    if (c == '.' ? label == 0 : !(is_letter(c) || is_digit(c) || c == '-' || c == '_')) return {};
    label = c == '.' ? 0 : label + 1;
    if (label > 63) return {};
  }
  return label > 0 ? base::lowercase(text) : std::string();
}

bool may_be_tls_record(std::string_view bytes) {
  return begins_record(bytes);
}

HelloState read_client_hello(std::string_view bytes, ClientHello& hello) {
  constexpr std::size_t kHeader = 4;          // type and length
  constexpr std::size_t kSmallestHello = 41;  // one cipher, one compression method, nothing else
  constexpr char kClientHello = 1;
  const bool at_limit = bytes.size() >= kMaxSniffedBytes;
  const auto handshake = joined_records(bytes);
  if (!handshake) return HelloState::none;
  if (handshake->empty()) return HelloState::undecided;
  if (handshake->front() != kClientHello) return HelloState::none;
  const HelloState unfinished = at_limit ? HelloState::complete : HelloState::partial;
  if (handshake->size() < kHeader) return unfinished;
  Reader in{std::string_view(*handshake).substr(1)};
  const std::size_t size = in.number(3);
  if (size < kSmallestHello) return HelloState::none;
  const bool whole = in.rest().size() >= size;
  if (!whole && !at_limit) return unfinished;
  ClientHello read;
  if (!read_body(in.rest().substr(0, size), read) && whole) return HelloState::none;
  read.cut = !whole;
  hello = std::move(read);
  return HelloState::complete;
}

}  // namespace mitm::sniff
