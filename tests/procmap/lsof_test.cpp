#include "procmap/lsof.h"

#include "tests/procmap/table_builder.h"
#include "tests/test.h"

namespace procmap {
namespace {

constexpr std::string_view kText =
    "p100\n"
    "cGoogle Chrome He\n"
    "f21\n"
    "PTCP\n"
    "n192.0.2.1:40000->198.51.100.7:443\n"
    "TST=ESTABLISHED\n"
    "f22\n"
    "PUDP\n"
    "n*:5353\n"
    "f23\n"
    "PTCP\n"
    "n[fe80:4::1]:40002->[fe80:4::2]:443\n"
    "p101\n"
    "cmDNSResponder\n"
    "fcwd\n"
    "n/\n"
    "f7\n"
    "PUDP\n"
    "n*:*\n"
    "f8\n"
    "PTCP\n"
    "n[::1]:8080\n"
    "f9\n"
    "PTCP\n"
    "nno PCB, CANTSENDMORE\n"
    "f10\n"
    "PICMP\n"
    "n*:1\n";

TEST_CASE("parse_lsof: the TCP and UDP sockets with their holders") {
  struct Case {
    pid_t pid;
    int descriptor;
    Transport transport;
    const char* local;
    const char* remote;
  };
  const Case cases[] = {
      {100, 21, Transport::tcp, "192.0.2.1:40000", "198.51.100.7:443"},
      {100, 22, Transport::udp, "0.0.0.0:5353", "0.0.0.0:0"},
      {100, 23, Transport::tcp, "[fe80::1]:40002", "[fe80::2]:443"},
      {101, 7, Transport::udp, "0.0.0.0:0", "0.0.0.0:0"},
      {101, 8, Transport::tcp, "[::1]:8080", "0.0.0.0:0"},
  };
  const auto sockets = parse_lsof(kText);
  REQUIRE(sockets.size() == std::size(cases));
  for (std::size_t i = 0; i < sockets.size(); ++i) {
    CAPTURE(i);
    CHECK(sockets[i].socket.last_pid == cases[i].pid);
    CHECK(sockets[i].descriptor == cases[i].descriptor);
    CHECK(sockets[i].transport == cases[i].transport);
    CHECK(sockets[i].socket.local == at(cases[i].local));
    CHECK(sockets[i].socket.remote == at(cases[i].remote));
  }
}

TEST_CASE("find_lsof: by addresses and transport") {
  const auto sockets = parse_lsof(kText);
  const auto* tcp =
      find_lsof(sockets, at("192.0.2.1:40000"), at("198.51.100.7:443"), Transport::tcp);
  REQUIRE(tcp);
  CHECK(tcp->descriptor == 21);
  const auto* udp =
      find_lsof(sockets, at("192.0.2.1:5353"), at("224.0.0.251:5353"), Transport::udp);
  REQUIRE(udp);
  CHECK(udp->descriptor == 22);
  CHECK(!find_lsof(sockets, at("192.0.2.1:5353"), at("224.0.0.251:5353"), Transport::tcp));
}

TEST_CASE("parse_lsof: cut at every offset gives the first sockets only") {
  const auto whole = parse_lsof(kText);
  for (std::size_t size = 0; size < kText.size(); ++size) {
    CAPTURE(size);
    const auto parsed = parse_lsof(std::string(kText.substr(0, size)));
    REQUIRE(parsed.size() <= whole.size());
    for (std::size_t i = 0; i < parsed.size(); ++i)
      CHECK(parsed[i].socket.local == whole[i].socket.local);
  }
}

TEST_CASE("parse_lsof: lines out of place") {
  for (const char* text : {
           "n192.0.2.1:1->192.0.2.2:2\n",
           "f3\nPTCP\nn192.0.2.1:1->192.0.2.2:2\n",          // nobody's
           "p1\nPTCP\nn192.0.2.1:1->192.0.2.2:2\n",          // no descriptor
           "p1\nf3\nn192.0.2.1:1->192.0.2.2:2\n",            // no protocol
           "p1\nf3\nPTCP\nf4\nn192.0.2.1:1->192.0.2.2:2\n",  // another descriptor's protocol
           "px\nf3\nPTCP\nn192.0.2.1:1->192.0.2.2:2\n",
           "p-1\nf3\nPTCP\nn192.0.2.1:1->192.0.2.2:2\n",
           "p99999999999\nf3\nPTCP\nn192.0.2.1:1->192.0.2.2:2\n",
           "p1\nf3\nPTCP\nn192.0.2.1:1->\n",
           "p1\nf3\nPTCP\nn*:70000\n",
           "\n\n\n",
       }) {
    CAPTURE(text);
    CHECK(parse_lsof(text).empty());
  }
}

}  // namespace
}  // namespace procmap
