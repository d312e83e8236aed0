// What the table of fields says to people: explanations, completion, help.
#include <algorithm>

#include "mitm/query/filter.h"
#include "tests/mitm/query_flows.h"
#include "tests/test.h"

namespace mitm::query {
namespace {

std::string explained(std::string_view text) {
  const auto filter = Filter::parse(text, {false, test::sample_time()});
  return filter ? filter->explain() : filter.error().message();
}

TEST_CASE("query: filters in words") {
  CHECK(explained("~p curl & ~c 5xx") ==
        "the name or path of the process or its script matches /curl/ and the status of the "
        "response is 500 to 599");
  CHECK(explained("(~q | !~e) & ~size >10k") ==
        "(the flow has no response yet or not (the flow has an error)) and the bytes in both "
        "directions is above 10 KiB");
  CHECK(explained("req.header[x] != a") == "req.header[\"x\"] is not \"a\"");
  CHECK(explained("~hq ^a") == "the header field of the request matches /^a/");
  CHECK(explained("method in {GET, PUT, POST}") ==
        "the method of the request is \"GET\", \"PUT\" or \"POST\"");
  CHECK(explained("duration >= 300ms | ttfb < 2m") ==
        "the time from the beginning to the end is at least 300 ms or the time to the first byte "
        "of the response is below 2 min");
  CHECK(explained("ip != 10.0.0.0/8") == "the address of the server is not in 10.0.0.0/8");
  CHECK(explained("since 10m") ==
        "the time at which the flow began is not before 2026-11-30T09:05:00.000000Z");
  // Of what is to come: from now on.
  for (const char* const soon : {"cert.expires < 10d", "cert.expires < +10d"})
    CHECK(explained(soon) ==
          "the time at which the server's certificate expires is before "
          "2026-12-10T09:15:00.000000Z");
  CHECK(explained("cert.expires > -1d") ==
        "the time at which the server's certificate expires is after "
        "2026-11-29T09:15:00.000000Z");
  CHECK(explained("time > -10m") ==
        "the time at which the flow began is after 2026-11-30T09:05:00.000000Z");
  CHECK(explained("tls.version in {1.3, TLS1.2, tlsv1, SSLv3}") ==
        "the TLS version between the program and osproxy is \"TLSv1.3\", \"TLSv1.2\", "
        "\"TLSv1\" or \"SSLv3\"");
  CHECK(explained("~wq hi") == "a WebSocket message of the program matches /hi/");
  CHECK(explained("~replay") == "never, as osproxy records no replayed flows");
  CHECK(explained("~d \"\x1b\\[31m\"") ==
        "the host of the connection or of the URL matches /\\x1b\\[31m/");
}

/// The candidates, separated by spaces, at "|" in `text`.
std::string completed(std::string text) {
  const auto cursor = text.find('^');
  text.erase(cursor, 1);
  const auto completion = complete(text, cursor);
  std::string all = text.substr(completion.begin, completion.end - completion.begin) + ":";
  for (const auto& candidate : completion.candidates) all += " " + candidate.text;
  return all;
}

TEST_CASE("query: completion by what stands before the cursor") {
  CHECK(completed("tls.v^") == "tls.v: tls.version");
  CHECK(completed("(tls.v^)") == "tls.v: tls.version");
  CHECK(completed("!tls.ver^sion") == "tls.version: tls.version");
  CHECK(completed("~c 5xx & ~mark^") == "~mark: ~marked ~marker");
  CHECK(completed("type == ^") == ": http tcp tls_error pass block dns");
  CHECK(completed("type == t^") == "t: tcp tls_error");
  CHECK(completed("type in {http, t^}") == "t: tcp tls_error");
  CHECK(completed("~m P^") == "P: POST PUT PATCH");
  CHECK(completed("method ^") == ": == != contains startswith endswith matches in");
  CHECK(completed("status ^") == ": == != < <= > >= in");
  CHECK(completed("ip ^") == ": == != in");
  CHECK(completed("req.header[\"x\"] c^") == "c: contains");
  CHECK(completed("~q a^nd").find("and: and all") == 0);
  CHECK(completed("~q and an^") == "an: answered ancestor.name ancestor.path ancestor.pid");
  CHECK(completed("js^") == "js: json[\"");
  CHECK(completed("host == \"cu^") == "\"cu:");
  CHECK(completed("^").find("process.name") != std::string::npos);
  CHECK(completed("~dst x^ ") == "x:");
}

TEST_CASE("query: completion never fails, wherever the cursor is") {
  const std::string text = "~p 'a b' & (status in {5xx, 404}) or req.header[\"x\"] != \"\\\" | !~";
  for (std::size_t cursor = 0; cursor <= text.size() + 2; ++cursor) {
    const auto completion = complete(text, cursor);
    CHECK(completion.begin <= completion.end);
    CHECK(completion.end <= text.size());
  }
}

TEST_CASE("query: what is completed can be parsed") {
  for (const auto& candidate : complete("", 0).candidates) {
    if (candidate.text.starts_with('~')) CHECK(find_operator(candidate.text.substr(1)) != nullptr);
  }
  for (const Field* const field : all_fields()) {
    CAPTURE(field->name);
    for (std::string_view rest = field->candidates; !rest.empty();) {
      const auto value = rest.substr(0, rest.find(' '));
      rest.remove_prefix(std::min(value.size() + 1, rest.size()));
      CHECK(Filter::parse(std::string(field->name) + " == " + std::string(value)));
    }
  }
}

TEST_CASE("query: the help names every field and operator, in lines of at most 100 columns") {
  const std::string text = help();
  std::size_t longest = 0;
  for (std::size_t at = 0; at < text.size();) {
    const auto end = std::min(text.find('\n', at), text.size());
    longest = std::max(longest, end - at);
    at = end + 1;
  }
  CHECK(longest <= 100);
  for (const Field* const field : all_fields()) {
    CAPTURE(field->name);
    if (field->never.empty()) CHECK(text.find("\n" + std::string(field->name)) != text.npos);
    if (!field->letter.empty()) CHECK(text.find(" ~" + std::string(field->letter)) != text.npos);
  }
}

}  // namespace
}  // namespace mitm::query
