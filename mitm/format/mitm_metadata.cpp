#include "mitm/format/mitm_metadata.h"

#include "mitm/format/mitm_state.h"
#include "mitm/format/shell_words.h"

namespace mitm::format {
namespace {

void add_text(TnetDict& dict, std::string_view key, std::string_view text) {
  if (!text.empty()) dict.text(key, text);
}

void add_count(TnetDict& dict, std::string_view key, const std::optional<std::uint64_t>& count) {
  if (count) dict.integer(key, static_cast<std::int64_t>(*count));
}

void add_process(TnetDict& dict, const procmap::ProcessFacts& process) {
  add_text(dict, meta::kName, process.name);
  dict.integer(meta::kPid, process.id.pid);
  dict.integer(meta::kPpid, process.ppid);
  add_text(dict, meta::kPath, process.exe);
  add_text(dict, meta::kCmdline, shell_words(process.argv));
  add_text(dict, meta::kUser, process.user);
  dict.integer(meta::kUid, process.uid);
  add_text(dict, meta::kGroup, process.group);
  dict.integer(meta::kGid, process.gid);
  add_text(dict, meta::kCgroup, process.cgroup);
  dict.real(meta::kStartTime, to_seconds(process.start_time));
}

void add_notes(TnetDict& dict, const flow::Flow& flow) {
  if (flow.state == flow::Flow::State::live) dict.text(meta::kState, "live");
  if (flow.state == flow::Flow::State::interrupted) dict.text(meta::kState, "interrupted");
  std::string tags;
  for (const std::string& tag : flow.notes.tags) tags.append(tags.empty() ? "" : ",").append(tag);
  add_text(dict, meta::kTags, tags);
}

void add_http(TnetDict& dict, const flow::HttpFlow& http) {
  add_count(dict, meta::kRequestBytes, http.request.body_bytes);
  add_count(dict, meta::kResponseBytes, http.response.body_bytes);
  if (http.request.body.is_cut()) dict.boolean(meta::kRequestCut, true);
  if (http.response.body.is_cut()) dict.boolean(meta::kResponseCut, true);
}

std::uint32_t id_of(const TnetValue& dict, std::string_view key) {
  return static_cast<std::uint32_t>(count_of(dict, key).value_or(0));
}

}  // namespace

void append_metadata(std::string& out, const flow::Flow& flow) {
  const flow::FlowFacts& facts = flow.facts();
  const flow::ConnectionRecord& connection = *facts.connection;
  TnetDict dict(out);
  if (connection.process) add_process(dict, *connection.process);
  dict.text(meta::kType, flow.type());
  dict.integer(meta::kId, static_cast<std::int64_t>(facts.id));
  dict.integer(meta::kConn, static_cast<std::int64_t>(connection.id));
  add_text(dict, meta::kDecision, connection.decision);
  add_text(dict, meta::kReason, connection.reason);
  if (facts.duration)
    dict.real(meta::kDuration, static_cast<double>(facts.duration->count()) / 1e6);
  if (const auto* const http = flow.http()) {
    add_http(dict, *http);
  } else if (const auto* const tcp = flow.tcp()) {
    add_count(dict, meta::kRequestBytes, tcp->request_bytes);
    add_count(dict, meta::kResponseBytes, tcp->response_bytes);
    add_text(dict, meta::kStarttls, tcp->starttls);
  } else {
    add_count(dict, meta::kRequestBytes, flow.dns()->request_bytes);
    add_count(dict, meta::kResponseBytes, flow.dns()->response_bytes);
  }
  add_notes(dict, flow);
  dict.end();
}

std::shared_ptr<const procmap::ProcessFacts> process_of(const TnetValue& metadata) {
  if (metadata.find(meta::kPid) == nullptr) return nullptr;
  auto process = std::make_shared<procmap::ProcessFacts>();
  process->id.pid = static_cast<pid_t>(id_of(metadata, meta::kPid));
  process->ppid = static_cast<pid_t>(id_of(metadata, meta::kPpid));
  process->uid = id_of(metadata, meta::kUid);
  process->gid = id_of(metadata, meta::kGid);
  process->name = text_of(metadata, meta::kName);
  process->exe = text_of(metadata, meta::kPath);
  process->argv = split_shell_words(text_of(metadata, meta::kCmdline));
  process->user = text_of(metadata, meta::kUser);
  process->group = text_of(metadata, meta::kGroup);
  process->cgroup = text_of(metadata, meta::kCgroup);
  if (const TnetValue* const start = metadata.find(meta::kStartTime))
    process->start_time = from_seconds(start->as_real().value_or(0));
  return process;
}

std::string text_of(const TnetValue& dict, std::string_view key) {
  const TnetValue* const value = dict.find(key);
  return value == nullptr ? std::string() : std::string(value->string());
}

std::optional<std::uint64_t> count_of(const TnetValue& dict, std::string_view key) {
  const TnetValue* const value = dict.find(key);
  if (value == nullptr || value->kind != TnetValue::Kind::integer || value->number < 0)
    return std::nullopt;
  return static_cast<std::uint64_t>(value->number);
}

}  // namespace mitm::format
