#include "mitm/cli/flow_output.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>

#include <fmt/format.h>

#include "mitm/cli/error_codes.h"
#include "mitm/cli/log_line.h"
#include "mitm/cli/output_stream.h"
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

class Counter final : public FlowOutput {
 public:
  Result<> write(const flow::Flow& /*flow*/) override {
    ++count_;
    return {};
  }
  Result<> end() override {
    Progress none{false};
    return OutputStream{stdout, none}.print(fmt::format("{}\n", count_));
  }

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

/// What osproxy did not see the end of, as a flow that has ended so.
template <class Record>
std::shared_ptr<const Record> broken_off(const Record& record, std::string_view error) {
  auto ended = std::make_shared<Record>(record);
  ended->error = error;
  return ended;
}

/// For readers: nothing is under way in a session whose run is gone.
flow::Flow without_interruption(const flow::Flow& flow) {
  flow::Flow ended = flow;
  if (flow.state != flow::Flow::State::interrupted) return ended;
  if (flow.http() != nullptr) ended.record = broken_off(*flow.http(), flow.error());
  if (flow.tcp() != nullptr) ended.record = broken_off(*flow.tcp(), flow.error());
  ended.state = flow::Flow::State::ended;
  return ended;
}

class Text final : public FlowOutput {
 public:
  Text(OutputStream out, format::TextStyle style) : out_(out), style_(style) {}
  Result<> write(const flow::Flow& flow) override {
    for (const auto& event : events_of(without_interruption(flow))) {
      if (auto printed = out_.print(format::render_text(event, style_)); !printed) return printed;
    }
    return {};
  }
  Result<> end() override { return {}; }

 private:
  OutputStream out_;
  format::TextStyle style_;
};

class JsonLines final : public FlowOutput {
 public:
  JsonLines(OutputStream out, std::size_t bodies) : out_(out), bodies_(bodies) {}
  Result<> write(const flow::Flow& flow) override {
    for (const auto& event : events_of(flow)) {
      line_.clear();
      renderer_.render(bodies_ > 0 ? flow::limit_bodies(event, bodies_) : event, bodies_ > 0,
                       line_);
      if (line_.empty()) continue;
      line_.push_back('\n');
      if (auto printed = out_.print(line_); !printed) return printed;
    }
    return {};
  }
  Result<> end() override { return {}; }

 private:
  OutputStream out_;
  std::size_t bodies_;  ///< bytes of each; 0: none
  format::JsonRenderer renderer_;
  std::string line_;
};

class File final : public FlowOutput {
 public:
  File(OutputStream out, std::unique_ptr<format::FlowWriter> writer)
      : out_(out), writer_(std::move(writer)) {
    writer_->begin(bytes_);
  }
  Result<> write(const flow::Flow& flow) override {
    if (const auto written = writer_->write(flow, bytes_); !written) {
      ++left_out_;
      out_.leave_out(fmt::format("flow {}: {}", flow.facts().id, written.error().text));
    }
    return put();
  }
  Result<> end() override {
    writer_->end(bytes_);
    if (left_out_ > 0)
      out_.warn(fmt::format("left out: {} flow{}", left_out_, left_out_ == 1 ? "" : "s"));
    return put();
  }

 private:
  Result<> put() {
    auto printed = out_.print(bytes_);
    bytes_.clear();
    return printed;
  }

  OutputStream out_;
  std::unique_ptr<format::FlowWriter> writer_;
  std::string bytes_;
  std::uint64_t left_out_ = 0;
};

bool colours(Colour choice, const OutputStream& out) {
  if (choice != Colour::automatic) return choice == Colour::always;
  return out.is_terminal() && std::getenv("NO_COLOR") == nullptr;
}

std::unique_ptr<FlowOutput> snippets(OutputStream out, format::Snippet kind) {
  return std::make_unique<File>(out, format::make_snippet_writer(kind));
}

Result<std::unique_ptr<FlowOutput>> make_binary_output(OutputStream out, std::string_view format,
                                                       std::unique_ptr<format::FlowWriter> writer) {
  if (out.is_terminal())
    return base::failure("--format {}: the terminal shows no bytes; write them to a file: > FILE",
                         format);
  return std::make_unique<File>(out, std::move(writer));
}

}  // namespace

void say_unused_options(const Invocation& invocation, FileFormat format) {
  const bool whole = invocation.typed.fields.empty() && !invocation.typed.count;
  const auto check = [&](std::string_view option, FileFormat only, std::string_view name) {
    if (!invocation.has(option) || (format == only && whole)) return;
    log_line(fmt::format("--{} does nothing here: it is for --format {}", option, name),
             base::LogLevel::warning);
  };
  check("with-secrets", FileFormat::har, "har; other formats have all there is");
  check("bodies", FileFormat::jsonl, "jsonl");
  check("mitm-version", FileFormat::mitm, "mitm");
  check("detail", FileFormat::text, "text");
}

std::unique_ptr<FlowOutput> make_flow_counter() {
  return std::make_unique<Counter>();
}

Result<std::unique_ptr<FlowOutput>> make_flow_output(const Settings& settings, std::FILE* out,
                                                     Progress& progress) {
  const OutputStream stream{out, progress};
  switch (settings.file_format) {
    case FileFormat::text:
      return std::make_unique<Text>(
          stream, format::TextStyle{settings.detail, colours(settings.color, stream)});
    case FileFormat::jsonl:
      return std::make_unique<JsonLines>(stream, settings.bodies);
    case FileFormat::har:
      return std::make_unique<File>(
          stream, format::make_har_writer(
                      {.with_secrets = settings.with_secrets, .version = OSPROXY_VERSION}));
    case FileFormat::mitm:
      return make_binary_output(stream, "mitm", format::make_mitm_writer(settings.mitm_version));
    case FileFormat::pcapng:
      return make_binary_output(stream, "pcapng", format::make_pcapng_writer());
    case FileFormat::curl:
      return snippets(stream, format::Snippet::curl);
    case FileFormat::httpie:
      return snippets(stream, format::Snippet::httpie);
    case FileFormat::wget:
      return snippets(stream, format::Snippet::wget);
    case FileFormat::fetch:
      return snippets(stream, format::Snippet::fetch);
    case FileFormat::python:
      return snippets(stream, format::Snippet::requests);
    case FileFormat::csv:
      return base::Error{"--format csv needs --fields: the columns", kUsageError};
    case FileFormat::raw:
      return snippets(stream, format::Snippet::raw);
  }
  return base::failure("--format: unknown");
}

}  // namespace mitm::cli
