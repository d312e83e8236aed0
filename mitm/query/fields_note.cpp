// What a user has noted, and what only mitmproxy's flows have.
#include <algorithm>
#include <array>

#include "mitm/query/field.h"
#include "mitm/query/subject.h"

namespace mitm::query {
namespace {

using enum Columns::Table;
using enum ValueType;

void add_tags(std::string_view lines, const Test&, Values& values) {
  while (!lines.empty()) {
    const auto length = std::min(lines.find('\n'), lines.size());
    values.known(lines.substr(0, length));
    lines.remove_prefix(std::min(length + 1, lines.size()));
  }
}

constexpr std::string_view kReplay = "osproxy records no replayed flows";

const std::array kFields{
    Field{.name = "marked",
          .letter = "marked",
          .type = flag,
          .help = "is marked",
          .example = "~marked",
          .get = [](Subject& it, const Test&,
                    Values& values) { values.flag(!it.flow.notes.mark.empty()); },
          .columns = {flow, "flow.mark <> ''"}},
    Field{.name = "mark",
          .letter = "marker",
          .help = "mark",
          .example = "~marker :red_circle:",
          .get = [](Subject& it, const Test&, Values& values) { values.known(it.flow.notes.mark); },
          .columns = {flow, "flow.mark"},
          .candidates = ":default: :red_circle:"},
    Field{.name = "comment",
          .letter = "comment",
          .scan = Scan::lines,
          .help = "comment",
          .example = "~comment \"to do\"",
          .get = [](Subject& it, const Test&,
                    Values& values) { values.known(it.flow.notes.comment); },
          .columns = {flow, "flow.comment"}},
    Field{.name = "tag",
          .letter = "tag",
          .help = "a tag",
          .example = "~tag login",
          .get =
              [](Subject& it, const Test&, Values& values) {
                for (const std::string& tag : it.flow.notes.tags) values.known(tag);
              },
          .columns = {flow, "flow.tags", {}, add_tags}},
    Field{.name = "edited",
          .type = flag,
          .kinds = kHttp,
          .cost = Cost::heads,
          .help = "was changed or answered by a rule",
          .example = "edited",
          .get =
              [](Subject& it, const Test&, Values& values) {
                const flow::Edits* const edits =
                    it.http == nullptr ? nullptr : it.http->edits.get();
                values.flag(edits != nullptr &&
                            (edits->answered || edits->request || edits->response));
              }},
    Field{.name = "edited.by",
          .kinds = kHttp,
          .cost = Cost::heads,
          .help = "name of a rule that concerned it",
          .example = "edited.by contains mock",
          .get =
              [](Subject& it, const Test&, Values& values) {
                if (it.http == nullptr || !it.http->edits) return;
                for (const std::string& name : it.http->edits->by) values.text(name);
              }},
    Field{.name = "meta",
          .letter = "meta",
          .scan = Scan::lines,
          .help = "mitmproxy's metadata",
          .example = "~meta key",
          .get = [](Subject&, const Test&, Values&) {},
          .columns = {flow, "NULL"},
          .never = "flows have no metadata here"},
    Field{.name = "replay",
          .letter = "replay",
          .type = flag,
          .help = "was replayed",
          .example = "~replay",
          .get = [](Subject&, const Test&, Values&) {},
          .columns = {flow, "0"},
          .never = kReplay},
    Field{.name = "replayq",
          .letter = "replayq",
          .type = flag,
          .help = "has a replayed request",
          .example = "~replayq",
          .get = [](Subject&, const Test&, Values&) {},
          .columns = {flow, "0"},
          .never = kReplay},
    Field{.name = "replays",
          .letter = "replays",
          .type = flag,
          .help = "has a replayed response",
          .example = "~replays",
          .get = [](Subject&, const Test&, Values&) {},
          .columns = {flow, "0"},
          .never = kReplay},
};

}  // namespace

std::span<const Field> note_fields() {
  return kFields;
}

}  // namespace mitm::query
