// TLS by its record header and ClientHello (RFC 8446), HTTP by its request line, everything else
// raw. The order is mitmproxy's; its HTTP guess is made stricter, because a text protocol that is
// taken for HTTP is broken, while HTTP that is taken for raw is only not shown. Beginnings wait for
// more bytes.
#include "mitm/sniff/sniffer.h"

#include <algorithm>
#include <array>
#include <optional>
#include <utility>

#include "base/ascii.h"
#include "mitm/sniff/proxy_header.h"

namespace mitm::sniff {
namespace {

using base::is_digit;
using base::is_letter;
using base::lower;
using base::lowercase;

constexpr std::string_view kHttp2Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
constexpr std::size_t kMaxMethod = 32;
constexpr std::size_t kMaxScheme = 16;

SniffResult only(Protocol protocol) {
  SniffResult seen;
  seen.protocol = protocol;
  seen.complete = protocol != Protocol::undecided;
  return seen;
}

/// `bytes` begin as a handshake record does.
SniffResult inspect_tls(std::string_view bytes) {
  SniffResult seen;
  const HelloState state = read_client_hello(bytes, seen.hello);
  if (state == HelloState::none) return only(Protocol::raw);
  if (state == HelloState::undecided) return only(Protocol::undecided);
  seen.protocol = Protocol::tls;
  seen.complete = state == HelloState::complete;
  seen.host = seen.hello.sni;
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

/// Value of the first Host field among the whole lines behind the request line; empty when there is
/// none (yet).
std::string host_field(std::string_view head) {
  constexpr std::string_view kHost = "host:";
  for (auto newline = head.find('\n'); newline != head.npos; newline = head.find('\n')) {
    head.remove_prefix(newline + 1);
    const auto end = head.find('\n');
    if (end == head.npos) break;
    const auto line = head.substr(0, end);
    if (base::iequals(line.substr(0, kHost.size()), kHost)) {
      return host_of_authority(base::trimmed(line.substr(kHost.size()), " \t\r"));
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

SniffResult inspect_http(std::string_view bytes) {
  SniffResult seen;
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

SniffResult inspect_text(std::string_view bytes) {
  if (bytes.starts_with(kHttp2Preface)) return only(Protocol::http2);
  if (starts_as(bytes, kHttp2Preface)) return only(Protocol::undecided);
  switch (guess_http(bytes)) {
    case Guess::yes:
      return inspect_http(bytes);
    case Guess::maybe: {
      SniffResult seen = only(Protocol::undecided);
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

SniffResult inspect(std::string_view bytes) {
  if (bytes.empty()) return {};
  bytes = bytes.substr(0, kMaxSniffedBytes);  // later bytes change nothing
  const auto empty_lines = std::min(bytes.find_first_not_of("\r\n"), bytes.size());
  if (empty_lines == bytes.size()) {
    // HTTP may follow, or a protocol in which they mean something (gopher).
    SniffResult seen = only(bytes.size() < kMaxSniffedBytes ? Protocol::undecided : Protocol::raw);
    seen.doubtful = true;
    return seen;
  }
  const auto proxy_header = size_of_proxy_header(bytes);
  if (!proxy_header) return only(Protocol::undecided);
  if (*proxy_header > 0) {
    SniffResult seen = only(Protocol::proxied);
    seen.proxy_header = *proxy_header;
    return seen;
  }
  const auto text = bytes.substr(empty_lines);
  SniffResult seen = may_be_tls_record(bytes) ? inspect_tls(bytes) : inspect_text(text);
  if (seen.complete || bytes.size() < kMaxSniffedBytes) return seen;
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
  return good ? lowercase(address) : std::string();
}

}  // namespace mitm::sniff
