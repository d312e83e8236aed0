// The process that opened the connection, and its ancestors.
#include <array>

#include "mitm/query/field.h"
#include "mitm/query/subject.h"
#include "procmap/program_names.h"

namespace mitm::query {
namespace {

using enum Columns::Table;
using enum ValueType;
using procmap::ProcessFacts;

template <auto member>
void known_text(Subject& it, const Test&, Values& values) {
  if (it.process != nullptr) values.known(it.process->*member);
}

template <auto member>
void any_number(Subject& it, const Test&, Values& values) {
  if (it.process != nullptr) values.number(static_cast<double>(it.process->*member));
}

/// That of its executable, and those by which the filter of a run selects it: npm of a node.
void any_name(Subject& it, const Test&, Values& values) {
  if (it.process == nullptr) return;
  values.known(it.process->name);
  for (const std::string& other : it.process->other_names) values.known(procmap::base_name(other));
}

void name_or_path(Subject& it, const Test& test, Values& values) {
  any_name(it, test, values);
  if (it.process == nullptr || values.decided()) return;
  values.known(it.process->exe);
  for (const std::string& other : it.process->other_names) values.known(other);
}

void command_line(Subject& it, const Test&, Values& values) {
  if (it.process == nullptr) return;
  std::string line;
  for (const std::string& word : it.process->argv) {
    if (&word != &it.process->argv.front()) line += ' ';
    line += word;
  }
  values.known(line);
}

std::span<const procmap::Ancestor> ancestors(const Subject& it) {
  return it.process == nullptr ? std::span<const procmap::Ancestor>() : it.process->ancestors;
}

void add_name(const procmap::Ancestor& ancestor, Values& values) {
  values.known(procmap::base_name(ancestor.exe));
}
void add_path(const procmap::Ancestor& ancestor, Values& values) {
  values.known(ancestor.exe);
}
void add_pid(const procmap::Ancestor& ancestor, Values& values) {
  values.number(ancestor.id.pid);
}

template <auto add>
void of_parent(Subject& it, const Test&, Values& values) {
  if (const auto all = ancestors(it); !all.empty()) add(all.front(), values);
}
template <auto add>
void of_ancestors(Subject& it, const Test&, Values& values) {
  for (const auto& ancestor : ancestors(it)) add(ancestor, values);
}

const std::array kFields{
    Field{.name = "process",
          .letter = "p",
          .settled = Settled::at_start,
          .help = "name or path of the process or its script",
          .example = "~p curl",
          .get = name_or_path,
          .columns = {process, "name",
                      "osproxy_base_name(second_name), osproxy_base_name(third_name), path, "
                      "second_name, third_name"}},
    Field{.name = "process.name",
          .settled = Settled::at_start,
          .help = "name of the process or its script",
          .example = "process.name == \"curl\"",
          .get = any_name,
          .columns = {process, "name",
                      "osproxy_base_name(second_name), osproxy_base_name(third_name)"}},
    Field{.name = "process.path",
          .aliases = "process.exe",
          .settled = Settled::at_start,
          .help = "path of the process's program",
          .example = "process.path startswith /usr/local/",
          .get = known_text<&ProcessFacts::exe>,
          .columns = {process, "path"}},
    Field{.name = "process.pid",
          .aliases = "pid",
          .letter = "pid",
          .type = number,
          .settled = Settled::at_start,
          .help = "pid of the process",
          .example = "~pid 1234",
          .get =
              [](Subject& it, const Test&, Values& values) {
                if (it.process != nullptr) values.number(it.process->id.pid);
              },
          .columns = {process, "pid"}},
    Field{.name = "process.ppid",
          .aliases = "ppid",
          .type = number,
          .settled = Settled::at_start,
          .help = "pid of the process's parent",
          .example = "process.ppid == 1",
          .get = any_number<&ProcessFacts::ppid>,
          .columns = {process, "ppid"}},
    Field{.name = "process.uid",
          .aliases = "uid",
          .type = number,
          .settled = Settled::at_start,
          .help = "number of the process's user",
          .example = "process.uid >= 1000",
          .get = any_number<&ProcessFacts::uid>,
          .columns = {process, "uid"}},
    Field{.name = "process.gid",
          .aliases = "gid",
          .type = number,
          .settled = Settled::at_start,
          .help = "number of the process's group",
          .example = "process.gid == 33",
          .get = any_number<&ProcessFacts::gid>,
          .columns = {process, "gid"}},
    Field{.name = "process.user",
          .aliases = "user",
          .letter = "user",
          .settled = Settled::at_start,
          .help = "user of the process",
          .example = "process.user == alice",
          .get = known_text<&ProcessFacts::user>,
          .columns = {process, "user"}},
    Field{.name = "process.group",
          .aliases = "group",
          .settled = Settled::at_start,
          .help = "group of the process",
          .example = "process.group == staff",
          .get = known_text<&ProcessFacts::group>,
          .columns = {process, "grp"}},
    Field{.name = "process.cmdline",
          .aliases = "cmdline",
          .settled = Settled::at_start,
          .help = "command line of the process, its words separated by spaces",
          .example = "process.cmdline contains \"npm install\"",
          .get = command_line,
          .columns = {process, "cmdline"}},
    Field{.name = "process.cgroup",
          .aliases = "cgroup",
          .settled = Settled::at_start,
          .help = "cgroup of the process (Linux)",
          .example = "process.cgroup startswith /system.slice/",
          .get = known_text<&ProcessFacts::cgroup>,
          .columns = {process, "cgroup"}},
    Field{.name = "process.started",
          .type = time,
          .settled = Settled::at_start,
          .help = "time at which the process was started",
          .example = "process.started >= 2026-11-30",
          .get =
              [](Subject& it, const Test&, Values& values) {
                if (it.process == nullptr) return;
                const auto since = std::chrono::duration_cast<std::chrono::microseconds>(
                    it.process->start_time.time_since_epoch());
                if (since.count() != 0) values.number(static_cast<double>(since.count()));
              },
          .columns = {process, "nullif(started, 0)"}},
    Field{.name = "parent.name",
          .settled = Settled::at_start,
          .help = "name of the parent's program",
          .example = "parent.name == bash",
          .get = of_parent<add_name>,
          .columns = {parent, "name"}},
    Field{.name = "parent.path",
          .settled = Settled::at_start,
          .help = "path of the parent's program",
          .example = "parent.path startswith /opt/",
          .get = of_parent<add_path>,
          .columns = {parent, "path"}},
    Field{.name = "parent.pid",
          .type = number,
          .settled = Settled::at_start,
          .help = "pid of the parent",
          .example = "parent.pid == 1",
          .get = of_parent<add_pid>,
          .columns = {parent, "pid"}},
    Field{.name = "ancestor.name",
          .aliases = "ancestor",
          .settled = Settled::at_start,
          .help = "name of the program of an ancestor, at any distance",
          .example = "ancestor.name == make",
          .get = of_ancestors<add_name>,
          .columns = {ancestor, "name"}},
    Field{.name = "ancestor.path",
          .settled = Settled::at_start,
          .help = "path of the program of an ancestor",
          .example = "ancestor.path contains node_modules",
          .get = of_ancestors<add_path>,
          .columns = {ancestor, "path"}},
    Field{.name = "ancestor.pid",
          .type = number,
          .settled = Settled::at_start,
          .help = "pid of an ancestor",
          .example = "ancestor.pid == 4321",
          .get = of_ancestors<add_pid>,
          .columns = {ancestor, "pid"}},
};

}  // namespace

std::span<const Field> process_fields() {
  return kFields;
}

}  // namespace mitm::query
