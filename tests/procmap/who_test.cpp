#include "procmap/who.h"

#include <nlohmann/json.hpp>

#include "base/text.h"
#include "tests/test.h"

namespace procmap {
namespace {

base::Endpoint at(const char* text) {
  return base::parse_endpoint(text).value();
}

std::shared_ptr<ProcessFacts> curl() {
  auto facts = std::make_shared<ProcessFacts>();
  facts->id = {4711, 99};
  facts->ppid = 42;
  facts->name = "curl";
  facts->exe = "/usr/bin/curl";
  facts->argv = {"curl", "-v"};
  facts->user = "ann";
  facts->start_time = std::chrono::system_clock::time_point{std::chrono::seconds{1}};
  return facts;
}

SocketRow row(const char* local, const char* remote, const char* state,
              std::shared_ptr<const ProcessFacts> process) {
  return {at(local), at(remote), state, {SocketFacts{}, std::move(process)}};
}

}  // namespace

TEST_CASE("who: a table with aligned columns") {
  const auto listener = row("[::]:443", "[::]:0", "LISTEN", nullptr);
  const auto connection = row("192.0.2.1:40000", "198.51.100.7:443", "ESTAB", curl());
  CHECK(render_who_text({listener, connection}) ==
        "LOCAL            REMOTE            STATE  PID   USER  PROCESS\n"
        "192.0.2.1:40000  198.51.100.7:443  ESTAB  4711  ann   /usr/bin/curl\n"
        "1 more has no process that can be seen: 1 in LISTEN (-f jsonl lists it)\n");
  CHECK(render_who_text({row("[::]:443", "[::]:0", "LISTEN", curl())}) ==
        "LOCAL     REMOTE  STATE   PID   USER  PROCESS\n"
        "[::]:443  *       LISTEN  4711  ann   /usr/bin/curl\n");
  CHECK(render_who_text({}) == "LOCAL  REMOTE  STATE  PID  USER  PROCESS\n");
}

TEST_CASE("who: a process without a path is shown by its name; what is not printable is escaped") {
  auto facts = curl();
  facts->exe.clear();
  CHECK(render_who_text({row("1.1.1.1:1", "2.2.2.2:2", "ESTAB", facts)}).ends_with(" curl\n"));
  facts->exe = "/tmp/\x1b[31m\nx\xff";
  const auto text = render_who_text({row("1.1.1.1:1", "2.2.2.2:2", "ESTAB", facts)});
  CHECK(text.find("/tmp/\\x1b[31m\\x0ax") != text.npos);
  CHECK(std::ranges::count(text, '\n') == 2);
  CHECK(base::is_utf8(text));
}

TEST_CASE("who: one JSON object a line") {
  auto odd = curl();
  odd->argv = {"\xff\n", "\"", ""};
  const auto text = render_who_jsonl({row("[::]:443", "[::]:0", "LISTEN", nullptr),
                                      row("[2001:db8::1]:1", "[2001:db8::2]:2", "ESTAB", curl()),
                                      row("1.1.1.1:1", "2.2.2.2:2", "ESTAB", odd)});
  std::vector<nlohmann::json> lines;
  for (std::size_t begin = 0; begin < text.size();) {
    const auto end = text.find('\n', begin);
    REQUIRE(end != text.npos);
    lines.push_back(nlohmann::json::parse(text.substr(begin, end - begin)));
    begin = end + 1;
  }
  REQUIRE(lines.size() == 3);
  CHECK(lines[0] ==
        nlohmann::json::parse(
            R"({"local": "[::]:443", "remote": null, "state": "LISTEN", "process": null})"));
  CHECK(lines[1] ==
        nlohmann::json::parse(
            R"({"local": "[2001:db8::1]:1", "remote": "[2001:db8::2]:2", "state": "ESTAB",
      "process": {"pid": 4711, "ppid": 42, "name": "curl", "exe": "/usr/bin/curl",
      "argv": ["curl", "-v"],
      "user": "ann",
                  "start_time": "1970-01-01T00:00:01.000000Z"}})"));
  CHECK(lines[2]["process"]["argv"] == nlohmann::json{"\ufffd\n", "\"", ""});
}

TEST_CASE("who: ends of sockets as they are typed") {
  struct Case {
    const char* text;
    const char* address;  ///< null: any
    std::uint16_t port;
  };
  for (const auto& [text, address, port] :
       {Case{":443", nullptr, 443}, Case{"443", nullptr, 443}, Case{"192.0.2.1:1", "192.0.2.1", 1},
        Case{"[::1]:65535", "::1", 65535}, Case{"[::ffff:192.0.2.1]:5", "192.0.2.1", 5},
        Case{"192.0.2.1", "192.0.2.1", 0}, Case{"::1", "::1", 0}, Case{"[::1]", "::1", 0},
        Case{"::ffff:192.0.2.1", "192.0.2.1", 0}}) {
    CAPTURE(text);
    const auto end = parse_socket_end(text);
    REQUIRE(end);
    CHECK(end->port == port);
    CHECK(end->address.has_value() == (address != nullptr));
    if (address) CHECK(end->address->to_string() == address);
  }
  for (const char* bad : {"", ":", "0", "65536", ":0", ":65536", ":-1", ":443x", "443x", "192.0.2",
                          "192.0.2.1:0", "[192.0.2.1]", "localhost:80", "localhost", " :443"}) {
    CAPTURE(bad);
    CHECK(parse_socket_end(bad).error().text ==
          fmt::format("'{}' is neither a port nor an address", bad));
  }
}

TEST_CASE("who: an interpreter is shown with its script") {
  auto facts = curl();
  facts->exe = "/usr/bin/python3.11";
  facts->other_names = {"python3", "/opt/prog.py"};
  CHECK(render_who_text({row("1.1.1.1:1", "2.2.2.2:2", "ESTAB", facts)})
            .ends_with(" /usr/bin/python3.11 prog.py\n"));
}

TEST_CASE("who: what no process has any more comes last, and is counted in the table") {
  std::vector<SocketRow> rows{row("192.0.2.1:1", "192.0.2.2:443", "TIME-WAIT", nullptr),
                              row("192.0.2.1:2", "192.0.2.2:443", "ESTAB", curl()),
                              row("192.0.2.1:3", "192.0.2.2:443", "ESTAB", nullptr),
                              row("192.0.2.1:4", "192.0.2.2:443", "CLOSE-WAIT", curl())};
  procmap::sort_rows(rows);
  std::string ports;
  for (const auto& one : rows) ports += std::to_string(one.local.port());
  CHECK(ports == "2413");
  const auto text = render_who_text(rows);
  CHECK(
      text.ends_with("\n2 more have no process that can be seen: 1 in ESTAB, 1 in TIME-WAIT "
                     "(-f jsonl lists them)\n"));
  CHECK(render_who_text({rows.back()}) ==
        "1 socket has no process that can be seen: 1 in ESTAB (-f jsonl lists it)\n");
}

TEST_CASE("who: names of programs drive no terminal") {
  auto facts = curl();
  facts->user = "a\u200bnn";
  facts->exe = "/tmp/\u202egnp\x1b[2J";
  const auto connection = row("192.0.2.1:40000", "198.51.100.7:443", "ESTAB", facts);
  CHECK(render_who_text({connection}).ends_with("a\\u200bnn  /tmp/\\u202egnp\\x1b[2J\n"));
  const auto json = render_who_jsonl({connection});
  CHECK(std::ranges::all_of(json, [](char c) { return (c >= 0x20 && c < 0x7f) || c == '\n'; }));
  CHECK(nlohmann::json::parse(json)["process"]["exe"] == facts->exe);
}

TEST_CASE("who: either end matches") {
  const auto connection = row("192.0.2.1:40000", "198.51.100.7:443", "ESTAB", nullptr);
  const auto matches = [&](const char* text) {
    return parse_socket_end(text)->matches(connection);
  };
  CHECK(matches(":443"));
  CHECK(matches(":40000"));
  CHECK(matches("198.51.100.7:443"));
  CHECK(matches("192.0.2.1:40000"));
  CHECK(matches("[::ffff:192.0.2.1]:40000"));
  CHECK(matches("443"));
  CHECK(matches("198.51.100.7"));
  CHECK(matches("192.0.2.1"));
  CHECK_FALSE(matches("192.0.2.9"));
  CHECK_FALSE(matches(":44"));
  CHECK_FALSE(matches("192.0.2.1:443"));
  CHECK_FALSE(matches("[::1]:443"));
}

}  // namespace procmap
