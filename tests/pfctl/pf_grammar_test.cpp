// The checker itself: each mistake that it is there for, beside the same without the mistake.
#include "tests/pfctl/pf_grammar.h"

#include <sstream>

#include <fmt/ranges.h>

#include "base/fd.h"
#include "tests/test.h"

namespace {

using pfctl::Dialect;

std::string checked(std::string_view text, Dialect dialect) {
  const auto good = pf_grammar::check(text, dialect);
  return good ? "" : good.error().text;
}

const std::string kRoute =
    "pass out quick route-to (lo0 127.0.0.1) inet proto tcp to any port 80 user >= 0 group != 1 "
    "keep state\n";
/// Marks what has its verdict "pass", in front of the question.
const std::string kJudged =
    "pass out inet proto tcp user >= 0 group != 1 flags S/SA tos 0x44 tag judged no state\n";
const std::string kAsk =
    "pass out quick inet proto tcp user >= 0 group != 1 flags S/SA ! tagged judged divert-to "
    "127.0.0.1 port 7 no state\n";
const std::string kRdr = "rdr pass on lo0 inet proto tcp from any to ";

struct Sample {
  const char* name;
  Dialect dialect;
};
constexpr Sample kSamples[] = {
    {"darwin", Dialect::darwin},
    {"darwin-exec", Dialect::darwin},
    {"darwin-loopback", Dialect::darwin},
    {"darwin-no-ipv6", Dialect::darwin},
    {"freebsd", Dialect::freebsd},
    {"freebsd-packet", Dialect::freebsd},
    {"freebsd-loopback", Dialect::freebsd},
    {"openbsd", Dialect::openbsd},
};

/// The lines of a sample in conf/ that are not comments.
std::vector<std::string> rules_of(const Sample& sample) {
  std::istringstream text(
      base::read_file(fmt::format(OSPROXY_CONF_DIR "/osproxy.{}.conf", sample.name)).value());
  std::vector<std::string> lines;
  for (std::string line; std::getline(text, line);) {
    if (!line.empty() && line[0] != '#') lines.push_back(line);
  }
  return lines;
}

std::string joined(const std::vector<std::string>& lines) {
  return fmt::format("{}\n", fmt::join(lines, "\n"));
}

/// `lines` with the first that begins with `what` as number `to`, or the last.
std::string moved(std::vector<std::string> lines, std::string_view what, std::size_t to) {
  const auto found =
      std::ranges::find_if(lines, [&](const auto& line) { return line.starts_with(what); });
  REQUIRE(found != lines.end());
  const std::string line = *found;
  lines.erase(found);
  lines.insert(lines.begin() + static_cast<std::ptrdiff_t>(std::min(to, lines.size())), line);
  return joined(lines);
}

/// Whether a word of a rule belongs to pf's language: no name, number or address.
bool is_keyword(const std::string& word) {
  return word.size() > 1 && word != "lo0" && word != "osproxy" &&
         word.find_first_not_of("abcdefghijklmnopqrstuvwxyz-6") == word.npos;
}

}  // namespace

TEST_CASE("pf_grammar: a misspelt word in a sample") {
  int spoilt = 0;
  for (const auto& sample : kSamples) {
    const auto lines = rules_of(sample);
    REQUIRE(checked(joined(lines), sample.dialect) == "");
    for (std::size_t i = 0; i < lines.size(); ++i) {
      for (std::size_t begin = 0; begin < lines[i].size();) {
        const auto end = std::min(lines[i].find(' ', begin), lines[i].size());
        const std::string word = lines[i].substr(begin, end - begin);
        begin = end + 1;
        if (!is_keyword(word)) continue;
        auto bad = lines;
        bad[i].insert(end, "x");
        CAPTURE(bad[i]);
        CHECK(checked(joined(bad), sample.dialect) != "");
        ++spoilt;
      }
    }
  }
  CHECK(spoilt > 500);
}

TEST_CASE("pf_grammar: a brace, bracket or negation dropped from a sample") {
  int spoilt = 0;
  for (const auto& sample : kSamples) {
    const auto lines = rules_of(sample);
    for (std::size_t i = 0; i < lines.size(); ++i) {
      for (std::size_t at = 0; at < lines[i].size(); ++at) {
        const std::string_view rest = std::string_view(lines[i]).substr(at);
        // `user = 0` is another rule, and a good one.
        if (std::string_view("{}()<>!").find(rest[0]) == rest.npos || rest.starts_with(">="))
          continue;
        auto bad = lines;
        bad[i].erase(at, 1);
        CAPTURE(bad[i]);
        CHECK(checked(joined(bad), sample.dialect) != "");
        ++spoilt;
      }
    }
  }
  CHECK(spoilt > 150);
}

