// Main rulesets of other people with our lines and without. The texts are ours, in the style of
// each system's own examples.
#include "pfctl/pf_conf.h"

#include "tests/pfctl/pf_grammar.h"
#include "tests/test.h"

namespace {

using pfctl::Dialect;

#define MARK " # by osproxy rules --into\n"
const std::string kRdr = "rdr-anchor \"osproxy\"" MARK;
const std::string kAnchor = "anchor \"osproxy\"" MARK;
const std::string kLoad = "load anchor \"osproxy\" from \"/usr/local/etc/osproxy.pf.conf\"" MARK;
const std::string kDarwinRdr = "rdr-anchor \"com.apple/osproxy\"" MARK;
const std::string kDarwinAnchor = "anchor \"com.apple/osproxy\"" MARK;
const std::string kDarwinLoad =
    "load anchor \"com.apple/osproxy\" from \"/etc/pf.anchors/osproxy\"" MARK;
const std::string kOpenbsdLoad = "load anchor \"osproxy\" from \"/etc/osproxy.pf.conf\"" MARK;

/// `pieces` make a main ruleset; where a piece is one of our lines it belongs there, and is not in
/// the original.
struct Fixture {
  const char* name;
  Dialect dialect;
  std::vector<std::string> pieces;
  std::vector<std::string> notes = {};
};

bool is_ours(const std::string& piece) {
  return piece.find("# by osproxy rules --into") != piece.npos;
}

std::string original_of(const Fixture& fixture) {
  std::string out;
  for (const auto& piece : fixture.pieces) out += is_ours(piece) ? "" : piece;
  return out;
}

std::string edited_of(const Fixture& fixture) {
  std::string out;
  for (const auto& piece : fixture.pieces) out += piece;
  return out;
}

std::vector<Fixture> fixtures() {
  return {
      {"macOS's own: the wildcards evaluate our anchor",
       Dialect::darwin,
       {"#\n# Default PF configuration file.\n#\n"
        "scrub-anchor \"com.apple/*\"\nnat-anchor \"com.apple/*\"\nrdr-anchor \"com.apple/*\"\n"
        "dummynet-anchor \"com.apple/*\"\nanchor \"com.apple/*\"\n"
        "load anchor \"com.apple\" from \"/etc/pf.anchors/com.apple\"\n",
        kDarwinLoad}},
      {"macOS, where a VPN has replaced the main ruleset",
       Dialect::darwin,
       {"set block-policy drop\nscrub in all\n", kDarwinRdr,
        "nat on utun3 inet from any to any -> (utun3)\ndummynet-anchor \"vpn\"\n", kDarwinAnchor,
        "anchor \"vpn\"\npass out quick on utun3 all\nblock drop out all\n", kDarwinLoad}},
      {"macOS, a wildcard for the filter only",
       Dialect::darwin,
       {kDarwinRdr, "anchor \"com.apple/*\" all\n", kDarwinLoad}},
      {"FreeBSD's example",
       Dialect::freebsd,
       {"# Required order: options, normalization, queueing, translation, filtering.\n"
        "ext_if = \"em0\"\nint_if = \"em1\"\nset skip on tap0\n\nscrub in\n\n"
        "altq on $ext_if cbq bandwidth 10Mb queue { std, ssh }\n\n",
        kRdr,
        "nat-anchor \"ftp-proxy/*\"\nrdr-anchor \"ftp-proxy/*\"\n"
        "nat on $ext_if inet from ! ($ext_if) -> ($ext_if:0)\n"
        "rdr pass on $int_if proto tcp to port ftp -> 127.0.0.1 port 8021\n\n",
        kAnchor,
        "anchor \"ftp-proxy/*\"\nblock in\npass out\n\npass quick on $int_if no state\n"
        "antispoof quick for { lo $int_if }\n\n"
        "pass in on $ext_if proto tcp to ($ext_if) port ssh\npass in log on $ext_if proto tcp to "
        "($ext_if) port smtp\n",
        kLoad}},
      {"OpenBSD's own, which skips lo",
       Dialect::openbsd,
       {"# See pf.conf(5) and /etc/examples/pf.conf\n\nset skip on lo\n\n", kAnchor,
        "block return\t# block stateless traffic\npass\t\t# establish keep-state\n\n"
        "# By default, do not permit remote connections to X11\n"
        "block return in on ! lo0 proto tcp to port 6000:6010\n",
        kOpenbsdLoad},
       {"line 3: while pf skips lo0, diverted connections time out; take it out of `set skip on`"}},
      {"a reference of the user's own behind a quick rule",
       Dialect::freebsd,
       {"rdr-anchor \"osproxy\"\nblock in quick on em0\npass out quick on em1\npass out quick all\n"
        "anchor \"osproxy\"\n",
        kLoad},
       {"line 5: what the quick rule of line 3 decides on does not come to this reference; put "
        "it in front of all filter rules"}},
      {"a reference of the user's own in front of them",
       Dialect::freebsd,
       {"rdr-anchor \"osproxy\"\nblock in quick on em0\nanchor \"osproxy\"\npass out quick all\n"
        "anchor \"osproxy\"\n",
        kLoad}},
      {"macOS's wildcards behind a VPN's quick rule",
       Dialect::darwin,
       {"rdr-anchor \"com.apple/*\"\npass quick on utun3 all\nanchor \"com.apple/*\"\n",
        kDarwinLoad},
       {"line 3: what the quick rule of line 2 decides on does not come to this reference; put "
        "it in front of all filter rules"}},
      {"an empty file", Dialect::freebsd, {kRdr, kAnchor, kLoad}},
      {"comments and nothing else",
       Dialect::freebsd,
       {"# pass all\n\n# rdr-anchor \"osproxy\"\n", kRdr, kAnchor, kLoad}},
      {"no final newline",
       Dialect::freebsd,
       {kRdr, kAnchor, "block in all\npass out all",
        "\nload anchor \"osproxy\" from \"/usr/local/etc/osproxy.pf.conf\" # by osproxy rules "
        "--into"}},
      {"no final newline and no filter rule",
       Dialect::freebsd,
       {"set skip on tap0",
        "\nrdr-anchor \"osproxy\" # by osproxy rules --into\nanchor \"osproxy\" # by osproxy "
        "rules --into\n"
        "load anchor \"osproxy\" from \"/usr/local/etc/osproxy.pf.conf\" # by osproxy rules "
        "--into"}},
      {"lines that end with CR LF",
       Dialect::freebsd,
       {"set block-policy return\r\n", "rdr-anchor \"osproxy\" # by osproxy rules --into\r\n",
        "anchor \"osproxy\" # by osproxy rules --into\r\n", "pass \\\r\n  all\r\n",
        "load anchor \"osproxy\" from \"/usr/local/etc/osproxy.pf.conf\" "
        "# by osproxy rules --into\r\n"}},
      {"continued lines, one of them a comment",
       Dialect::freebsd,
       {"set timeout { tcp.first 10, \\\n  tcp.opening 10 }\n# "
        "nat on em0 \\\n  from any to any -> (em0)\n",
        kRdr, kAnchor, "pass in \\\n  proto tcp \\\n  to port 80\n", kLoad}},
      {"a continuation before the first word",
       Dialect::freebsd,
       {kRdr, kAnchor, "\\\n\\\n pass all\n", kLoad}},
      {"lists over lines, with words in them that begin statements",
       Dialect::freebsd,
       {"table <t> persist {\n  10.0.0.0/8, # pass\n  192.168.0.0/16\n}\n", kRdr, kAnchor,
        "block in from {\n  1.2.3.4,\n  5.6.7.8\n}\n", kLoad}},
      {"includes",
       Dialect::freebsd,
       {"include \"/etc/pf.options\"\n", kRdr, kAnchor, "pass all\ninclude \"/etc/pf.local\"\n",
        kLoad},
       {"line 1: what this includes was not read; if it holds translation or filter rules, "
        "osproxy's lines must stand before it"}},
      {"includes that end a file without rules",
       Dialect::freebsd,
       {"include \"/etc/pf.macros\"\nset limit states 1000\n", kRdr, kAnchor,
        "include \"/etc/pf.nat\"\n# and\ninclude \"/etc/pf.rules\"\n", kLoad},
       {"line 1: what this includes was not read; if it holds translation or filter rules, "
        "osproxy's lines must stand before it"}},
      {"translation rules, and an include at the end",
       Dialect::freebsd,
       {kRdr, "nat on em0 inet from any to any -> (em0)\n", kAnchor,
        "include \"/etc/pf.rules\"\nload anchor \"x\" from \"/etc/x\"\n", kLoad}},
      {"anchors of others, also with rules in braces",
       Dialect::freebsd,
       {kRdr, "rdr-anchor \"relayd/*\"\n", kAnchor,
        "anchor \"mine\" in on em0 {\n  anchor \"osproxy2\"\n  "
        "pass in proto tcp to port { 22,\n    "
        "80 }\n}\n"
        "anchor \"osproxy/*\"\npass out\n",
        kLoad}},
      {"macros whose values look like rules",
       Dialect::freebsd,
       {"rule = \"pass all # { \"\nweb = \"{ 80 443 }\"\nanchor = \"em0\"\n", kRdr, kAnchor,
        "pass in proto tcp to port $web\n", kLoad}},
      {"a quote over two lines",
       Dialect::freebsd,
       {"x = \"em0\n  em1\"\n", kRdr, kAnchor, "pass\n", kLoad}},
      {"tables, labels with # and apostrophes in comments",
       Dialect::freebsd,
       {"# it's ours\ntable <x> const { 10.0.0.1, !10.0.0.2 }\n", kRdr, kAnchor,
        "pass in proto tcp to port 80 label \"web #1\" # don't\n", kLoad}},
      {"set skip on a list with lo0",
       Dialect::freebsd,
       {"set skip on { em1, lo0 }\n", kRdr, kAnchor, "pass\n", kLoad},
       {"line 1: while pf skips lo0, diverted connections time out; take it out of `set skip on`"}},
      {"references of the user's own hand",
       Dialect::freebsd,
       {"rdr-anchor \"osproxy\"\nanchor \"osproxy\" all\npass\n", kLoad}},
      {"references for some packets only are none",
       Dialect::freebsd,
       {kRdr, kAnchor, "anchor \"osproxy\" in on em0\npass\n", kLoad}},
      {"a wildcard for everything below the root",
       Dialect::freebsd,
       {"rdr-anchor \"*\"\nanchor \"*\"\npass\n", kLoad}},
      {"an anchor that is loaded from elsewhere",
       Dialect::freebsd,
       {kRdr, kAnchor, "pass\nload anchor \"osproxy\" from \"/root/my.conf\"\n"}},
      {"rules in no order, by request",
       Dialect::freebsd,
       {"set require-order no\n", kAnchor, "pass all\n", kRdr,
        "no nat on em0 from any to 10.0.0.0/8\nset skip on em1\n", kLoad}},
  };
}

}  // namespace

