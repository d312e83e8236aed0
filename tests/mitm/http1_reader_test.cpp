// The HTTP/1 reader: every stream is given whole, byte by byte and cut at every offset, and must
// tell the same story; heads and bodies that could be read in two ways are refused.
#include <string>
#include <vector>

#include "mitm/http/http1.h"
#include "tests/mitm/http1_messages.h"
#include "tests/test.h"

using http1_test::kBad;
using http1_test::kGood;
using mitm::http::Answers;
using mitm::http::Framing;
using mitm::http::Http1Reader;
using mitm::http::Side;
using What = Http1Reader::What;

namespace {

/// What a reader said, with body pieces joined: independent of where the input was cut.
struct Story {
  std::string text;
  std::string error;
  std::size_t covered = 0;
  bool operator==(const Story&) const = default;
};

class Listener {
 public:
  Listener(Side side, std::vector<Answers> answers) : reader_(side), answers_(std::move(answers)) {
    next_answer();
  }
  void hear(std::string_view bytes) {
    held_.append(bytes);
    std::size_t at = 0;
    for (bool more = true; more;) {
      const auto event = reader_.next(std::string_view(held_).substr(at));
      at += event.size;
      more = tell(event);
    }
    story_.covered += at;
    held_.erase(0, at);
  }
  Story end() {
    const auto at = reader_.at_end(!held_.empty());
    story_.text += at == Http1Reader::AtEnd::between_messages ? "."
                   : at == Http1Reader::AtEnd::completes_body ? "$"
                                                              : "!";
    return story_;
  }

 private:
  void next_answer() {
    if (answer_ < answers_.size()) reader_.answers(answers_[answer_++]);
  }
  bool tell(const Http1Reader::Event& event) {
    auto& head = reader_.head();
    switch (event.what) {
      case What::need_more:
        return false;
      case What::head:
        story_.text += head.status != 0 ? fmt::format("[{}", head.status)
                                        : fmt::format("[{} {}", head.method, head.target);
        for (std::size_t i = 0; i < head.fields.size(); ++i) {
          story_.text += fmt::format("|{}={}", head.fields[i].first, head.fields[i].second);
        }
        story_.text += "]";
        return true;
      case What::body:
        story_.text += event.body;
        return true;
      case What::end:
        for (std::size_t i = 0; i < reader_.trailers().size(); ++i) {
          const auto [name, value] = reader_.trailers()[i];
          story_.text += fmt::format("|{}={}", name, value);
        }
        story_.text += ";";
        if (!head.interim()) next_answer();
        return true;
      case What::bad:
        story_.error = reader_.error();
        return false;
    }
    return false;
  }

  Http1Reader reader_;
  std::vector<Answers> answers_;
  std::size_t answer_ = 0;
  std::string held_;
  Story story_;
};

Story told(Side side, std::string_view stream, const std::vector<Answers>& answers,
           const std::vector<std::size_t>& cuts) {
  Listener listener{side, answers};
  std::size_t from = 0;
  for (const auto cut : cuts) {
    listener.hear(stream.substr(from, cut - from));
    from = cut;
  }
  listener.hear(stream.substr(from));
  return listener.end();
}

/// The story, after checking that no cut changes it.
Story story_of(Side side, std::string_view stream, const std::vector<Answers>& answers = {}) {
  const Story whole = told(side, stream, answers, {});
  std::vector<std::size_t> all;
  for (std::size_t i = 1; i < stream.size(); ++i) {
    all.push_back(i);
    const Story cut = told(side, stream, answers, {i});
    CAPTURE(i);
    CHECK(cut.text == whole.text);
    CHECK(cut.error == whole.error);
    if (whole.error.empty()) CHECK(cut.covered == whole.covered);
  }
  const Story bytewise = told(side, stream, answers, all);
  CHECK(bytewise.text == whole.text);
  CHECK(bytewise.error == whole.error);
  return whole;
}

}  // namespace

