// What rules cost a request: processor time of a question with many rules.
//
//     rules_bench [RULES] [REQUESTS]
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>

#include <boost/asio/io_context.hpp>
#include <fmt/format.h>

#include "mitm/control/rule_list.h"
#include "mitm/control/rules_gate.h"

namespace {

using namespace mitm;

double processor_seconds() {
  timespec now{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

std::vector<control::Rule> rules_of(int count, const char* form) {
  control::RuleTexts texts;
  for (int i = 0; i < count; ++i) {
    texts.rules.push_back({{"name", std::to_string(i)},
                           {"match", fmt::format(fmt::runtime(form), i, i * 7919 % 100'003)},
                           {"request", {{"set_header", {{"x", "1"}}}}}});
  }
  auto rules = control::compile(texts);
  if (!rules) {
    fmt::print(stderr, "{}\n", rules.error().text);
    std::exit(1);
  }
  return std::move(*rules);
}

std::vector<std::shared_ptr<const flow::HttpFlow>> flows_of(int count) {
  const auto connection = std::make_shared<flow::ConnectionRecord>();
  std::vector<std::shared_ptr<const flow::HttpFlow>> flows;
  for (int i = 0; i < count; ++i) {
    auto flow = std::make_shared<flow::HttpFlow>();
    flow->connection = connection;
    flow->host = fmt::format("host{}.shard{}.example.org", i * 31 % 100'003, i % 64);
    flow->url = fmt::format("https://{}/api/v2/items/{}/details?session={:016x}&page={}",
                            flow->host, i * 7919 % 100'003, i * 0x9E3779B97F4A7C15ULL, i % 10);
    flow->request.method = "GET";
    flow->request.target = flow->url.substr(flow->url.find('/', 8));
    flow->request.fields.add("host", flow->host);
    flow->request.fields.add("user-agent", "curl/7.88.1");
    flow->request.fields.add("accept", "*/*");
    flows.push_back(std::move(flow));
  }
  return flows;
}

void measure(const char* name, int rules, const char* form,
             const std::vector<std::shared_ptr<const flow::HttpFlow>>& flows) {
  boost::asio::io_context context;
  const double before = processor_seconds();
  const auto set = std::make_shared<control::Rules>(rules_of(rules, form));
  const double made = processor_seconds();
  control::RulesGate gate{set, context.get_executor()};
  std::size_t changed = 0;
  for (const auto& flow : flows) {
    intercept::Transaction transaction{flow};
    (void)gate.is_interested(*flow->connection);
    (void)gate.ask(intercept::Stage::request_head, transaction, {});
    (void)gate.ask(intercept::Stage::response_head, transaction, {});
    changed += transaction.edits() ? 1 : 0;
  }
  const double asked = processor_seconds();
  fmt::print("{:40} {:6} rules: made in {:5.0f} ms, {:6.2f} us a request, {} of {} changed\n", name,
             rules, (made - before) * 1e3, (asked - made) / static_cast<double>(flows.size()) * 1e6,
             changed, flows.size());
}

}  // namespace

int main(int argc, char** argv) {
  const int rules = argc > 1 ? std::atoi(argv[1]) : 10'000;
  const auto flows = flows_of(argc > 2 ? std::atoi(argv[2]) : 100'000);
  measure("none", 0, "", flows);
  measure("~d host{1}\\.shard", rules, "~d host{1}\\.shard", flows);
  measure("host == host{1}.shard{0}.example.org", rules, "host == host{1}.shard{0}.example.org",
          flows);
  measure("~u /items/{1}/", rules, "~u /items/{1}/", flows);
  measure("~d ^host{1}\\. & ~m GET", rules, "~d ^host{1}\\. & ~m GET", flows);
  measure("~u /v[0-9]+/.*/{1}/ (weak texts)", rules, "~u /v[0-9]+/.*/{1}/", flows);
  measure("~hq x{1} (nothing in URLs)", rules / 10, "~hq x{1}", flows);
}
