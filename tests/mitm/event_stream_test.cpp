#include "mitm/http/event_stream.h"

#include "tests/mitm/message_transcript.h"

using mitm::http::EventStreamReader;
using mitm::http::is_event_stream;
using story::tells;

namespace {

story::Make reader(std::size_t limit = 100) {
  return [=] { return std::make_unique<EventStreamReader>(limit); };
}

}  // namespace

TEST_CASE("event stream: the examples of the specification") {
  tells(reader(), "data: YHOO\ndata: +2\ndata: 10\n\n", "[event 10/30 YHOO\n+2\n10]");
  tells(reader(),
        ": test stream\n\ndata: first "
        "event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n\n",
        "[event id=1 11/25 first event][event 12/22 second event][event 12/20  third event]");
  tells(reader(), "data\n\ndata\ndata\n\ndata:", "[event 0/6 ][event 1/11 \n]");
  tells(reader(), "data:test\n\ndata: test\n\n", "[event 4/11 test][event 4/12 test]");
}

TEST_CASE("event stream: type and id; fields that are not known; events without data") {
  tells(reader(),
        "event: add\nid: 7\nretry: 10\ndata: 73857293\nx-unknown-field-of-some-length: y\n\n",
        "[event name=add id=7 8/77 73857293]");
  tells(reader(), "event: nothing\n\ndata: x\nevent: one\nevent: two\n\n",
        "[event name=two 1/31 x]");
}

TEST_CASE("event stream: lines end in LF, CR or CRLF; a byte order mark may stand first") {
  tells(reader(), "data: a\r\rdata: b\r\n\r\ndata: c\n\n",
        "[event 1/9 a][event 1/10 b][event 1/10 c]");
  tells(reader(),
        "\xef\xbb\xbf"
        "data: a\n\n",
        "[event 1/12 a]");
}

TEST_CASE("event stream: data beyond the limit is counted, long words are cut") {
  tells(reader(5), "data: 123\ndata: 456\n\ndata: 12345\n\n",
        "[event 7/21 123\n4~][event 5/13 12345]");
  const std::string word(1000, 'w');
  const auto text = story::told(reader(), {"event: " + word + "\ndata: x\n\n"});
  CHECK(text == "[event name=" + word.substr(0, EventStreamReader::kWord) + " 1/1017 x]");
}

TEST_CASE("event stream: known by its type") {
  CHECK(is_event_stream("text/event-stream"));
  CHECK(is_event_stream("Text/Event-Stream;charset=utf-8"));
  CHECK_FALSE(is_event_stream("text/plain"));
  CHECK_FALSE(is_event_stream(""));
}
