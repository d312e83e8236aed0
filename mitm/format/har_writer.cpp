// The log around the entries. Members of an object have no order: pages, which are known at the
// end, stand behind the entries.
#include <algorithm>
#include <chrono>
#include <map>
#include <optional>

#include <fmt/format.h>

#include "base/lru_cache.h"
#include "base/text.h"
#include "mitm/format/har.h"
#include "mitm/format/har_entry.h"
#include "mitm/format/har_refusal.h"
#include "mitm/format/json_renderer.h"
#include "mitm/format/json_text.h"

namespace mitm::format {
namespace {

struct Page {
  std::string id;
  flow::Time began;
};

/// Command lines hold secrets.
template <class Record>
std::shared_ptr<const Record> without_arguments(const Record& record) {
  auto copy = std::make_shared<Record>(record);
  if (!record.connection->process) return copy;
  auto process = std::make_shared<procmap::ProcessFacts>(*record.connection->process);
  process->argv.clear();
  auto connection = std::make_shared<flow::ConnectionRecord>(*record.connection);
  connection->process = std::move(process);
  copy->connection = std::move(connection);
  return copy;
}

class HarWriter final : public FlowWriter {
 public:
  explicit HarWriter(HarStyle style) : style_(std::move(style)) {}

  void begin(std::string& out) override {
    out += R"({"log":{"version":"1.2","creator":{"name":"osproxy","version":)";
    append_json_string(out, style_.version);
    out += R"(},"entries":[)";
  }

  base::Result<> write(const flow::Flow& flow, std::string& out) override {
    if (flow.http() == nullptr) {
      add_other(flow);
      if (flow.tcp() != nullptr && is_refusal(*flow.tcp())) add_refusal(*flow.tcp(), out);
      return {};
    }
    const flow::HttpFlow& http = *flow.http();
    const std::uint64_t connection = http.connection->id;
    const bool first = connections_.find(connection) == nullptr;
    connections_.put(connection, true);
    const Page& page = page_of(*http.connection, har_start(http, first));
    begin_entry(out);
    append_har_entry(
        out, flow,
        {.with_secrets = style_.with_secrets, .opened_connection = first, .page = page.id});
    return {};
  }

  void end(std::string& out) override {
    out += "\n],\"pages\":";
    JsonArray pages(out);
    // WebKit reads the first one.
    if (pages_.empty()) append_page(pages.item(), {"none", earliest_.value_or(Clock::now())});
    for (const auto& [process, page] : pages_) append_page(pages.item(), page);
    pages.end();
    if (!others_.empty()) out.append(",\n\"_flows\":[\n").append(others_).append("\n]");
    out += "}}\n";
  }

 private:
  static void append_page(std::string& out, const Page& page) {
    JsonObject object(out);
    object.text("startedDateTime", base::rfc3339(page.began));
    object.text("id", page.id);
    object.text("title", page.id);
    JsonObject timings(object.name("pageTimings"));
    timings.integer("onContentLoad", std::int64_t{-1});
    timings.integer("onLoad", std::int64_t{-1});
    timings.end();
    object.end();
  }

  void begin_entry(std::string& out) {
    out += any_ ? ",\n" : "\n";
    any_ = true;
  }

  void add_refusal(const flow::TcpFlow& flow, std::string& out) {
    const Page& page = page_of(*flow.connection, flow.began);
    begin_entry(out);
    append_har_refusal(out, flow, page.id, style_.with_secrets);
  }

  /// One for each process of an entry: viewers group by it.
  const Page& page_of(const flow::ConnectionRecord& connection, flow::Time began) {
    const auto* const process = connection.process.get();
    std::string id = process ? fmt::format("{}-{}", process->name, process->id.pid) : "unknown";
    const auto born = process ? process->start_time : flow::Time();
    const auto [found, added] = pages_.try_emplace({id, born}, Page{id, began});
    const int same = added ? ++ids_[id] : 0;
    if (same > 1) found->second.id = fmt::format("{}-{}", id, same);  // a pid that was used again
    found->second.began = std::min(found->second.began, began);
    return found->second;
  }

  /// Other flows are no entry that a reader would take: their JSON form stands beside the entries.
  void add_other(const flow::Flow& flow) {
    const flow::Time began = flow.facts().began;
    earliest_ = std::min(earliest_.value_or(began), began);
    if (!others_.empty()) others_ += ",\n";
    if (flow.tcp() != nullptr) {
      const auto& record = *flow.tcp();
      renderer_.render(
          flow::TcpEnd{style_.with_secrets ? std::make_shared<const flow::TcpFlow>(record)
                                           : without_arguments(record)},
          false, others_);
    } else {
      const auto& record = *flow.dns();
      renderer_.render(
          flow::DnsEnd{style_.with_secrets ? std::make_shared<const flow::DnsFlow>(record)
                                           : without_arguments(record)},
          false, others_);
    }
  }

  using Clock = std::chrono::system_clock;
  static constexpr std::size_t kConnections = 65536;

  HarStyle style_;
  bool any_ = false;
  std::map<std::pair<std::string, flow::Time>, Page> pages_;
  std::map<std::string, int> ids_;
  std::optional<flow::Time> earliest_;  ///< of the other flows
  base::LruCache<std::uint64_t, bool> connections_{kConnections};
  JsonRenderer renderer_;
  std::string others_;
};

}  // namespace

std::unique_ptr<FlowWriter> make_har_writer(HarStyle style) {
  return std::make_unique<HarWriter>(std::move(style));
}

}  // namespace mitm::format
