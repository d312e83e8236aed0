// The HTTP/1 reader: every stream is given whole, byte by byte and cut at every offset, and must
// tell the same story; heads and bodies that could be read in two ways are refused.
#include <string>
#include <vector>

#include "mitm/http/http1.h"
#include "tests/test.h"

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

struct Good {
  const char* name;
  Side side;
  std::string stream;
  std::string text;
  std::vector<Answers> answers = {};
};

const Good kGood[] = {
    {"plain request", Side::request, "GET /a HTTP/1.1\r\nHost: h\r\n\r\n", "[GET /a|Host=h];."},
    {"no fields", Side::request, "GET / HTTP/1.0\r\n\r\n", "[GET /];."},
    {"case and order kept", Side::request, "GET / HTTP/1.1\r\nhOsT:h\r\nB: 2\r\na:  1 \r\n\r\n",
     "[GET /|hOsT=h|B=2|a=1];."},
    {"length", Side::request, "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello",
     "[POST /|Content-Length=5]hello;."},
    {"zero length", Side::request, "POST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
     "[POST /|Content-Length=0];."},
    {"pipelined", Side::request,
     "POST /1 HTTP/1.1\r\ncontent-length: 2\r\n\r\nabGET /2 HTTP/1.1\r\n\r\nGET /3 "
     "HTTP/1.1\r\n\r\n",
     "[POST /1|content-length=2]ab;[GET /2];[GET /3];."},
    {"chunked", Side::request,
     "POST / HTTP/1.1\r\nTransfer-Encoding: "
     "Chunked\r\n\r\n3\r\nabc\r\n0A\r\n0123456789\r\n0\r\n\r\n",
     "[POST /|Transfer-Encoding=Chunked]abc0123456789;."},
    {"chunk extensions and trailers", Side::request,
     "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3;a=b;c=\"d\"\r\nabc\r\n0;x\r\nT: 1\r\n"
     "U: 2\r\n\r\n"
     "GET / HTTP/1.1\r\n\r\n",
     "[POST /|transfer-encoding=chunked]abc|T=1|U=2;[GET /];."},
    {"trailers as they come", Side::response,
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nno field\r\nA:\r\nb: \t c d \t\r\n"
     "b: :\r\n\r\n",
     "[200|Transfer-Encoding=chunked]|no field=|A=|b=c d|b=:;."},
    {"Connection that is no list of tokens", Side::request,
     "GET / HTTP/1.1\r\nconnection: keep-alive; timeout=5\r\nProxy-Connection: a b\r\n\r\nGET /2 "
     "HTTP/1.1\r\n\r\n",
     "[GET /|connection=keep-alive; timeout=5|Proxy-Connection=a b];[GET /2];."},
    {"Connection of a response that is no list of tokens", Side::response,
     "HTTP/1.1 200\nContent-Length: 2\nConnection: \"close\"\n\nhi",
     "[200|Content-Length=2|Connection=\"close\"]hi;."},
    {"typed by hand", Side::request, "\nGET / HTTP/1.0\nHost:h\n\nGET /2 HTTP/1.1\r\n\r\n",
     "[GET /|Host=h];[GET /2];."},
    {"response of length and identity", Side::response,
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 1\r\n\r\na",
     "[200|Transfer-Encoding=identity|Content-Length=1]a;."},
    {"response with a space before the colon", Side::response,
     "HTTP/1.1 200 OK\r\nContent-Length : 1\r\nConnection: close;\r\n\r\na",
     "[200|Content-Length=1|Connection=close;]a;."},
    {"empty lines first", Side::request,
     "\r\n\r\nGET / HTTP/1.1\r\n\r\n\r\nGET /2 HTTP/1.1\r\n\r\n", "[GET /];[GET /2];."},
    {"bytes above 0x7f in target and value", Side::request,
     "GET /\xff\xc3 HTTP/1.1\r\nA: \xfe\r\n\r\n", "[GET /\xff\xc3|A=\xfe];."},
    {"absolute form", Side::request, "GET http://h:1/x?y HTTP/1.1\r\n\r\n",
     "[GET http://h:1/x?y];."},
    {"authority form", Side::request, "CONNECT h:443 HTTP/1.1\r\n\r\n", "[CONNECT h:443];."},
    {"unknown method", Side::request, "M-SEARCH * HTTP/1.1\r\n\r\n", "[M-SEARCH *];."},
    {"cut head", Side::request, "GET / HT", "!"},
    {"cut length", Side::request, "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhel",
     "[POST /|Content-Length=5]hel!"},
    {"cut chunk", Side::request, "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
     "[POST /|Transfer-Encoding=chunked]hel!"},
    {"chunked without its last line", Side::request,
     "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n",
     "[POST /|Transfer-Encoding=chunked]a!"},
    {"response until close", Side::response, "HTTP/1.0 200 OK\r\n\r\nall of it", "[200]all of it$"},
    {"response of length", Side::response, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
     "[200|Content-Length=2]hi;."},
    {"same length twice", Side::response,
     "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
     "[200|Content-Length=2|Content-Length=2]hi;."},
    {"204, 304 and HEAD have no body",
     Side::response,
     "HTTP/1.1 204 No\r\n\r\nHTTP/1.1 304 N\r\nContent-Length: 9\r\n\r\n"
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: "
     "1\r\n\r\nx",
     "[204];[304|Content-Length=9];[200|Transfer-Encoding=chunked];[200|content-length=1]x;.",
     {Answers::ordinary, Answers::ordinary, Answers::head, Answers::ordinary}},
    {"interim responses keep what is being answered",
     Side::response,
     "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\n"
     "Content-Length: 7\r\n\r\n"
     "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
     "[100];[103|A=b];[200|Content-Length=7];[200|Content-Length=1]x;.",
     {Answers::head, Answers::ordinary}},
    {"answer to CONNECT",
     Side::response,
     "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n",
     "[200|Content-Length=7];.",
     {Answers::connect}},
    {"refused CONNECT has a body",
     Side::response,
     "HTTP/1.1 407 No\r\nContent-Length: 2\r\n\r\nno",
     "[407|Content-Length=2]no;.",
     {Answers::connect}},
    {"no reason, no space", Side::response, "HTTP/1.1 200\r\nContent-Length: 1\r\n\r\nx",
     "[200|Content-Length=1]x;."},
    {"bare LF of an old server", Side::response, "HTTP/1.0 200 OK\nContent-Length: 1\n\nx",
     "[200|Content-Length=1]x;."},
    {"folded field of an old server", Side::response, "HTTP/1.1 204 OK\r\nA: b\r\n c\r\n\r\n",
     "[204|A=b c];."},
    {"chunk size filled with spaces", Side::response,
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2  \r\nhi\r\n0\r\n\r\n",
     "[200|Transfer-Encoding=chunked]hi;."},
    {"coded and chunked", Side::response,
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
     "[200|Transfer-Encoding=gzip, chunked]x;."},
    {"odd names and values of a response", Side::response,
     "HTTP/1.1 200 OK\r\nSecured by X : y\r\ncache -control: x\r\nno colon here\r\n: nameless\r\n"
     "A: \x01\x1b[2J\x7f\r\n\xc3\xa9: e\r\nContent-Length: 2\r\n\r\nhi",
     "[200|Secured by X=y|cache -control=x|no colon "
     "here=|=nameless|A=\x01\x1b[2J\x7f|\xc3\xa9=e|Content-Length=2]hi;."},
    {"odd names and values of a request", Side::request,
     "GET /a b HTTP/1.1\r\nHost: h\r\nSecured by X : y\r\ncache -control: x\r\nno colon here\r\n"
     "A: \x01\r\n\r\n",
     "[GET /a b|Host=h|Secured by X=y|cache -control=x|no colon here=|A=\x01];."},
    {"a name with other punctuation before a length", Side::request,
     "POST / HTTP/1.1\r\nX(1)@y: z\r\nContent-Length: 1\r\n\r\na",
     "[POST /|X(1)@y=z|Content-Length=1]a;."},
    {"folded fields of a request", Side::request,
     "GET / HTTP/1.1\r\n Host: h\r\nA: b\r\n\tc\r\n\r\n", "[GET /|Host=h|A=b c];."},
    {"two spaces", Side::request, "GET  / HTTP/1.1\r\n\r\n", "[GET  /];."},
    {"a version that does not exist", Side::request, "GET / HTTP/1.2\r\n\r\nGET / HTTP/2.0\r\n\r\n",
     "[GET /];[GET /];."},
    {"ICY ends with the connection", Side::response,
     "ICY 200 OK\r\nicy-name: x\r\nContent-Length: 1\r\n\r\nabc",
     "[200|icy-name=x|Content-Length=1]abc$"},
    {"a status below 100 is final, and has a body", Side::response,
     "HTTP/1.1 099 Odd\r\nContent-Length: 2\r\n\r\nhiHTTP/1.1 20 OK\r\n\r\nrest",
     "[99|Content-Length=2]hi;[20]rest$"},
    {"an odd first line of a response", Side::response,
     "HTTP/2  201 \x01\r\nContent-Length: 1\r\n\r\naHTTP/1.1 200\r\nContent-Length: 1\r\n\r\na",
     "[201|Content-Length=1]a;[200|Content-Length=1]a;."},
    {"an answer that is not HTTP", Side::response, "+OK POP3 ready\r\n\r\nmore",
     "[ ]+OK POP3 ready\r\n\r\nmore$"},
    {"an answer that is nearly HTTP", Side::response, "HTTQ/1.1 200 OK\r\n",
     "[ ]HTTQ/1.1 200 OK\r\n$"},
    {"a list of equal lengths", Side::response, "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nhi",
     "[200|Content-Length=2, 2]hi;."},
    {"names of framing fields in a value", Side::response,
     "HTTP/1.1 200 OK\r\nAccess-Control-Expose-Headers: Date,\r\n Content-Length\r\n"
     "Content-Length: 1\r\n\r\na",
     "[200|Access-Control-Expose-Headers=Date, Content-Length|Content-Length=1]a;."},
    {"a trailer with a control character", Side::response,
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nA: \x01\r\n\r\n",
     "[200|Transfer-Encoding=chunked]|A=\x01;."},
    {"coded, not chunked", Side::response, "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nxyz",
     "[200|Transfer-Encoding=gzip]xyz$"},
};

