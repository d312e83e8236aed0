#include "base/network.h"

#include "tests/test.h"

using namespace base;

TEST_CASE("network: parses, prints and contains") {
  const struct {
    const char *text, *inside, *outside;
  } cases[] = {
      {"10.0.0.0/8", "10.255.255.255", "11.0.0.0"},
      {"192.0.2.1", "192.0.2.1", "192.0.2.2"},
      {"0.0.0.0/0", "255.255.255.255", "::1"},
      {"192.0.2.128/25", "192.0.2.200", "192.0.2.127"},
      {"fe80::/10", "febf::1", "fec0::1"},
      {"::1", "::1", "127.0.0.1"},
  };
  for (const auto& c : cases) {
    CAPTURE(c.text);
    const auto network = parse_network(c.text);
    REQUIRE(network);
    CHECK(to_string(*network) == c.text);
    CHECK(network->contains(boost::asio::ip::make_address(c.inside)));
    CHECK_FALSE(network->contains(boost::asio::ip::make_address(c.outside)));
  }
  CHECK(parse_network("10.0.0.0/8")->contains(boost::asio::ip::make_address("::ffff:10.1.2.3")));
}

TEST_CASE("network: bad ones are refused with what was expected") {
  for (const char* text :
       {"", "10.0.0.0/33", "10.0.0.0/", "10.0.0/8", "fe80::%lo/10", "::/129", "x", "10.0.0.0/-1"}) {
    CAPTURE(text);
    REQUIRE_FALSE(parse_network(text));
    CHECK(parse_network(text).error().text.find(
              "is not a network; expected for example 10.0.0.0/8") != std::string::npos);
  }
  CHECK(parse_network("10.1.0.0/8").error().text ==
        "'10.1.0.0/8' has host bits set; the network is 10.0.0.0/8");
}

TEST_CASE("port range: one port, a range, nonsense") {
  CHECK(*parse_port_range("443") == PortRange{443, 443});
  CHECK(*parse_port_range("8000-8100") == PortRange{8000, 8100});
  CHECK(to_string(PortRange{1, 65535}) == "1-65535");
  for (const char* text : {"", "0", "65536", "80-", "-80", "90-80", "80x", " 80", "http"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_port_range(text));
  }
}

TEST_CASE("endpoint: v4, v6 and v4-mapped") {
  for (const char* text : {"192.0.2.1:443", "[::1]:8443"})
    CHECK(to_string(*parse_endpoint(text)) == text);
  CHECK(to_string(Endpoint{boost::asio::ip::make_address("::ffff:192.0.2.1"), 80}) ==
        "192.0.2.1:80");
  for (const char* text :
       {"", ":80", "::1:80", "192.0.2.1", "[192.0.2.1]:80", "[::1]", "192.0.2.1:65536"}) {
    CAPTURE(text);
    CHECK_FALSE(parse_endpoint(text));
  }
}