TEST_CASE("http1 reader: messages are distinguished wherever the input is cut") {
  for (const auto& good : kGood) {
    CAPTURE(good.name);
    const Story story = story_of(good.side, good.stream, good.answers);
    CHECK(story.text == good.text);
    CHECK(story.error == "");
    CHECK(story.covered + (good.name == std::string_view("cut head") ? 8 : 0) ==
          good.stream.size());
  }
}

TEST_CASE("http1 reader: what could be read in two ways is refused") {
  for (const auto& bad : kBad) {
    CAPTURE(bad.name);
    const Story story = story_of(bad.side, bad.stream);
    CHECK(story.error.find(bad.error) != std::string::npos);
    CHECK_MESSAGE(story.error != "", bad.error);
  }
}

TEST_CASE(
    "http1 reader: whatever a generous reader may take for a field of the framing is refused") {
  const std::string spellings[] = {
      " Content-Length: 3",
      "\tTransfer-Encoding: chunked",
      "Content-Length\v: 3",
      "\x01"
      "Content-Length: 3",
      "Content\x01-Length: 3",
      "Content Length: 3",
      "Content-Length 3",
      "Transfer-Encoding chunked",
      "Content-Length",
      "Content-\xc2\xadLength: 3",
      "Content\xe2\x80\x90Length: 3",
      "tran\xc5\xbf"
      "fer-encoding: chunked",
      ":Content-Length: 3",
      ": Transfer-Encoding: chunked",
      "\"Content-Length\": 3",
      "(a) Content-Length: 3",
      "Content-Length\xa0: 3",
      "Content-Length: 3\x0b",
      "Transfer-Encoding: \x0c"
      "chunked",
      "X: a\x0b"
      "Content-Length: 3",
      "X: a\x1eTransfer-Encoding: chunked",
      "A: b\r\n Content-Length: 3",
      "A: b\r\n c\r\n\tTransfer-Encoding : chunked",
  };
  for (const auto side : {Side::request, Side::response}) {
    const std::string line = side == Side::request ? "POST / HTTP/1.1\r\n" : "HTTP/1.1 200 OK\r\n";
    for (const auto& spelling : spellings) {
      CAPTURE(spelling);
      CHECK(story_of(side, line + spelling + "\r\n\r\n").error.find("where the message ends") !=
            std::string::npos);
    }
  }
  // In a response a blank before the colon means nothing (RFC 9112 section 5.1); a request has
  // none.
  CHECK(story_of(Side::request, "POST / HTTP/1.1\r\nContent-Length : 3\r\n\r\nabc").error != "");
  CHECK(story_of(Side::response, "HTTP/1.1 200 OK\r\nContent-Length : 3\r\n\r\nabc").error == "");
}

TEST_CASE("http1 reader: what is refused has its fields") {
  Http1Reader reader{Side::response};
  REQUIRE(reader.next("HTTP/1.1 200 OK\r\nA: b\rc\r\nSet-Cookie: d\r\n\r\n").what == What::bad);
  CHECK(reader.head().status == 200);
  CHECK(reader.head().fields.find("set-cookie") == "d");
}

TEST_CASE("http1 reader: a head without end is refused at its limit, not before") {
  const std::string most = "GET / HTTP/1.1\r\nA: " + std::string(Http1Reader::kHeadLimit - 23, 'x');
  Http1Reader fits{Side::request};
  CHECK(fits.next(most).what == What::need_more);
  CHECK(fits.next(most + "\r\n\r\n").what == What::head);
  Http1Reader too_long{Side::request};
  CHECK(too_long.next(most + "x\r\n\r\n").what == What::bad);
  Http1Reader endless{Side::request};
  CHECK(endless.next(std::string(Http1Reader::kHeadLimit + 1, 'x')).what == What::bad);
  Http1Reader empty_lines{Side::request};
  std::string lines;
  while (lines.size() <= Http1Reader::kHeadLimit) lines += "\r\n";
  CHECK(empty_lines.next(lines).what == What::bad);
}

