#include "mitm/cli/flow_output.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include <fmt/format.h>
#include <unistd.h>

#include "mitm/cli/log_line.h"
#include "mitm/flow/event.h"
#include "mitm/format/har.h"
#include "mitm/format/json_renderer.h"
#include "mitm/format/mitm_file.h"
#include "mitm/format/pcapng_file.h"
#include "mitm/format/sinks.h"
#include "mitm/format/snippets.h"

namespace mitm::cli {
namespace {

using base::Result;

Result<> print(std::string_view bytes) {
  if (std::fwrite(bytes.data(), 1, bytes.size(), stdout) == bytes.size()) return {};
  return base::os_error("cannot write to standard output", errno);
}

class Counter final : public FlowOutput {
 public:
  Result<> write(const flow::Flow& /*flow*/) override {
    ++count_;
    return {};
  }
  Result<> end() override { return print(fmt::format("{}\n", count_)); }

 private:
  std::uint64_t count_ = 0;
};

/// As a run shows them: what a flow carried, then its end.
std::vector<flow::Event> events_of(const flow::Flow& flow) {
  std::vector<flow::Event> events;
  for (const auto& message : flow.messages) {
    if (message->kind != flow::StreamMessage::Kind::tcp)
      events.emplace_back(flow::Message{message});
  }
  const bool ended = flow.state == flow::Flow::State::ended;
  if (const auto* const http = std::get_if<0>(&flow.record))
    events.emplace_back(ended ? flow::Event{flow::HttpEnd{*http}} : flow::HttpUnderWay{*http});
  if (const auto* const tcp = std::get_if<1>(&flow.record))
    events.emplace_back(ended ? flow::Event{flow::TcpEnd{*tcp}} : flow::TcpBegin{*tcp});
  if (const auto* const dns = std::get_if<2>(&flow.record)) events.emplace_back(flow::DnsEnd{*dns});
  return events;
}

class Text final : public FlowOutput {
 public:
  explicit Text(format::TextStyle style) : style_(style) {}
  Result<> write(const flow::Flow& flow) override {
    for (const auto& event : events_of(flow)) {
      if (auto printed = print(format::render_text(event, style_)); !printed) return printed;
    }
    return {};
  }
  Result<> end() override { return {}; }

 private:
  format::TextStyle style_;
};

class JsonLines final : public FlowOutput {
 public:
  explicit JsonLines(bool bodies) : bodies_(bodies) {}
  Result<> write(const flow::Flow& flow) override {
    for (const auto& event : events_of(flow)) {
      line_.clear();
      renderer_.render(event, bodies_, line_);
      if (line_.empty()) continue;
      line_.push_back('\n');
      if (auto printed = print(line_); !printed) return printed;
    }
    return {};
  }
  Result<> end() override { return {}; }

 private:
  bool bodies_;
  format::JsonRenderer renderer_;
  std::string line_;
};

class File final : public FlowOutput {
 public:
  explicit File(std::unique_ptr<format::FlowWriter> writer) : writer_(std::move(writer)) {
    writer_->begin(bytes_);
  }
  Result<> write(const flow::Flow& flow) override {
    if (const auto written = writer_->write(flow, bytes_); !written) {
      ++left_out_;
      log_line(fmt::format("flow {}: {}", flow.facts().id, written.error().text),
               base::LogLevel::warning);
    }
    return put();
  }
  Result<> end() override {
    writer_->end(bytes_);
    if (left_out_ > 0)
      log_line(fmt::format("left out: {} flow{}", left_out_, left_out_ == 1 ? "" : "s"),
               base::LogLevel::warning);
    return put();
  }

 private:
  Result<> put() {
    auto printed = print(bytes_);
    bytes_.clear();
    return printed;
  }

  std::unique_ptr<format::FlowWriter> writer_;
  std::string bytes_;
  std::uint64_t left_out_ = 0;
};

bool colours(Colour choice) {
  if (choice != Colour::automatic) return choice == Colour::always;
  return ::isatty(STDOUT_FILENO) == 1 && std::getenv("NO_COLOR") == nullptr;
}

std::unique_ptr<FlowOutput> snippets(format::Snippet kind) {
  return std::make_unique<File>(format::make_snippet_writer(kind));
}

Result<std::unique_ptr<FlowOutput>> make_binary_output(std::string_view format,
                                                       std::unique_ptr<format::FlowWriter> writer) {
  if (::isatty(STDOUT_FILENO) == 1)
    return base::failure("--format {}: the terminal shows no bytes; write them to a file: > FILE",
                         format);
  return std::make_unique<File>(std::move(writer));
}

}  // namespace

Result<std::unique_ptr<FlowOutput>> make_flow_counter() {
  return std::make_unique<Counter>();
}

Result<std::unique_ptr<FlowOutput>> make_flow_output(const Settings& settings) {
  switch (settings.file_format) {
    case FileFormat::text:
      return std::make_unique<Text>(format::TextStyle{settings.detail, colours(settings.color)});
    case FileFormat::jsonl:
      return std::make_unique<JsonLines>(settings.bodies > 0);
    case FileFormat::har:
      return std::make_unique<File>(format::make_har_writer(
          {.with_secrets = settings.with_secrets, .version = OSPROXY_VERSION}));
    case FileFormat::mitm:
      return make_binary_output("mitm", format::make_mitm_writer(settings.mitm_version));
    case FileFormat::pcapng:
      return make_binary_output("pcapng", format::make_pcapng_writer());
    case FileFormat::curl:
      return snippets(format::Snippet::curl);
    case FileFormat::httpie:
      return snippets(format::Snippet::httpie);
    case FileFormat::wget:
      return snippets(format::Snippet::wget);
    case FileFormat::fetch:
      return snippets(format::Snippet::fetch);
    case FileFormat::python:
      return snippets(format::Snippet::requests);
    case FileFormat::raw:
      return snippets(format::Snippet::raw);
  }
  return base::failure("--format: unknown");
}

}  // namespace mitm::cli