/// A request of each of these shapes must be refused, with nothing after its head read.
const std::string kPost = "POST / HTTP/1.1\r\nHost: h\r\n";
const std::string kChunked = kPost + "Transfer-Encoding: chunked\r\n\r\n";

struct Bad {
  const char* name;
  Side side;
  std::string stream;
  const char* error;  ///< part of it
};

const Bad kBad[] = {
    {"CL and TE", Side::request,
     kPost + "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "Content-Length"},
    {"TE and CL", Side::request,
     kPost + "Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n", "Content-Length"},
    {"two lengths", Side::request, kPost + "Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
     "Content-Length"},
    {"two equal lengths", Side::request,
     kPost + "Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc", "several Content-Length"},
    {"list of lengths", Side::request, kPost + "Content-Length: 3, 3\r\n\r\nabc", "Content-Length"},
    {"length with a sign", Side::request, kPost + "Content-Length: +3\r\n\r\nabc",
     "Content-Length"},
    {"negative length", Side::request, kPost + "Content-Length: -3\r\n\r\nabc", "Content-Length"},
    {"hexadecimal length", Side::request, kPost + "Content-Length: 0x3\r\n\r\nabc",
     "Content-Length"},
    {"length with a space inside", Side::request, kPost + "Content-Length: 1 3\r\n\r\nabc",
     "Content-Length"},
    {"empty length", Side::request, kPost + "Content-Length: \r\n\r\nabc", "Content-Length"},
    {"length over 64 bits", Side::request,
     kPost + "Content-Length: 18446744073709551616\r\n\r\nabc", "Content-Length"},
    {"TE in HTTP/1.0", Side::request,
     "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "HTTP/1.1 only"},
    {"TE in HTTP/1.2", Side::request,
     "POST / HTTP/1.2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "HTTP/1.1 only"},
    {"TE behind two versions", Side::request,
     "POST / HTTP/1.0 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "HTTP/1.1 only"},
    {"TE chunked twice in a list", Side::request,
     kPost + "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", "Transfer-Encoding"},
    {"TE chunked twice in fields", Side::request,
     kPost + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
     "Transfer-Encoding"},
    {"TE identity", Side::request, kPost + "Transfer-Encoding: identity\r\n\r\n",
     "Transfer-Encoding"},
    {"TE chunked, identity", Side::request,
     kPost + "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", "Transfer-Encoding"},
    {"TE unknown", Side::request, kPost + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
     "Transfer-Encoding"},
    {"TE quoted", Side::request, kPost + "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
     "Transfer-Encoding"},
    {"TE after a vertical tab", Side::request,
     kPost + "Transfer-Encoding: \x0b"
             "chunked\r\n\r\n0\r\n\r\n",
     "may say where"},
    {"folded length", Side::response, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n 2\r\n\r\n",
     "folded"},
    {"a length after a line that some take for the end", Side::request,
     kPost + "no colon here\r\nContent-Length: 3\r\n\r\nabc",
     "comes after a line that is no field"},
    {"a coding after a name that some take for the end", Side::request,
     kPost + "A b: c\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
     "comes after a line that is no field"},
    {"folded TE", Side::request, kPost + "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
     "folded"},
    {"NUL in a value", Side::request, kPost + std::string("A: b\0c\r\n\r\n", 10), "NUL"},
    {"response: NUL in a value", Side::response,
     std::string("HTTP/1.1 200 OK\r\nA: b\0c\r\n\r\n", 27), "NUL"},
    {"bare CR in a value", Side::request, kPost + "A: b\rC: d\r\n\r\n", "bare CR"},
    {"response: bare CR in a value", Side::response, "HTTP/1.1 200 OK\r\nA: b\rC: d\r\n\r\n",
     "bare CR"},
    {"bare CR before the end of a line", Side::response, "HTTP/1.1 200 OK\r\nA: b\r\r\n\r\n",
     "bare CR"},
    {"a line of blanks", Side::request, kPost + "A: b\r\n \t\r\nC: d\r\n\r\n", "blank"},
    {"response: a line of blanks", Side::response, "HTTP/1.1 200 OK\r\n \r\nC: d\r\n\r\n", "blank"},
    {"response: a line of what some take for blanks", Side::response,
     "HTTP/1.1 200 OK\r\n\x0b\r\nC: d\r\n\r\n", "blank"},
    {"bare LF first", Side::request, "GET / HTTP/1.1\nHost: h\r\n\r\n", "bare LF"},
    {"bare LF last", Side::request, "GET / HTTP/1.1\r\nHost: h\r\n\n", "bare LF"},
    {"bare LF before TE", Side::request, kPost + "A: b\nTransfer-Encoding: chunked\r\n\r\n",
     "bare LF"},
    {"two hosts", Side::request, "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "Host"},
    {"tab for space", Side::request, "GET\t/ HTTP/1.1\r\n\r\n", "method"},
    {"HTTP/0.9", Side::request, "GET /\r\n\r\n", "target"},
    {"lower-case version", Side::request, "GET / http/1.1\r\n\r\n", "version"},
    {"chunk size not hexadecimal", Side::request, kChunked + "xyz\r\n", "chunk size"},
    {"chunk size 0x", Side::request, kChunked + "0x3\r\nabc\r\n", "chunk size"},
    {"negative chunk size", Side::request, kChunked + "-1\r\n", "chunk size"},
    {"empty chunk size", Side::request, kChunked + "\r\n", "chunk size"},
    {"huge chunk size", Side::request, kChunked + "fffffffffffffffff\r\n", "too large"},
    {"chunk size that wraps", Side::request, kChunked + "10000000000000003\r\nabc\r\n",
     "too large"},
    {"space after a chunk size", Side::request, kChunked + "3 \r\nabc\r\n0\r\n\r\n", "chunk size"},
    {"bare LF after a chunk size", Side::request, kChunked + "3\nabc\r\n0\r\n\r\n", "chunk size"},
    {"bare LF after chunk data", Side::request, kChunked + "3\r\nabc\n0\r\n\r\n", "CR LF"},
    {"more data than the chunk", Side::request, kChunked + "3\r\nabcd\r\n0\r\n\r\n", "CR LF"},
    {"LF in a chunk extension", Side::request, kChunked + "3;a\nb\r\nabc\r\n0\r\n\r\n",
     "extension"},
    {"CR alone in a chunk extension", Side::request, kChunked + "3;a\rb\r\nabc\r\n0\r\n\r\n",
     "CR LF"},
    {"LF in a trailer", Side::request, kChunked + "0\r\nA: b\nC: d\r\n\r\n", "trailer"},
    {"folded trailer", Side::request, kChunked + "0\r\nA: b\r\n c\r\n\r\n", "trailer"},
    {"response: CL and TE", Side::response,
     "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
     "Content-Length"},
    {"response: two lengths", Side::response,
     "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", "Content-Length"},
    {"response: empty length", Side::response, "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n",
     "Content-Length"},
    {"response: different lengths in a list", Side::response,
     "HTTP/1.1 200 OK\r\nContent-Length: 3, 4\r\n\r\n", "Content-Length"},
    {"response: nearly chunked", Side::response,
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n", "Transfer-Encoding"},
    {"response: chunked with a parameter", Side::response,
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked;q=1\r\n\r\n", "Transfer-Encoding"},
    {"response: status of four digits", Side::response, "HTTP/1.1 1000 OK\r\n\r\n", "status"},
    {"response: status in hexadecimal", Side::response, "HTTP/1.1 2xx OK\r\n\r\n", "status"},
    {"response: no status", Side::response, "HTTP/1.1\r\n\r\n", "version"},
    {"response: no version", Side::response, "HTTP/x.y 200 OK\r\n\r\n", "version"},
    {"response: bad chunk", Side::response,
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "chunk size"},
};

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
