// Flows that a filter selects of a session come whole, however little of them was asked.
#include "mitm/cli/session_flows.h"
#include "mitm/store/session_writer.h"
#include "tests/mitm/flow_description.h"
#include "tests/mitm/store_flows.h"
#include "tests/mitm/temporary_directory.h"
#include "tests/test.h"

namespace mitm::cli {

TEST_CASE("session flows: come whole, whatever of them the filter is about") {
  const test::TemporaryDirectory directory;
  const std::string path = directory.path() + "/s.osp";
  const flow::Flow flows[] = {test::full_http_flow(), test::full_websocket_flow(),
                              test::full_dns_flow()};
  {
    auto writer = store::SessionWriter::open(path);
    REQUIRE(writer);
    REQUIRE((*writer)->begin());
    for (const auto& flow : flows) REQUIRE((*writer)->put(flow));
    REQUIRE((*writer)->commit());
  }
  for (const char* const text : {"", "~c 404 | ~dns", "~hq x-twice | ~dns", "~b . | ~dns"}) {
    CAPTURE(text);
    std::uint64_t asked = 0;
    const auto selected = SessionFlows::open(path, *query::Filter::parse(text),
                                             [&](std::uint64_t n, std::uint64_t) { asked = n; });
    REQUIRE(selected);
    REQUIRE((*selected)->select("flow.id > 0", "flow.id"));
    for (const auto& expected : flows) {
      const auto flow = (*selected)->next();
      REQUIRE(flow);
      REQUIRE(*flow);
      CHECK(differences_but_ids(expected, **flow) == "");
    }
    CHECK(asked == 3);
    CHECK(!(*selected)->next()->has_value());
    (*selected)->add(2);
    CHECK((*selected)->next()->value().facts().id == 2);
    CHECK(!(*selected)->next()->has_value());
  }
}

}  // namespace mitm::cli
