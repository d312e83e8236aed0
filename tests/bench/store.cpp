// What sessions cost: recording flows, and looking at them. scripts/bench --store runs it.
//   store_bench record FILE FLOWS [BODY [KEEP]]    flows of BODY bytes each; KEEP as of --keep
//   store_bench view FILE                          how long windows, filters and orders take
//   store_bench search FILE FILTER                 a filter that reads all bodies
// Each line that is printed is a name and a number.
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <string>

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include "mitm/store/recorder.h"
#include "mitm/view/flow_list.h"

namespace {

using namespace mitm;

[[noreturn]] void fail(const base::Error& error) {
  std::fprintf(stderr, "store_bench: %s\n", error.text.c_str());
  std::exit(1);
}

template <class Value>
Value must(base::Result<Value> result) {
  if (!result) fail(result.error());
  return std::move(*result);
}

/// Browsers and servers say about as much.
struct Traffic {
  explicit Traffic(std::size_t body) : body_bytes(body) {
    for (int i = 0; i < 30; ++i) {
      auto facts = std::make_shared<procmap::ProcessFacts>();
      facts->id.pid = 1000 + i;
      facts->name = i % 10 == 3 ? "curl" : fmt::format("program{}", i);
      facts->exe = "/usr/bin/" + facts->name;
      facts->argv = {facts->name, "--verbose"};
      processes.push_back(facts);
    }
  }

