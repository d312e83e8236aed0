#include <nlohmann/json.hpp>

#include "base/base64.h"
#include "base/subprocess.h"
#include "mitm/format/snippet_request.h"
#include "mitm/format/snippets.h"
#include "tests/mitm/sample_flow_files.h"
#include "tests/mitm/temporary_file.h"
#include "tests/test.h"

namespace mitm::format {
namespace {

constexpr Snippet kAll[] = {Snippet::curl,  Snippet::httpie,   Snippet::wget,
                            Snippet::fetch, Snippet::requests, Snippet::raw};

using Fields = std::vector<std::pair<std::string, std::string>>;

struct Case {
  const char* name;
  std::string method;
  std::string target;
  Fields fields;
  std::string body;
};

flow::Flow flow_of(const Case& c) {
  auto http = copy_http(sample_flow("unanswered"));
  auto connection = std::make_shared<flow::ConnectionRecord>(*http->connection);
  connection->server = base::parse_endpoint("127.0.0.1:8080").value();
  http->connection = connection;
  http->url = "http://127.0.0.1:8080" + c.target;
  http->request.method = c.method;
  http->request.target = c.target;
  http->request.authority = "127.0.0.1:8080";
  http->request.fields = {};
  http->request.fields.add("Host", "127.0.0.1:8080");
  for (const auto& [name, value] : c.fields) http->request.fields.add(name, value);
  http->request.body = flow::Body(c.body);
  http->request.body_bytes = c.body.size();
  flow::Flow flow;
  flow.record = std::move(http);
  return flow;
}

const Fields kPlain = {{"User-Agent", "test/1 (a; b)"}, {"Accept", "*/*"}};

Fields with(const Fields& more) {
  Fields all = kPlain;
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

const Fields kText = with({{"Content-Type", "text/plain"}});

std::vector<Case> cases() {
  std::string all_bytes;
  for (int i = 0; i < 256; ++i) all_bytes += static_cast<char>(i);
  return {{"get", "GET", "/", kPlain, ""},
          {"query", "GET", "/a/b?x=1&y=%20%2F&z=a+b&q='!*()~", kPlain, ""},
          {"brackets", "GET", "/[1-3]?x[]=1", kPlain, ""},
          {"braces", "GET", "/{a,b}?{c}|d", kPlain, ""},
          {"dots", "GET", "/a/../b/./c", kPlain, ""},
          {"hex", "GET", "/a%2fb?%41", kPlain, ""},
          {"quotes", "GET", "/",
           with({{"X-Quotes", R"(it's "q" $HOME `x` \ %s \n)"}, {"X-Colon", "a: b;c=d@e"}}), ""},
          {"at", "GET", "/", with({{"X-At", "@/etc/passwd"}, {"X-Is", "=@/etc/passwd"}}), ""},
          {"escape", "GET", "/", with({{"X-Escape", "a\\:b"}}), ""},
          {"empty", "GET", "/", with({{"X-Empty", ""}}), ""},
          {"twice", "GET", "/", with({{"X-Twice", "one"}, {"X-Twice", "two"}}), ""},
          {"cookies", "GET", "/", with({{"Cookie", "a=\"1\"; b=2"}}), ""},
          {"bare", "GET", "/", {}, ""},
          {"coding", "GET", "/", with({{"Accept-Encoding", "gzip, br"}, {"Accept-Language", "de"}}),
           ""},
          {"head", "HEAD", "/", kPlain, ""},
          {"delete", "DELETE", "/x", kPlain, ""},
          {"put", "PUT", "/x", kText, "text"},
          {"get with body", "GET", "/x", kText, "text"},
          {"other method", "PROPFIND", "/x", kText, "<xml/>"},
          {"at body", "POST", "/x", kText, "@/etc/passwd"},
          {"dash body", "POST", "/x", kText, "-n \\n %s%d"},
          {"quotes body", "POST", "/x", kText, "it's \"q\" $HOME `x` \\ ${y}\n"},
          {"lines body", "POST", "/x", kText, "a\nb\r\n\n"},
          {"json body", "POST", "/x", with({{"Content-Type", "application/json"}}),
           R"({"a":"gr\u00fc\u00df","b":[1,2]})"},
          {"utf-8 body", "POST", "/x", kText, "gr\xc3\xbc\xc3\x9f \xf0\x9f\x98\x80"},
          {"binary body", "POST", "/x", with({{"Content-Type", "application/octet-stream"}}),
           all_bytes + all_bytes},
          {"zero body", "POST", "/x", kText, std::string("\0", 1)},
          {"latin body", "POST", "/x", kText, "gr\xfc\xdf"},
          {"large body", "POST", "/x", kText, std::string(300'000, 'x')},
          {"form body", "POST", "/x", with({{"Content-Type", "application/x-www-form-urlencoded"}}),
           "a=1&b=%20"},
          {"untyped body", "POST", "/x", kPlain, "{\"a\":1}"}};
}

class Folder {
 public:
  Folder() { REQUIRE(::mkdtemp(path_) != nullptr); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() { std::filesystem::remove_all(path_); }
  void write(const std::string& name, std::string_view content) const {
    std::ofstream(std::string(path_) + "/" + name, std::ios::binary) << content;
  }
  [[nodiscard]] std::string path() const { return path_; }

 private:
  char path_[32] = "/tmp/osproxy-snippets-XXXXXX";
};

std::string expected(const Case& c) {
  return nlohmann::json{{"method", c.method},
                        {"target", c.target},
                        {"fields", c.fields},
                        {"body", base::base64(c.body)}}
      .dump();
}

std::string snippet_of(Snippet snippet, const flow::Flow& flow) {
  std::string out;
  const auto written = make_snippet_writer(snippet)->write(flow, out);
  return written ? out : written.error().text;
}

}  // namespace

TEST_CASE("snippets: each one that is written sends the same request; others are refused") {
  const Folder folder;
  std::vector<std::string> refused;
  std::size_t written = 0;
  for (const Case& c : cases()) {
    folder.write(fmt::format("{}.json", c.name), expected(c));
    for (const Snippet snippet : kAll) {
      std::string out;
      const auto done = make_snippet_writer(snippet)->write(flow_of(c), out);
      if (!done) {
        CHECK(out.empty());
        refused.push_back(fmt::format("{}: {}", c.name, done.error().text));
        continue;
      }
      folder.write(fmt::format("{}.{}", c.name, to_string(snippet)), out);
      ++written;
    }
  }
  std::string list;
  for (const std::string& line : refused) list += line + "\n";
  CHECK(list == contents(OSPROXY_SOURCE_DIR "/tests/mitm/format_snippets_refused.txt"));
  base::Program program;
  program.arguments = {"/usr/bin/unshare", "-n", "/usr/bin/python3",
                       OSPROXY_SOURCE_DIR "/tests/mitm/format_snippets_check.py", folder.path()};
  program.time_limit = std::chrono::seconds(500);
  const auto finished = base::run(program);
  REQUIRE(finished);
  CHECK_MESSAGE(finished->status == 0, finished->err);
  CHECK(finished->out == fmt::format("{}\n", written));
}

TEST_CASE("snippets: what is no request to send is refused, and says why") {
  CHECK(snippet_of(Snippet::curl, sample_flow("tcp")) ==
        "curl: a flow of type tcp has no request that could be sent");
  CHECK(snippet_of(Snippet::raw, sample_flow("dns")) ==
        "raw: a flow of type dns has no request that could be sent");
  CHECK(snippet_of(Snippet::wget, sample_flow("tunnel")) ==
        "wget: CONNECT opens a tunnel: there is nothing to send");
  auto http = copy_http(flow_of({"", "POST", "/", kText, ""}));
  http->request.body_bytes = 5;
  flow::Flow flow;
  flow.record = http;
  CHECK(snippet_of(Snippet::fetch, flow) == "fetch: the request's body of 5 bytes is not recorded");
  http = copy_http(flow);
  http->request.body = flow::Body("hello").first(3);
  flow.record = http;
  for (const Snippet kind : {Snippet::curl, Snippet::raw})
    CHECK(snippet_of(kind, flow) ==
          fmt::format("{}: only the first 3 bytes of the request's body are recorded",
                      to_string(kind)));
  http = copy_http(flow);
  http->request.body = flow::Body("hel");
  http->request.ended.reset();
  flow.record = http;
  flow.state = flow::Flow::State::interrupted;
  CHECK(snippet_of(Snippet::curl, flow) == "curl: the request's body had not ended");
  for (const auto& [name, value] :
       Fields{{"X", "a\r\nY: b"}, {"X Y", "a"}, {"", "a"}, {"X", std::string("\0", 1)}})
    CHECK(snippet_of(Snippet::curl, flow_of({"", "GET", "/", {{name, value}}, ""}))
              .ends_with("is malformed"));
  CHECK(snippet_of(Snippet::curl, flow_of({"", "GET", "/ HTTP/1.1\r\nX: y", {}, ""}))
            .find("is no URL") != std::string::npos);
  CHECK(snippet_of(Snippet::requests, flow_of({"", "GET x", "/", {}, ""})) ==
        "requests: the method is malformed");
}

TEST_CASE("snippets: curl asks the server of the flow, in its version") {
  const std::string text = snippet_of(Snippet::curl, sample_flow("http2"));
  CHECK(text.find("--resolve example.org:443:93.184.216.34") != text.npos);
  CHECK(text.find("--http2") != text.npos);
  CHECK(text.find("https://example.org/path?q=1") != text.npos);
}

}  // namespace mitm::format