TEST_CASE("pf_grammar: a sample's rules in another order") {
  for (const auto& sample : kSamples) {
    CAPTURE(sample.name);
    const auto lines = rules_of(sample);
    CHECK(checked(moved(lines, "table ", 100), sample.dialect) != "");
    if (sample.dialect != Dialect::openbsd)
      CHECK(checked(moved(lines, "rdr ", 100), sample.dialect) != "");
  }
  const auto packet = rules_of({"freebsd-packet", Dialect::freebsd});
  CHECK(checked(moved(packet, "pass out quick route-to (lo0 127.0.0.1)", 100), Dialect::freebsd) !=
        "");
  CHECK(checked(moved(packet, "pass out inet", 100), Dialect::freebsd) != "");
  const auto loopback = rules_of({"darwin-loopback", Dialect::darwin});
  CHECK(checked(moved(loopback, "rdr on lo0 inet ", 1), Dialect::darwin) != "");
}

TEST_CASE("pf_grammar: rejects mistakes") {
  const struct {
    Dialect dialect;
    std::string bad;
    std::string complaint;
  } cases[] = {
      {Dialect::darwin,
       "pass all\nrdr pass on lo0 inet proto tcp to any port 80 -> 127.0.0.1 port 1\n",
       "line 2: rdr stands too late: rules must be in order: options, normalization, queueing, "
       "translation, filtering"},
      {Dialect::freebsd, "pass all\nset skip on lo0\n",
       "line 2: set stands too late: rules must be in order: options, normalization, queueing, "
       "translation, filtering"},
      {Dialect::darwin, "anchor \"a\"\nrdr-anchor \"a\"\n",
       "line 2: rdr-anchor stands too late: rules must be in order: options, normalization, "
       "queueing, translation, filtering"},
      {Dialect::freebsd, "pass in proto tcp to any port { 80, 81\n",
       "line 2: a brace is never closed"},
      {Dialect::freebsd, "pass in }\n", "line 1: unknown word '}'"},
      {Dialect::freebsd, "anchor \"x\" {\npass in\n", "line 3: a brace is never closed"},
      {Dialect::freebsd, "pass \"x\n", "line 1: unbalanced quote"},
      {Dialect::freebsd, "permit all\n", "line 1: unknown word 'permit'"},
      {Dialect::freebsd, "pass out quickly all\n", "line 1: unknown word 'quickly'"},
      {Dialect::darwin, "match all\n", "line 1: unknown word 'match'"},
      {Dialect::openbsd, "rdr pass on lo0 inet proto tcp to any port 80 -> 127.0.0.1\n",
       "line 1: unknown word 'rdr'"},
      {Dialect::openbsd, "pass out route-to 127.0.0.1 inet\n", "line 1: unknown word 'inet'"},
      {Dialect::openbsd,
       "pass out quick inet proto tcp group 1 keep state route-to (lo0 127.0.0.1)\n",
       "line 1: route-to takes an address and no interface here"},
      {Dialect::freebsd, "pass out quick inet proto tcp keep state route-to (lo0 127.0.0.1)\n",
       "line 1: unknown word 'route-to'"},
      {Dialect::darwin,
       "pass out route-to (lo0 127.0.0.1) inet proto tcp to any port 80 group != 1 keep state\n",
       "line 1: route-to without 'quick': a later rule defeats it"},
      {Dialect::darwin,
       "pass out quick route-to (lo0 127.0.0.1) inet proto tcp to any port 80 group != 1\n",
       "line 1: route-to without 'keep state'"},
      {Dialect::darwin,
       "pass out quick route-to (lo0 127.0.0.1) inet proto tcp "
       "to any port 80 group != 1 no state\n",
       "line 1: route-to with 'no state': replies are redirected again"},
      {Dialect::darwin,
       "pass out quick route-to (lo0 127.0.0.1) proto tcp to any port 80 group != 1 keep state\n",
       "line 1: route-to an address without inet or inet6"},
      {Dialect::darwin,
       "pass out quick route-to (lo0 ::1) inet proto tcp to any port 80 group != 1 keep state\n",
       "line 1: ::1 in a rule for inet"},
      {Dialect::darwin,
       "pass out quick route-to (lo0 127.0.0.1) inet proto tcp to any port 80 keep state\n",
       "line 1: route-to without 'user', 'group' or "
       "'tos': the proxy's own connections go round for ever"},
      {Dialect::darwin,
       "pass in quick route-to (lo0 127.0.0.1) inet proto tcp to any group != 1 keep state\n",
       "line 1: route-to on what does not go out"},
      {Dialect::freebsd, "rdr on lo0 inet proto tcp to ! (self) port 80 -> 198.18.0.1 port 1\n",
       "line 2: 'rdr on lo0' without 'pass' to "
       "198.18.0.1: filter rules can stop what it redirects"},
      {Dialect::freebsd, "no rdr pass on lo0 inet proto tcp to any port 80\n",
       "line 1: 'pass' is not valid with 'no'"},
      {Dialect::freebsd, "rdr pass on lo0 inet proto tcp to any port 80 group != 1 -> 127.0.0.1\n",
       "line 1: 'group' does not go with rdr: it sees packets and no sockets"},
      {Dialect::freebsd, "rdr pass on lo0 inet proto tcp to any port 80 user root -> 127.0.0.1\n",
       "line 1: 'user' does not go with rdr: it sees packets and no sockets"},
      {Dialect::freebsd, "rdr pass on lo0 proto tcp to any port 80 -> 127.0.0.1\n",
       "line 1: rdr to an address without inet or inet6"},
      {Dialect::freebsd, "rdr pass on lo0 inet proto tcp to any port 80 -> ::1 port 1\n",
       "line 1: ::1 in a rule for inet"},
      {Dialect::freebsd, "rdr pass on lo0 inet proto tcp to any port 80\n",
       "line 1: rdr without '->'"},
      {Dialect::freebsd, "rdr pass on lo0 inet to any port 80 -> 127.0.0.1\n",
       "line 1: 'port' without proto tcp or udp"},
      {Dialect::freebsd, "pass out quick inet to any port 80\n",
       "line 1: 'port' without proto tcp or udp"},
      {Dialect::freebsd, "pass out quick proto icmp group 1\n",
       "line 1: 'user' and 'group' without proto tcp or udp"},
      {Dialect::freebsd, "pass out proto udp flags S/SA\n", "line 1: 'flags' without proto tcp"},
      {Dialect::freebsd, "pass out proto tcp flags S/SZ\n", "line 1: flags 'S/SZ'"},
      {Dialect::freebsd, "pass out proto tcp to any port 80-90\n", "line 1: '80-90' is not a port"},
      {Dialect::freebsd, "pass out proto tcp to any port 90:80\n", "line 1: '90:80' is not a port"},
      {Dialect::freebsd, "pass out proto tcp to any port 65536\n", "line 1: '65536' is not a port"},
      {Dialect::freebsd, "pass out to { !10.0.0.0/8, !192.168.0.0/16 }\n",
       "line 1: a negation in a list becomes rules that together match everything"},
      {Dialect::freebsd, "pass out to <nobody>\n", "line 1: table <nobody> is not defined"},
      {Dialect::freebsd, "pass out to $nobody\n", "line 1: macro '$nobody' is not defined"},
      {Dialect::darwin, "pass out proto tcp group 2147483648\n",
       "line 1: 2147483648 is no user or group number"},
      {Dialect::darwin,
       "pass out quick inet proto tcp group 1 divert-to 127.0.0.1 port 7 no state\n",
       "line 1: unknown word 'divert-to'"},
      {Dialect::freebsd,
       "pass out quick inet proto tcp user >= 0 group != 1 divert-to 127.0.0.1 port 7 no state\n",
       "line 1: divert-to of what has its verdict: the packet comes round for ever"},
      {Dialect::freebsd,
       kJudged + "pass out quick inet proto tcp user >= 0 "
                 "group != 1 divert-to 127.0.0.1 port 7 no state\n",
       "line 2: divert-to of what has its verdict: the packet comes round for ever"},
      {Dialect::freebsd, "pass out quick proto tcp group 1 keep state\n",
       "line 1: 'quick' takes the last word from the rules behind this anchor"},
      {Dialect::freebsd, "pass out quick inet proto tcp user >= 0 group != 1 tos 0x44 no state\n",
       "line 1: 'quick' takes the last word from the rules behind this anchor"},
      {Dialect::freebsd, "pass out inet proto tcp group != 1 tos 0x44 tag x no state\n",
       "line 1: matches what is only forwarded as well"},
      {Dialect::freebsd,
       "pass out quick inet proto tcp group 1 divert-to 127.0.0.1 port 7 keep state\n",
       "line 1: divert-to without 'no state'"},
      {Dialect::freebsd, "pass out inet proto tcp group 1 divert-to 127.0.0.1 port 7 no state\n",
       "line 1: divert-to without 'quick'"},
      {Dialect::freebsd, "pass out quick proto tcp group 1 divert-to 127.0.0.1 port 7 no state\n",
       "line 1: divert-to is for inet only"},
      {Dialect::openbsd, "pass out quick inet proto tcp divert-to 127.0.0.1 port 7\n",
       "line 1: divert-to on what does not come in"},
      {Dialect::freebsd, "block return out proto tcp keep state\n",
       "line 1: 'keep state' on block"},
      {Dialect::freebsd, "pass out proto tcp keep state (swimming)\n",
       "line 1: unknown word 'swimming'"},
      {Dialect::freebsd, kRdr + "any port 80 -> 198.18.0.1 port 1\n",
       "line 1: takes what is for this machine itself, the proxy's own connections included"},
      {Dialect::freebsd, "table <t> { 10.0.0.1 }\n" + kRdr + "! <t> port 80 -> 198.18.0.1 port 1\n",
       "line 2: takes what is for this machine itself, the proxy's own connections included"},
      {Dialect::openbsd,
       "pass in quick on lo0 inet proto tcp to any port 80 divert-to 127.0.0.1 port 7\n",
       "line 1: takes what is for this machine itself, the proxy's own connections included"},
      {Dialect::freebsd, kRdr + "! (self) -> 127.0.0.1 port 1\n",
       "line 1: rdr to 127.0.0.1: resets get lost, and "
       "IPv6 does not arrive; an alias of lo0 is wanted"},
      {Dialect::freebsd, "pass out proto tcp tagged x\npass out proto tcp tag y\n",
       "line 1: nobody sets the tag x"},
      {Dialect::freebsd, kRdr + "any tagged x -> 198.18.0.1 port 1\npass out proto tcp tag x\n",
       "line 1: rdr on lo0: tags are lost there"},
      {Dialect::darwin, kRdr + "any tagged x -> 198.18.0.1 port 1\npass out proto tcp tag x\n",
       "line 1: rdr on lo0: tags are lost there"},
      {Dialect::freebsd, "rdr pass on lo1 inet6 proto tcp to any -> fdff:6f73::1 port 1\n",
       "line 1: rdr on lo1: IPv6 always comes in on lo0"},
      {Dialect::darwin,
       "no rdr on lo0 inet6 proto tcp from any port 5000:6000 to any\n" + kRdr +
           "any -> 198.18.0.1 port 1\n",
       "line 2: takes what is for this machine itself, the proxy's own connections included"},
      {Dialect::freebsd, kRdr + "! { 10.0.0.1, 10.0.0.2 } -> 198.18.0.1 port 1\n",
       "line 1: '!' before a list"},
      {Dialect::freebsd,
       "pass out quick route-to (lo0 127.0.0.1) inet proto tcp user >= 0 flags S/SA keep state\n",
       "line 1: takes the proxy's own connections as well: they go round for ever"},
      {Dialect::freebsd,
       "pass out quick route-to (lo0 127.0.0.1) inet proto tcp "
       "user >= 0 group 1 flags S/SA keep state\n",
       "line 1: takes one group of all users: 'group !=' is wanted beside 'user'"},
      {Dialect::freebsd, "block return out quick inet proto udp to any port 443 user >= 0\n",
       "line 1: takes the proxy's own connections as well: they go round for ever"},
      {Dialect::freebsd,
       "pass out quick route-to (lo0 127.0.0.1) inet proto tcp user != 5 group != 1 flags S/SA "
       "keep state\n",
       "line 1: matches what is only forwarded as well"},
      {Dialect::freebsd, "pass out proto tcp user >= unknown\n",
       "line 1: unknown is not more or less than others"},
      {Dialect::freebsd, "pass out proto tcp user => 5\n", "line 1: '=>' compares nothing"},
      {Dialect::freebsd,
       kJudged + kAsk +
           "pass out quick route-to (lo0 127.0.0.1) inet proto tcp user >= 0 group != 1 tos 0x4c "
           "keep state\n",
       "line 3: a verdict behind the question: the packet comes round for ever"},
      {Dialect::freebsd, "pass out proto tcp tos 0x4d\n",
       "line 1: tos 0x4d: the lowest two bits are ECN's"},
      {Dialect::freebsd, "pass out proto tcp tos high\n",
       "line 1: 'high' is not a type of service"},
      {Dialect::freebsd, "block return out quick inet6 proto tcp user >= 0 group != 1\n",
       "line 1: block without 'flags S/SA' ends connections that are older than it"},
      {Dialect::freebsd, "pass out proto tpc\n", "line 1: unknown protocol 'tpc'"},
      {Dialect::freebsd, "pass out to 10.0.0.300\n", "line 1: '10.0.0.300' is not an address"},
      {Dialect::freebsd, "table <t> { 10.0.0.0/33 }\n", "line 1: '10.0.0.0/33' is not an address"},
      {Dialect::freebsd, "set skipp on lo0\n", "line 1: unknown option 'skipp'"},
      {Dialect::freebsd, "# a comment\\\nthat goes on\npass alll\n", "line 3: unknown word 'alll'"},
  };
  for (const auto& bad : cases) {
    CAPTURE(bad.bad);
    CHECK(checked(bad.bad, bad.dialect) == bad.complaint);
  }
}

