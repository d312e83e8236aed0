// Byte for byte, because what follows the proxy's last answer belongs to the tunnel.
#include "mitm/proxy/handshake.h"

#include <cerrno>
#include <charconv>

#include "base/base64.h"
#include "base/text.h"

namespace mitm::proxy {
namespace {

constexpr char kVersion = 5, kNoAuthentication = 0, kPassword = 2, kPasswordVersion = 1,
               kConnect = 1;
constexpr char kAddressV4 = 1, kName = 3, kAddressV6 = 4;
constexpr char kNoMethod = '\xff';
constexpr std::size_t kMaxShown = 200;
constexpr std::size_t kMaxName = 255;

std::string connect_request(const Proxy& proxy, const std::string& target) {
  std::string head = fmt::format("CONNECT {} HTTP/1.1\r\nHost: {}\r\n", target, target);
  if (const auto& known = proxy.credentials) {
    head += fmt::format("Proxy-Authorization: Basic {}\r\n",
                        base::base64(known->user + ":" + known->password));
  }
  return head + "\r\n";
}

std::string password_request(const Proxy::Credentials& known) {
  std::string request(1, kPasswordVersion);
  for (const std::string& text : {known.user, known.password}) {
    request += static_cast<char>(text.size());
    request += text;
  }
  return request;
}

void append_port(std::string& out, std::uint16_t port) {
  out += static_cast<char>(port >> 8);
  out += static_cast<char>(port & 0xff);
}

struct Reply {
  std::string_view text;
  int error;
};

/// RFC 1928 section 6.
Reply meaning_of(unsigned char code) {
  constexpr Reply kReplies[] = {{"", 0},
                                {"general failure", ECONNREFUSED},
                                {"its rules do not allow it", ECONNREFUSED},
                                {"network unreachable", ENETUNREACH},
                                {"host unreachable", EHOSTUNREACH},
                                {"connection refused", ECONNREFUSED},
                                {"time to live exceeded", EHOSTUNREACH},
                                {"it cannot connect", ECONNREFUSED},
                                {"it does not know this kind of address", ECONNREFUSED}};
  return code < std::size(kReplies) ? kReplies[code] : Reply{"unknown reason", ECONNREFUSED};
}

/// The status of "HTTP/1.1 407 Reason"; 0: this is no status line.
int status_of(std::string_view line) {
  if (!line.starts_with("HTTP/1.") || line.size() < 12 || line[8] != ' ') return 0;
  int status = 0;
  const auto [end, error] = std::from_chars(line.data() + 9, line.data() + 12, status);
  const bool alone = line.size() == 12 || line[12] == ' ';
  return error == std::errc{} && end == line.data() + 12 && alone && status >= 100 ? status : 0;
}

}  // namespace

Handshake::Handshake(const Proxy& proxy, const Target& target)
    : proxy_(proxy),
      target_(target),
      state_(proxy.kind == Proxy::Kind::socks5 ? State::socks_method : State::http_head) {
  if (!proxy_.remote_names || target_.name.size() > kMaxName) target_.name.clear();
  if (state_ == State::http_head) {
    to_send_ = connect_request(proxy_, this->target());
  } else if (proxy_.credentials) {
    to_send_ = {kVersion, 2, kNoAuthentication, kPassword};
  } else {
    to_send_ = {kVersion, 1, kNoAuthentication};
  }
}

std::string Handshake::target() const {
  if (target_.name.empty()) return base::to_string(target_.address);
  return fmt::format("{}:{}", base::printable(target_.name), target_.address.port());
}

Handshake::Step Handshake::take(std::string_view bytes) {
  Step step;
  while (step.used < bytes.size()) {
    heard_ += bytes[step.used++];
    if (!whole()) continue;
    step.what = react();
    heard_.clear();
    if (step.what != What::more) return step;
  }
  return step;
}

/// Whether the message that is awaited is there, or has become too long for one.
bool Handshake::whole() const {
  switch (state_) {
    case State::http_head:
      return heard_.ends_with("\r\n\r\n") || heard_.ends_with("\n\n") || heard_.size() >= kMaxHead;
    case State::socks_method:
    case State::socks_password:
      return heard_.size() == 2;
    case State::socks_reply:
      break;
  }
  if (heard_[0] != kVersion || (heard_.size() >= 2 && heard_[1] != 0))
    return heard_.size() >= 2 || heard_[0] != kVersion;
  if (heard_.size() < 5) return false;
  switch (heard_[3]) {
    case kAddressV4:
      return heard_.size() == 4 + 4 + 2;
    case kAddressV6:
      return heard_.size() == 4 + 16 + 2;
    case kName:
      return heard_.size() == 4U + 1 + static_cast<unsigned char>(heard_[4]) + 2;
    default:
      return true;
  }
}

Handshake::What Handshake::react() {
  switch (state_) {
    case State::http_head:
      return react_to_head();
    case State::socks_method:
      return react_to_method();
    case State::socks_password:
      if (heard_[1] != 0) return refuse("it does not accept this user and password", ECONNREFUSED);
      to_send_ = socks_request();
      state_ = State::socks_reply;
      return What::send;
    case State::socks_reply:
      break;
  }
  return react_to_reply();
}

Handshake::What Handshake::react_to_head() {
  const std::string_view head{heard_};
  const auto line = head.substr(0, head.find_first_of("\r\n"));
  const int status = status_of(line);
  if (status == 0) return refuse("it does not answer as an HTTP proxy does", ECONNREFUSED);
  if (!head.ends_with("\n")) return refuse("the head of its answer is too long", ECONNREFUSED);
  if (status < 200) return What::more;  // an interim answer
  if (status < 300) return What::open;
  std::string why = base::printable(line.substr(9, kMaxShown));
  if (status == 407) {
    why += proxy_.credentials
               ? "; it does not accept this user and password"
               : "; give user and password in its URL: http://USER:PASSWORD@HOST:PORT";
  }
  return refuse(std::move(why), ECONNREFUSED);
}

Handshake::What Handshake::react_to_method() {
  if (heard_[0] != kVersion)
    return refuse("it does not answer as a SOCKS5 proxy does", ECONNREFUSED);
  if (heard_[1] == kNoAuthentication) {
    to_send_ = socks_request();
    state_ = State::socks_reply;
    return What::send;
  }
  if (heard_[1] == kPassword && proxy_.credentials) {
    to_send_ = password_request(*proxy_.credentials);
    state_ = State::socks_password;
    return What::send;
  }
  if (heard_[1] == kNoMethod && !proxy_.credentials) {
    return refuse(
        "it wants a user; give user and password in its URL: socks5://USER:PASSWORD@HOST:PORT",
        ECONNREFUSED);
  }
  return refuse("it offers no way to authenticate that osproxy knows", ECONNREFUSED);
}

Handshake::What Handshake::react_to_reply() {
  if (heard_[0] != kVersion)
    return refuse("it does not answer as a SOCKS5 proxy does", ECONNREFUSED);
  const auto code = static_cast<unsigned char>(heard_[1]);
  if (code != 0) {
    const Reply reply = meaning_of(code);
    return refuse(fmt::format("{} (SOCKS {})", reply.text, code), reply.error);
  }
  const bool known = heard_[3] == kAddressV4 || heard_[3] == kAddressV6 || heard_[3] == kName;
  if (!known) return refuse("it does not answer as a SOCKS5 proxy does", ECONNREFUSED);
  return What::open;
}

Handshake::What Handshake::refuse(std::string why, int error) {
  why_ = std::move(why);
  error_ = error;
  return What::refused;
}

std::string Handshake::socks_request() const {
  std::string request{kVersion, kConnect, 0};
  const auto append = [&](char kind, const auto& bytes) {
    request += kind;
    request.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  };
  if (!target_.name.empty()) {
    request += kName;
    request += static_cast<char>(target_.name.size());
    request += target_.name;
  } else if (const auto address = base::unmapped(target_.address.address()); address.is_v4()) {
    append(kAddressV4, address.to_v4().to_bytes());
  } else {
    append(kAddressV6, address.to_v6().to_bytes());
  }
  append_port(request, target_.address.port());
  return request;
}

}  // namespace mitm::proxy
