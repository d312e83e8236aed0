// What the first bytes of real protocols are taken for: whole, and as they grow byte by byte.
#include <string_view>

#include "tests/protocol_samples.h"
#include "tests/test.h"

using mitm::sniff::inspect;
using mitm::sniff::Protocol;

TEST_CASE("first_words: what each is recognised as, whole") {
  CHECK(protocol_samples::all().size() >= 100);
  for (const auto& [name, bytes, expected] : protocol_samples::all()) {
    CAPTURE(std::string(name));
    const auto seen = inspect(bytes);
    CHECK(static_cast<int>(seen.protocol) == static_cast<int>(expected));
    CHECK(seen.complete == (expected != Protocol::undecided));
    CHECK(seen.doubtful == (expected == Protocol::undecided));
  }
}

TEST_CASE("first_words: what each is recognised as, byte by byte") {
  for (const auto& [name, bytes, expected] : protocol_samples::all()) {
    CAPTURE(std::string(name));
    bool decided = false;
    for (std::size_t size = 1; size <= bytes.size(); ++size) {
      CAPTURE(size);
      const auto seen = inspect(std::string_view(bytes).substr(0, size));
      if (decided || seen.protocol != Protocol::undecided) {
        CHECK(static_cast<int>(seen.protocol) == static_cast<int>(expected));
      }
      decided = seen.protocol != Protocol::undecided;
    }
    CHECK(decided == (expected != Protocol::undecided));
  }
}

TEST_CASE("first_words: nobody is kept waiting long for a word that no HTTP client sends") {
  for (const auto& [name, bytes, expected] : protocol_samples::all()) {
    CAPTURE(std::string(name));
    for (std::size_t size = 1; size <= bytes.size(); ++size) {
      const auto seen = inspect(std::string_view(bytes).substr(0, size));
      const bool http = expected == Protocol::http1 || expected == Protocol::http2;
      if (http && !std::string_view(name).starts_with("a method of one's own"))
        CHECK_FALSE(seen.doubtful);
      if (seen.protocol != Protocol::undecided) CHECK_FALSE(seen.doubtful);
    }
  }
  for (const auto* word : {"r", "ruok", "stat", "JD", "HELO", "GETX", "get key", "PING"}) {
    CAPTURE(std::string(word));
    CHECK(inspect(word).doubtful);
  }
  for (const auto* word :
       {"G", "GET", "GET ", "GET /", "GET /a b", "PROP", "PROPFIND /x", "FETCHALL /x", "OPTIONS *",
        "CONNECT h.test:4", "PURGE http://h", "PRI", "PRI * H", "\x16", "\x16\x03"}) {
    CAPTURE(std::string(word));
    CHECK(inspect(word).protocol == Protocol::undecided);
    CHECK_FALSE(inspect(word).doubtful);
  }
}

TEST_CASE("first_words: hellos in fragments") {
  int hellos = 0;
  for (const auto& [name, bytes, expected] : protocol_samples::all()) {
    if (expected != Protocol::tls) continue;
    CAPTURE(std::string(name));
    ++hellos;
    for (const std::size_t piece : {1, 4, 5, 50, 127}) {
      CAPTURE(piece);
      const auto fragments = protocol_samples::in_fragments(bytes, piece);
      const auto seen = inspect(fragments);
      CHECK(seen.complete);
      CHECK(seen.host == "h.test");
      CHECK_FALSE(inspect(std::string_view(fragments).substr(0, fragments.size() - 1)).complete);
    }
  }
  CHECK(hellos == 4);
}