  std::shared_ptr<flow::HttpFlow> next() {
    ++n;
    if (n % 20 == 1) connect();
    auto it = std::make_shared<flow::HttpFlow>();
    it->id = n;
    it->connection = connection;
    it->began = began + std::chrono::milliseconds(n);
    it->duration = std::chrono::microseconds(n * 7919 % 900'000);
    it->host = connection->host;
    it->request.method = n % 9 == 0 ? "POST" : "GET";
    it->request.scheme = "https";
    it->request.authority = it->host;
    it->request.target = fmt::format("/api/v1/items/{}?page={}", n * 31 % 1'000'003, n % 7);
    it->request.version = "1.1";
    it->url = "https://" + it->host + it->request.target;
    it->request.body_bytes = 0;
    auto& asked = it->request.fields;
    asked.reserve(6, 300);
    asked.add("Host", it->host);
    asked.add("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101");
    asked.add("Accept", "text/html,application/json,*/*;q=0.8");
    asked.add("Accept-Encoding", "gzip, deflate, br");
    asked.add("Connection", "keep-alive");
    it->response.status = n % 50 == 13 ? 503 : n % 11 == 0 ? 304 : 200;
    it->response.reason = it->response.status == 200 ? "OK" : "Other";
    it->response.body_bytes = body_bytes == 0 ? n * 104'729 % 50'000 : body_bytes;
    it->response.began = std::chrono::microseconds(n * 7919 % 900'000 / 2);
    auto& answered = it->response.fields;
    answered.reserve(6, 300);
    answered.add("Server", "nginx/1.22.1");
    answered.add("Date", "Mon, 30 Nov 2026 12:00:00 GMT");
    answered.add("Content-Type", n % 5 == 0 ? "image/png" : "application/json");
    answered.add("Content-Length", fmt::format("{}", *it->response.body_bytes));
    answered.add("ETag", fmt::format("\"{:x}-{:x}\"", n * 2'654'435'761U, n));
    if (body_bytes > 0) it->response.body = body();
    return it;
  }

  void connect() {
    auto next = std::make_shared<flow::ConnectionRecord>();
    next->id = n;
    next->opened = began + std::chrono::milliseconds(n);
    next->process = processes[n / 20 * 7 % processes.size()];
    next->host = fmt::format("host{}.example.org", n * 13 % 500);
    next->client = {boost::asio::ip::make_address("192.0.2.1"), static_cast<std::uint16_t>(n)};
    next->server = {boost::asio::ip::make_address("198.51.100.7"), 443};
    next->decision = "intercept";
    connection = next;
  }

  flow::Body body() {
    std::string text = fmt::format("{{\"id\": {}}}\n", n % (n % 2 == 0 ? 100 : 1'000'000'000));
    while (text.size() < body_bytes)
      text += "{\"id\": 1234, \"name\": \"A lamp of glass\", \"tags\": [\"in stock\", \"new\"]},\n";
    return flow::Body(std::string_view(text).substr(0, body_bytes));
  }

  std::size_t body_bytes;
  std::uint64_t n = 0;
  flow::Time began = flow::Time(std::chrono::seconds(1'800'000'000));
  std::vector<std::shared_ptr<const procmap::ProcessFacts>> processes;
  std::shared_ptr<const flow::ConnectionRecord> connection;
};

long resident_kib(const char* what) {
  std::FILE* const file = std::fopen("/proc/self/status", "r");
  if (file == nullptr) return 0;
  char line[256];
  long kib = 0;
  while (std::fgets(line, sizeof line, file) != nullptr) {
    if (std::string_view(line).starts_with(what))
      kib = std::atol(line + std::string_view(what).size() + 1);
  }
  std::fclose(file);
  return kib;
}

void record(const std::string& path, std::uint64_t flows, std::size_t body, const char* keep) {
  store::Limits limits;
  if (keep != nullptr) limits = must(store::parse_limits(keep));
  store::Recorder recorder(
      must(store::SessionWriter::open(path)), path, base::UniqueFd{}, limits, {},
      [](const std::string& line) { std::fprintf(stderr, "%s\n", line.c_str()); });
  Traffic traffic(body);
  std::clock_t spent = 0;
  std::uint64_t steps = 0;
  std::vector<flow::Event> batch;
  for (std::uint64_t n = 0; n < flows;) {
    for (; n < flows && batch.size() < 60; ++n) {
      const auto before = traffic.connection;
      batch.emplace_back(flow::HttpEnd{traffic.next()});
      if (before && before != traffic.connection) batch.emplace_back(flow::ConnectionEnd{before});
    }
    const auto begin = std::clock();
    for (auto& event : batch) {
      if (auto done = recorder.write(event); !done) fail(done.error());
      event = {};
    }
    batch.clear();
    if (auto done = recorder.flush(); !done) fail(done.error());
    spent += std::clock() - begin;
    if (flows >= 10 && n % (flows / 10) < 60 && n / (flows / 10) > steps) {
      steps = n / (flows / 10);
      std::printf("step %llu rss_kib %ld bytes %llu\n", static_cast<unsigned long long>(n),
                  resident_kib("VmRSS"),
                  static_cast<unsigned long long>(std::filesystem::file_size(path)));
    }
  }
  std::printf("us_per_flow %.2f\nrss_kib %ld\npeak_kib %ld\n",
              static_cast<double>(spent) / CLOCKS_PER_SEC * 1e6 / static_cast<double>(flows),
              resident_kib("VmRSS"), resident_kib("VmHWM"));
}

/// Of processor time, of all threads: others may work beside us.
struct Clock {
  using time_point = std::clock_t;
  static time_point now() { return std::clock(); }
};

double ms_since(Clock::time_point begin) {
  return static_cast<double>(Clock::now() - begin) * 1e3 / CLOCKS_PER_SEC;
}

query::Filter parsed(const char* text) {
  const auto filter = query::Filter::parse(text);
  if (filter) return *filter;
  fail(base::failure("{}", filter.error().message()));
}

std::unique_ptr<view::FlowList> open_list(const std::string& path, const char* filter,
                                          const char* order) {
  return must(view::FlowList::open(path, parsed(filter), must(view::parse_order(order)), {}));
}

void wait_for(const view::FlowList& list) {
  if (!list.wait(std::chrono::hours(1)) || list.progress().error)
    fail(list.progress().error.value_or(base::Error{"too slow", 0}));
}

void wait_for_rows(view::FlowList& list) {
  while (must(list.rows(0, 1)).empty() && !list.progress().complete)
    std::this_thread::sleep_for(std::chrono::microseconds(100));
}

void view_session(const std::string& path) {
  auto begin = Clock::now();
  auto list = open_list(path, "", "");
  wait_for_rows(*list);
  std::printf("first_row_ms %.1f\n", ms_since(begin));
  wait_for(*list);
  std::printf("opened_ms %.1f\nflows %llu\n", ms_since(begin),
              static_cast<unsigned long long>(list->progress().matches));
  const char* const filters[] = {"~c 503",         "~p curl & ~c 5xx", "port == 443 & ~c 304",
                                 "~u items/12345", "duration > 300ms", "host == host7.example.org"};
  for (const char* const filter : filters) {
    begin = Clock::now();
    list->set_filter(parsed(filter));
    wait_for_rows(*list);
    const double first = ms_since(begin);
    wait_for(*list);
    std::printf("filter_ms %.1f first_ms %.1f %s (%llu)\n", ms_since(begin), first, filter,
                static_cast<unsigned long long>(list->progress().matches));
  }
  list->set_filter(parsed(""));
  wait_for(*list);
  for (const view::Column& column : view::sort_columns()) {
    begin = Clock::now();
    list->set_order({std::string(column.name), true});
    wait_for(*list);
    const double sorted = ms_since(begin);
    double longest = 0;
    for (const std::uint64_t at : {0ULL, 500'000ULL, 900'000ULL, 999'900ULL}) {
      begin = Clock::now();
      static_cast<void>(must(list->rows(at, 100)));
      longest = std::max(longest, ms_since(begin));
    }
    std::printf("sort_ms %.1f window_ms %.1f %s\n", sorted, longest,
                std::string(column.name).c_str());
  }
  std::printf("rss_kib %ld\npeak_kib %ld\n", resident_kib("VmRSS"), resident_kib("VmHWM"));
}

void search(const std::string& path, const char* filter) {
  const auto begin = Clock::now();
  const auto list = open_list(path, filter, "");
  wait_for_rows(*list);
  const double first = ms_since(begin);
  wait_for(*list);
  std::printf("search_ms %.1f\nfirst_ms %.1f\nmatches %llu\n", ms_since(begin), first,
              static_cast<unsigned long long>(list->progress().matches));
  std::printf("peak_kib %ld\n", resident_kib("VmHWM"));
}

}  // namespace

int main(int argc, char** argv) {
  const std::string_view what = argc > 2 ? argv[1] : "";
  if (what == "view") view_session(argv[2]);
  if (what == "search" && argc > 3) search(argv[2], argv[3]);
  if (what == "view" || (what == "search" && argc > 3)) return 0;
  if (what == "record" && argc > 3) {
    record(argv[2], std::strtoull(argv[3], nullptr, 10),
           argc > 4 ? std::strtoull(argv[4], nullptr, 10) : 0, argc > 5 ? argv[5] : nullptr);
    return 0;
  }
  std::fprintf(
      stderr,
      "usage: store_bench record FILE FLOWS [BODY [KEEP]] | view FILE | search FILE FILTER\n");
  return 2;
}