TEST_CASE("pf_grammar: accepts what is right") {
  const struct {
    Dialect dialect;
    std::string good;
  } cases[] = {
      {Dialect::darwin, ""},
      {Dialect::darwin, kRoute},
      {Dialect::freebsd, kRoute},
      {Dialect::openbsd,
       "pass out quick inet proto tcp to any port 80 "
       "user >= 0 group != 1 keep state route-to 127.0.0.1"},
      {Dialect::freebsd,
       "pass out quick route-to (lo0 127.0.0.1) inet proto tcp group != 1 user != unknown keep "
       "state\n"},
      {Dialect::openbsd,
       "pass in quick on lo0 inet6 proto tcp to ! (self) keep state divert-to ::1 port 1\n"},
      {Dialect::freebsd,
       kJudged + "pass out quick inet proto tcp group != 1 user != unknown ! tagged judged "
                 "divert-to 127.0.0.1 port 700 no state\n"},
      {Dialect::freebsd, kJudged + kAsk},
      {Dialect::freebsd,
       "pass quick on lo0 inet proto tcp from any to any flags R/R tos 0x54 no state\n"
       "pass quick on lo0 inet proto icmp from any to any icmp-type unreach tos 0x54 no state\n"},
      {Dialect::freebsd, "rdr pass on lo1 inet proto tcp to any port 80 -> 198.18.0.1 port 1\n"},
      {Dialect::darwin,
       "no rdr on lo0 inet proto tcp from any port 5000:6000 to any\n"
       "rdr on lo0 inet proto tcp to any -> 198.18.0.1 port 1\n"
       "pass in quick on lo0 reply-to (lo0 127.0.0.1) inet proto tcp from any to 198.18.0.1 port "
       "1 keep state\n"},
      {Dialect::freebsd, "table <t> { self }\n" + kRdr + "! <t> -> 198.18.0.1 port 1\n"},
      {Dialect::freebsd, kRdr + "! (self) port >= 1024 -> 198.18.0.1 port 1\n"},
      {Dialect::freebsd, "no rdr on lo0 inet proto tcp from any to any port 10000:65535\n"},
      {Dialect::freebsd,
       "rdr on em0 inet proto tcp to (em0) port 80 -> { 10.0.0.1, 10.0.0.2 } port 8080 "
       "round-robin\n"},
      {Dialect::freebsd, "set require-order no\npass all\nset skip on lo0\n"},
      {Dialect::freebsd,
       "if = \"em0\"\nnets = \"{ 10.0.0.0/8, 192.168.0.0/16 }\"\npass in on $if from $nets\n"},
      {Dialect::freebsd, "table <bad> persist file \"/etc/bad\"\nblock in quick from <bad>\n"},
      {Dialect::freebsd, "pass in proto { tcp, udp } \\\n  to port {\n 80, # web\n 443\n}\n"},
      {Dialect::freebsd, "anchor \"x\" in on em0 {\n  pass in proto tcp to port 80\n}\npass out\n"},
      {Dialect::darwin, "dummynet-anchor \"x\"\nanchor \"x\"\nload anchor \"x\" from \"/etc/x\"\n"},
  };
  for (const auto& good : cases) {
    CAPTURE(good.good);
    CHECK(checked(good.good, good.dialect) == "");
  }
}

TEST_CASE("pf_grammar: no beginning of a good text breaks it") {
  const std::string text =
      "x = \"em0\"\ntable <t> { 10.0.0.0/8, ::1 }\nanchor \"a\" {\n pass in on $x\n}\n" + kRoute;
  for (std::size_t length = 0; length <= text.size(); ++length) {
    static_cast<void>(
        pf_grammar::check(std::string_view(text).substr(0, length), Dialect::freebsd));
  }
}