TEST_CASE("http1 reader: endless trailers and extensions are refused") {
  const std::string head = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
  for (const std::string start : {"0\r\nA: ", "1;"}) {
    Http1Reader reader{Side::request};
    std::string input = head + start + std::string(Http1Reader::kTrailerLimit + 10, 'x');
    const auto first = reader.next(input);
    REQUIRE(first.what == What::head);
    CHECK(reader.next(std::string_view(input).substr(first.size)).what == What::bad);
  }
}

TEST_CASE("http1 reader: padded chunks and extensions may be many") {
  for (const auto side : {Side::request, Side::response}) {
    Http1Reader reader{side};
    const std::string_view line = side == Side::request ? "POST / HTTP/1.1" : "HTTP/1.1 200 OK";
    REQUIRE(reader.next(fmt::format("{}\r\nTransfer-Encoding: chunked\r\n\r\n", line)).what ==
            What::head);
    const std::string chunk = side == Side::request ? "1;ext\r\nx\r\n" : "1    \r\nx\r\n";
    for (std::size_t i = 0; i < Http1Reader::kTrailerLimit / 2; ++i) {
      for (std::string_view rest = chunk; !rest.empty();) {
        const auto event = reader.next(rest);
        REQUIRE(event.what == What::body);
        rest.remove_prefix(event.size);
      }
    }
    CHECK(reader.next("0\r\n\r\n").what == What::body);
    CHECK(reader.next("").what == What::end);
  }
}

TEST_CASE("http1 reader: a head that is refused has nothing of the one before") {
  for (const std::string_view bad :
       {"GET /b HTTP/1.1\r\nA: b\n\r\n", "GET /b HTTP/1.1\nA: b\r\n c\r\n\r\n"}) {
    Http1Reader reader{Side::request};
    REQUIRE(reader.next("GET /a HTTP/1.1\r\nHost: h\r\n\r\n").what == What::head);
    REQUIRE(reader.next("").what == What::end);
    REQUIRE(reader.next(bad).what == What::bad);
    CHECK(reader.head().target == "");
    CHECK(reader.head().fields.size() == 0);
  }
}

TEST_CASE("http1: a field is blanked out with the lines that continue it, and nothing else") {
  const std::pair<std::string, std::string> cases[] = {
      {"HTTP/1.1 200 OK\r\nA: 1\r\nAlt-Svc: x;\r\n y\r\n\tz\r\nB: 2\r\n\r\n",
       "HTTP/1.1 200 OK\r\nA: 1" + std::string(21, ' ') + "\r\nB: 2\r\n\r\n"},
      {"HTTP/1.1 200 OK\r\nalt-svc: x\n y\nB: 2\r\n 3\r\n\r\n",
       "HTTP/1.1 200 OK" + std::string(15, ' ') + "\nB: 2\r\n 3\r\n\r\n"},
      {"HTTP/1.1 200 OK\r\nAlt-Svc : x\r\n\r\n",
       "HTTP/1.1 200 OK" + std::string(13, ' ') + "\r\n\r\n"},
      {"HTTP/1.1 200 OK\r\nA: 1\r\n Alt-Svc: x\r\n\r\n",
       "HTTP/1.1 200 OK\r\nA: 1\r\n Alt-Svc: x\r\n\r\n"},
  };
  for (const auto& [head, blanked] : cases) {
    std::string text = head;
    mitm::http::blank_out(text, "alt-svc");
    CHECK(text == blanked);
  }
}

TEST_CASE("http1 reader: upgrade needs both fields") {
  const auto upgrades = [](std::string_view fields) {
    Http1Reader reader{Side::request};
    REQUIRE(reader.next(fmt::format("GET / HTTP/1.1\r\n{}\r\n", fields)).what == What::head);
    return reader.head().upgrade;
  };
  CHECK(upgrades("Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"));
  CHECK_FALSE(upgrades("Upgrade: websocket\r\n"));
  CHECK_FALSE(upgrades("Connection: upgrade\r\n"));
}
