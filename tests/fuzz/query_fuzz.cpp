// Whatever is typed as a flow filter: no crash, no exception; the printed tree is read as the same
// tree and means the same.
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string_view>

#include "mitm/query/filter.h"

namespace {

using mitm::query::Filter;

mitm::flow::Flow some_flow() {
  auto http = std::make_shared<mitm::flow::HttpFlow>();
  http->url = "https://example.org/a?b=c";
  http->host = "example.org";
  http->request.method = "GET";
  http->request.fields.add("Cookie", "a=b");
  http->request.body = mitm::flow::Body("{\"query\": \"query A { a }\", \"a\": [1]}");
  http->response.status = 200;
  http->response.body = mitm::flow::Body("body");
  mitm::flow::Flow flow;
  flow.record = std::move(http);
  return flow;
}

void check_same(const Filter& filter, const mitm::query::Options& options) {
  static const auto flow = some_flow();
  const std::string text = filter.canonical();
  const auto again = Filter::parse(text, options);
  if (!again) {
    // Only what is written out may be longer or deeper than is allowed.
    if (!again.error().expected.starts_with("at most")) std::abort();
    return;
  }
  if (again->canonical() != text || again->cost() != filter.cost()) std::abort();
  if (again->matches(flow) != filter.matches(flow)) std::abort();
  if (again->explain() != filter.explain()) std::abort();
  if (again->sql().where != filter.sql().where) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const mitm::query::Options options{size % 2 == 1, mitm::flow::Time(std::chrono::hours(480'000))};
  const auto completion = mitm::query::complete(text, size / 2);
  if (completion.begin > completion.end || completion.end > size) std::abort();
  if (const auto filter = Filter::parse(text, options)) {
    check_same(*filter, options);
  } else {
    const auto& problem = filter.error();
    if (problem.at > size || problem.length > size - problem.at || problem.found.empty() ||
        problem.expected.empty())
      std::abort();
  }
  return 0;
}
