// A page is for a person who reads it; to all others a failure must not look like success.
#include "mitm/intercept/error_responder.h"

#include <algorithm>

#include "mitm/http/http1.h"
#include "mitm/http/http2.h"
#include "mitm/intercept/session/error_page.h"
#include "mitm/intercept/session/request_facts.h"
#include "mitm/intercept/wire/program_tls.h"
#include "mitm/intercept/wire/turn.h"

namespace mitm::intercept {
namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kRequest = std::chrono::seconds{5};  ///< for a request that a page answers
constexpr auto kLinger = std::chrono::seconds{2};

/// In which protocol a program that offers this ALPN may be answered with a page; empty: in none.
std::string protocol_with_pages(const std::vector<std::string>& alpn) {
  if (alpn.empty()) return "http/1.1";
  for (const auto& name : alpn) {
    if (name.starts_with("http/1")) return name;
  }
  return std::ranges::find(alpn, "h2") != alpn.end() ? "h2" : std::string();
}

/// Hears nothing but the first request.
class FirstRequest final : public http::Http2Reader::Handler {
 public:
  std::uint32_t stream = 0;
  http::Http2Head head;

 private:
  void headers(std::uint32_t number, http::Http2Head& heard, bool) override {
    if (stream != 0) return;
    stream = number;
    head = std::move(heard);
  }
  void data(std::uint32_t, std::string_view, bool) override {}
  void reset(std::uint32_t, std::uint32_t) override {}
  void promise(std::uint32_t, std::uint32_t, http::Http2Head&) override {}
  void goaway(std::uint32_t) override {}
  void settings(const http::Http2Settings&) override {}
};

}  // namespace

using boost::asio::awaitable;

std::string page_protocol(ErrorPage who, const sniff::ClientHello& hello) {
  const bool wanted =
      who == ErrorPage::always || (who == ErrorPage::browsers && is_from_browser(hello));
  return wanted ? protocol_with_pages(hello.alpn) : std::string();
}

/// False when the program does not send a request in time.
awaitable<bool> ErrorResponder::answer_http(const std::string& why) {
  const auto limit = Clock::now() + kRequest;
  http::Http1Reader reader{http::Side::request};
  for (;;) {
    const auto look = client_.stream.look(recorder_.context().scratch);
    const auto event = reader.next(look.bytes);
    if (event.what == http::Http1Reader::What::head) {
      recorder_.data(flow::Direction::request, look.bytes);
      break;
    }
    const bool over = !look.result.ok() && !look.result.blocked();
    if (event.what == http::Http1Reader::What::bad || over || Clock::now() >= limit)
      co_return false;
    if (look.result.blocked()) co_await client_.stream.wait(look.result, limit);
  }
  auto flow = recorder_.begin_http();
  describe_request(reader.head(), client_.tls ? "https" : "http", recorder_, *flow);
  const std::string page = error_page(502, why, flow->request.method != "HEAD");
  co_await answer(std::move(flow), why, page);
  co_return true;
}

awaitable<bool> ErrorResponder::answer_http2(const std::string& why) {
  const auto limit = Clock::now() + kRequest;
  http::Http2Reader reader{http::Side::request};
  FirstRequest request;
  Turn turn;
  while (request.stream == 0) {
    const auto scratch = recorder_.context().scratch.first(Turn::kStep);
    const IoResult got = client_.stream.try_read(scratch);
    if (got.ok()) {
      const std::string_view bytes{scratch.data(), got.bytes};
      recorder_.data(flow::Direction::request, bytes);
      if (!reader.feed(bytes, request)) co_return false;
    } else if (!got.blocked()) {
      co_return false;
    }
    if (request.stream == 0 && Clock::now() >= limit) co_return false;
    if (got.blocked()) co_await client_.stream.wait(got, limit);
    co_await turn.yield_when_over();
  }
  auto flow = recorder_.begin_http();
  describe_request(request.head, recorder_, *flow);
  const std::string page =
      http2_error_page(request.stream, 502, why, flow->request.method != "HEAD");
  co_await answer(std::move(flow), why, page);
  co_return true;
}

/// With a page of ours, which is the last that is said.
awaitable<void> ErrorResponder::answer(std::shared_ptr<flow::HttpFlow> flow, const std::string& why,
                                       const std::string& page) {
  flow->response.status = 502;
  flow->error = why;
  recorder_.publish_end(std::move(flow), Clock::now());
  recorder_.data(flow::Direction::response, page);
  recorder_.data_end(flow::Direction::request);
  recorder_.data_end(flow::Direction::response);
  const IoResult put = co_await write_all(client_.stream, page);
  if (put.ok()) co_await finish(client_.stream, recorder_.context().scratch, kLinger);
}

}  // namespace mitm::intercept