TEST_CASE("pf_conf: our lines go in at the right places and come out again, byte for byte") {
  for (const auto& fixture : fixtures()) {
    CAPTURE(fixture.name);
    const std::string original = original_of(fixture);
    const auto edited = pfctl::insert_anchor(original, fixture.dialect);
    REQUIRE(edited);
    CHECK(edited->text == edited_of(fixture));
    CHECK(edited->notes == fixture.notes);
    CHECK(pfctl::insert_anchor(edited->text, fixture.dialect).value().text == edited->text);
    CHECK(pfctl::remove_anchor(edited->text).value() == original);
    CHECK(pfctl::remove_anchor(original).value() == original);
    const auto good = pf_grammar::check(edited->text, fixture.dialect);
    CHECK((good ? "" : good.error().text) == "");
  }
}

TEST_CASE("pf_conf: every fixture cut at every offset is refused or comes back whole") {
  for (const auto& fixture : fixtures()) {
    const std::string original = original_of(fixture);
    for (std::size_t length = 0; length <= original.size(); ++length) {
      const std::string part = original.substr(0, length);
      for (const auto dialect : {Dialect::darwin, Dialect::freebsd, Dialect::openbsd}) {
        const auto edited = pfctl::insert_anchor(part, dialect);
        if (!edited) {
          CHECK(edited.error().text.starts_with("line "));
          continue;
        }
        CAPTURE(part);
        REQUIRE(pfctl::remove_anchor(edited->text).value() == part);
        REQUIRE(pfctl::insert_anchor(edited->text, dialect).value().text == edited->text);
      }
    }
  }
}

