#include "mitm/format/dns_repeats.h"
#include "tests/mitm/sample_flows.h"
#include "tests/test.h"

namespace mitm::format {
namespace {

using std::chrono::milliseconds;
using Flow = DnsRepeats::Flow;

/// `said`: an address, "" (no such records), or an rcode, or "!" for an error.
Flow lookup(const char* type, const std::string& said, milliseconds after = milliseconds{0},
            const char* name = "example.org", pid_t pid = 1234) {
  auto process = std::make_shared<procmap::ProcessFacts>(*sample_process());
  process->id.pid = pid;
  auto connection = std::make_shared<flow::ConnectionRecord>();
  connection->process = std::move(process);
  auto dns = std::make_shared<flow::DnsFlow>();
  dns->connection = std::move(connection);
  dns->began = sample_time() + after;
  dns->name = name;
  dns->type = type;
  const bool address = said.find_first_of(".:") != std::string::npos;
  if (said != "!") dns->rcode = address || said.empty() ? "NOERROR" : said;
  if (said == "!") dns->error = "no answer";
  if (address) dns->answers = {{"cname.test", "CNAME", 1, "x."}, {name, type, 1, said}};
  return dns;
}

std::string shown(const std::list<Flow>& lookups) {
  std::string text;
  for (const auto& dns : lookups) text += dns->type + " ";
  return text;
}

}  // namespace

TEST_CASE("dns_repeats: an answer that adds nothing to another is left out, in either order") {
  const struct {
    const char* what;
    std::vector<Flow> lookups;
    const char* at_once;  ///< types, in order
    const char* at_end;
  } cases[] = {
      {"IPv4 only", {lookup("A", "192.0.2.1"), lookup("AAAA", "")}, "A ", ""},
      {"IPv4 only, AAAA first", {lookup("AAAA", ""), lookup("A", "192.0.2.1")}, "A ", ""},
      {"IPv6 only", {lookup("A", ""), lookup("AAAA", "::1")}, "AAAA ", ""},
      {"both", {lookup("A", "192.0.2.1"), lookup("AAAA", "::1")}, "A AAAA ", ""},
      {"neither", {lookup("A", ""), lookup("AAAA", "")}, "AAAA ", ""},
      {"neither, nor HTTPS",
       {lookup("HTTPS", ""), lookup("A", ""), lookup("AAAA", ""), lookup("HTTPS", "")},
       "AAAA ",
       ""},
      {"no HTTPS", {lookup("HTTPS", ""), lookup("A", "192.0.2.1"), lookup("AAAA", "")}, "A ", ""},
      {"no such name", {lookup("A", "NXDOMAIN"), lookup("AAAA", "NXDOMAIN")}, "A ", ""},
      {"two failures", {lookup("A", "SERVFAIL"), lookup("AAAA", "NXDOMAIN")}, "A AAAA ", ""},
      {"no answer", {lookup("A", "!"), lookup("AAAA", "!")}, "A ", ""},
      {"one of them fails", {lookup("A", "192.0.2.1"), lookup("AAAA", "!")}, "A AAAA ", ""},
      {"asked alone", {lookup("AAAA", "")}, "", "AAAA "},
      {"asked again", {lookup("A", "192.0.2.1"), lookup("A", "192.0.2.1")}, "A A ", ""},
      {"of another process",
       {lookup("A", "192.0.2.1"), lookup("AAAA", "", {}, "example.org", 77)},
       "A ",
       "AAAA "},
      {"of another name",
       {lookup("A", "192.0.2.1"), lookup("AAAA", "", {}, "x.test")},
       "A ",
       "AAAA "},
      {"later", {lookup("A", "192.0.2.1"), lookup("AAAA", "", milliseconds{1001})}, "A ", "AAAA "},
      {"of other types", {lookup("MX", ""), lookup("TXT", "")}, "MX TXT ", ""},
  };
  for (const auto& c : cases) {
    CAPTURE(c.what);
    DnsRepeats repeats;
    std::list<Flow> at_once;
    for (const auto& dns : c.lookups) {
      if (repeats.shows(dns)) at_once.push_back(dns);
    }
    CHECK(shown(at_once) == c.at_once);
    CHECK(shown(repeats.take_all()) == c.at_end);
  }
}

TEST_CASE("dns_repeats: what is kept is shown after a second, once") {
  DnsRepeats repeats;
  CHECK(!repeats.shows(lookup("AAAA", "")));
  CHECK(repeats.take_overdue(sample_time() + milliseconds{1000}).empty());
  CHECK(shown(repeats.take_overdue(sample_time() + milliseconds{1001})) == "AAAA ");
  CHECK(repeats.take_all().empty());
}

TEST_CASE("dns_repeats: a flood of lookups is shown, not remembered") {
  DnsRepeats repeats;
  int shown = 0;
  for (int i = 0; i < 10'000; ++i)
    shown += repeats.shows(lookup("AAAA", "", {}, std::to_string(i).c_str())) ? 1 : 0;
  CHECK(shown > 9'000);
  CHECK(repeats.take_all().size() + static_cast<std::size_t>(shown) == 10'000);
}

}  // namespace mitm::format
