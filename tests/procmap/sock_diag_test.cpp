#include "procmap/sock_diag.h"

#include <cerrno>
#include <cstring>

#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>

#include "tests/test.h"

namespace procmap {
namespace {

base::Endpoint at(const char* text) {
  return base::parse_endpoint(text).value();
}

/// A message as the kernel's own headers lay it out.
std::string message(std::uint16_t type, std::string_view body, std::uint32_t sequence = 7) {
  nlmsghdr header{};
  header.nlmsg_len = static_cast<std::uint32_t>(sizeof header + body.size());
  header.nlmsg_type = type;
  header.nlmsg_seq = sequence;
  std::string bytes(reinterpret_cast<const char*>(&header), sizeof header);
  bytes += body;
  bytes.resize(NLMSG_ALIGN(bytes.size()));
  return bytes;
}

std::string attribute(std::uint16_t type, std::string_view value) {
  const nlattr header{static_cast<std::uint16_t>(sizeof(nlattr) + value.size()), type};
  std::string bytes(reinterpret_cast<const char*>(&header), sizeof header);
  bytes += value;
  bytes.resize(NLA_ALIGN(bytes.size()));
  return bytes;
}

std::string cgroup_attribute(std::uint64_t id) {
  return attribute(INET_DIAG_CGROUP_ID, {reinterpret_cast<const char*>(&id), sizeof id});
}

std::string socket_body(int family, const void* local, const void* remote, std::size_t size) {
  inet_diag_msg body{};
  body.idiag_family = static_cast<std::uint8_t>(family);
  body.idiag_state = 2;
  body.id.idiag_sport = htons(40000);
  body.id.idiag_dport = htons(443);
  std::memcpy(body.id.idiag_src, local, size);
  std::memcpy(body.id.idiag_dst, remote, size);
  body.id.idiag_if = 9;
  body.idiag_uid = 1000;
  body.idiag_inode = 123456;
  return {reinterpret_cast<const char*>(&body), sizeof body};
}

std::string v4_body() {
  const unsigned char local[] = {192, 0, 2, 1}, remote[] = {198, 51, 100, 7};
  return socket_body(AF_INET, local, remote, 4);
}

template <class Address>
Address bytes_of(const base::Endpoint& endpoint) {
  Address address;
  REQUIRE(::inet_pton(sizeof address == 4 ? AF_INET : AF_INET6,
                      endpoint.address().to_string().c_str(), &address) == 1);
  return address;
}

inet_diag_req_v2 request_in(const std::string& bytes, std::uint16_t flags) {
  nlmsghdr header;
  inet_diag_req_v2 request;
  REQUIRE(bytes.size() == sizeof header + sizeof request);
  std::memcpy(&header, bytes.data(), sizeof header);
  std::memcpy(&request, bytes.data() + sizeof header, sizeof request);
  CHECK(header.nlmsg_len == bytes.size());
  CHECK(header.nlmsg_type == SOCK_DIAG_BY_FAMILY);
  CHECK(header.nlmsg_flags == (NLM_F_REQUEST | flags));
  CHECK(header.nlmsg_seq == 42);
  CHECK(request.sdiag_protocol == IPPROTO_TCP);
  CHECK(request.idiag_states == ~0U);
  return request;
}

}  // namespace

TEST_CASE("sock_diag: the exact query is laid out as the kernel's header says") {
  const auto v4 = request_in(
      encode_exact_query(Family::v4, {at("192.0.2.1:40000"), at("198.51.100.7:443")}, 42), 0);
  CHECK(v4.sdiag_family == AF_INET);
  CHECK(ntohs(v4.id.idiag_sport) == 40000);
  CHECK(ntohs(v4.id.idiag_dport) == 443);
  CHECK(v4.id.idiag_src[0] == bytes_of<in_addr>(at("192.0.2.1:1")).s_addr);
  CHECK(v4.id.idiag_dst[0] == bytes_of<in_addr>(at("198.51.100.7:1")).s_addr);
  CHECK(v4.id.idiag_src[1] == 0);
  CHECK(v4.id.idiag_if == 0);
  CHECK(v4.id.idiag_cookie[0] == INET_DIAG_NOCOOKIE);
  CHECK(v4.id.idiag_cookie[1] == INET_DIAG_NOCOOKIE);

  const auto v6 = request_in(
      encode_exact_query(Family::v6, {at("[2001:db8::1]:1"), at("[2001:db8::2]:65535")}, 42), 0);
  CHECK(v6.sdiag_family == AF_INET6);
  CHECK(ntohs(v6.id.idiag_dport) == 65535);
  const auto source = bytes_of<in6_addr>(at("[2001:db8::1]:1"));
  CHECK(std::memcmp(v6.id.idiag_src, &source, sizeof source) == 0);

  const auto mapped =
      request_in(encode_exact_query(Family::v6, {at("192.0.2.1:1"), at("198.51.100.7:2")}, 42), 0);
  in6_addr expected;
  REQUIRE(::inet_pton(AF_INET6, "::ffff:198.51.100.7", &expected) == 1);
  CHECK(std::memcmp(mapped.id.idiag_dst, &expected, sizeof expected) == 0);
}

TEST_CASE("sock_diag: the dump query asks for every state") {
  CHECK(request_in(encode_dump_query(Family::v4, 42), NLM_F_DUMP).sdiag_family == AF_INET);
  CHECK(request_in(encode_dump_query(Family::v6, 42), NLM_F_DUMP).sdiag_family == AF_INET6);
}

TEST_CASE("sock_diag: a socket is read whole") {
  const std::string bytes =
      message(SOCK_DIAG_BY_FAMILY,
              v4_body() + attribute(INET_DIAG_SHUTDOWN, "x") + cgroup_attribute(0x1234567890) +
                  attribute(INET_DIAG_MARK, std::string("\x04\x03\x02\x01", 4)));
  std::string_view rest = bytes;
  const auto reply = decode_reply(rest);
  REQUIRE(reply);
  CHECK(rest.empty());
  CHECK(reply->kind == DiagReply::Kind::socket);
  CHECK(reply->sequence == 7);
  CHECK(reply->socket.local == at("192.0.2.1:40000"));
  CHECK(reply->socket.remote == at("198.51.100.7:443"));
  CHECK(reply->socket.state == 2);
  CHECK(reply->socket.facts.inode == 123456);
  CHECK(reply->socket.facts.uid == 1000);
  CHECK(reply->socket.facts.interface == 9);
  CHECK(reply->socket.facts.cgroup_id == 0x1234567890);
  CHECK(reply->socket.facts.mark == 0x01020304);
  CHECK(reply->socket.facts.uid_known);
}

TEST_CASE("sock_diag: IPv6, and IPv4 inside it") {
  const auto local = bytes_of<in6_addr>(at("[2001:db8::1]:1"));
  in6_addr mapped;
  REQUIRE(::inet_pton(AF_INET6, "::ffff:198.51.100.7", &mapped) == 1);
  const std::string bytes =
      message(SOCK_DIAG_BY_FAMILY, socket_body(AF_INET6, &local, &mapped, 16));
  std::string_view rest = bytes;
  const auto reply = decode_reply(rest);
  REQUIRE(reply);
  CHECK(reply->socket.local == at("[2001:db8::1]:40000"));
  CHECK(reply->socket.remote == at("198.51.100.7:443"));
  CHECK(reply->socket.facts.cgroup_id == 0);
}

TEST_CASE("sock_diag: messages follow each other") {
  const std::int32_t code = -ENOENT;
  const std::string bytes =
      message(SOCK_DIAG_BY_FAMILY, v4_body(), 1) + message(NLMSG_DONE, "\0\0\0", 2) +
      message(NLMSG_ERROR, {reinterpret_cast<const char*>(&code), sizeof code}, 3);
  std::string_view rest = bytes;
  CHECK(decode_reply(rest)->kind == DiagReply::Kind::socket);
  CHECK(decode_reply(rest)->kind == DiagReply::Kind::done);
  const auto error = decode_reply(rest);
  CHECK(error->kind == DiagReply::Kind::error);
  CHECK(error->error == ENOENT);
  CHECK(error->sequence == 3);
  CHECK(rest.empty());
}

TEST_CASE("sock_diag: bytes cut at every offset are no message") {
  const std::string whole = message(SOCK_DIAG_BY_FAMILY, v4_body() + cgroup_attribute(5));
  for (std::size_t size = 0; size < whole.size(); ++size) {
    const std::string cut = whole.substr(0, size);
    std::string_view rest = cut;
    CAPTURE(size);
    CHECK_FALSE(decode_reply(rest));
  }
  // And a shorter message whose header is honest about it.
  for (std::size_t size = 0; size < sizeof(inet_diag_msg); ++size) {
    const std::string short_one = message(SOCK_DIAG_BY_FAMILY, v4_body().substr(0, size));
    std::string_view rest = short_one;
    CHECK_FALSE(decode_reply(rest));
  }
  for (std::size_t size = 0; size < 4; ++size) {
    const std::string error = message(NLMSG_ERROR, std::string(size, 'x'));
    std::string_view rest = error;
    CHECK_FALSE(decode_reply(rest));
  }
}

TEST_CASE("sock_diag: attributes that lie about their length are passed over") {
  const std::string good = cgroup_attribute(5);
  const auto cgroup_of = [](const std::string& attributes) {
    const std::string bytes = message(SOCK_DIAG_BY_FAMILY, v4_body() + attributes);
    std::string_view rest = bytes;
    return decode_reply(rest)->socket.facts.cgroup_id;
  };
  CHECK(cgroup_of(good) == 5);
  for (std::size_t size = 0; size < good.size(); ++size)
    CHECK(cgroup_of(good.substr(0, size)) == 0);
  for (const std::uint16_t length : {0, 1, 3, 13, 0xffff}) {
    std::string lie = good;
    std::memcpy(lie.data(), &length, sizeof length);
    CHECK(cgroup_of(lie + good) == 0);
  }
  CHECK(cgroup_of(attribute(INET_DIAG_CGROUP_ID, "1234") + good) == 5);
}

TEST_CASE("sock_diag: a message that lies about its length is none") {
  std::string bytes = message(SOCK_DIAG_BY_FAMILY, v4_body());
  for (const std::uint32_t length : {0U, 1U, 15U, 89U, 0xffffffffU}) {
    std::memcpy(bytes.data(), &length, sizeof length);
    std::string_view rest = bytes;
    CHECK_FALSE(decode_reply(rest));
  }
}

TEST_CASE("sock_diag: states have ss's names") {
  CHECK(state_name(1) == "ESTAB");
  CHECK(state_name(2) == "SYN-SENT");
  CHECK(state_name(6) == "TIME-WAIT");
  CHECK(state_name(10) == "LISTEN");
  CHECK(state_name(12) == "NEW-SYN-RECV");
  CHECK(state_name(0) == "0");
  CHECK(state_name(13) == "13");
}

}  // namespace procmap