TEST_CASE("pf_conf: a line of ours that something else needs now is put right") {
  const std::string stale = kAnchor + "pass\n" + kRdr;
  CHECK(pfctl::insert_anchor(stale, Dialect::freebsd).value().text ==
        kRdr + kAnchor + "pass\n" + kLoad);
  const std::string other = pfctl::insert_anchor("pass\n", Dialect::darwin).value().text;
  CHECK(pfctl::insert_anchor(other, Dialect::freebsd).value().text ==
        kRdr + kAnchor + "pass\n" + kLoad);
}

TEST_CASE("pf_conf: what only looks like a line of ours stays") {
  for (const std::string& text :
       {"# \\\n" + kAnchor, "x = '\n" + kAnchor + "'\n", "anchor \"x\" {\n" + kAnchor + "}\n",
        " " + kAnchor, std::string("anchor \"osproxy\"\n")}) {
    CAPTURE(text);
    CHECK(pfctl::remove_anchor(text).value() == text);
  }
}

TEST_CASE("pf_conf: what is refused, and on which line") {
  using namespace std::string_view_literals;
  const struct {
    std::string_view text;
    std::string complaint;
  } cases[] = {
      {"pass\nanchor \"x\" {\npass\n", "line 2: this brace is never closed"},
      {"set limit states 10\n}\n", "line 2: this brace was never opened"},
      {"pass\nx = \"a\n", "line 2: this quote is never closed"},
      {"pass\0"sv, "line 1: a NUL byte; this is not a pf.conf"},
      {"pass\npermit all\n",
       "line 2: 'permit' begins no statement of pf.conf that is known here; add the lines by hand"},
      {"$rule\n",
       "line 1: '$' begins no statement of pf.conf that is known here; add the lines by hand"},
      {"\"pass\" all\n",
       "line 1: 'pass' begins no statement of pf.conf that is known here; add the lines by hand"},
      {"no\n",
       "line 1: 'no' begins no statement of pf.conf that is known here; add the lines by hand"},
      {"pass\nanchor \"osproxy\" {\n pass\n}\n",
       "line 2: the anchor osproxy has rules of its own here; give it another name"},
  };
  for (const auto& one : cases) {
    CAPTURE(one.text);
    const auto edited = pfctl::insert_anchor(one.text, Dialect::freebsd);
    CHECK((edited ? "" : edited.error().text) == one.complaint);
  }
}
