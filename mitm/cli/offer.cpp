#include "mitm/cli/offer.h"

#include <filesystem>

#include "base/text.h"
#include "base/user.h"
#include "mitm/cli/session_directory.h"
#include "mitm/query/filter.h"

namespace mitm::cli {
namespace {

void append(std::string_view text, std::string_view help, std::string& out) {
  out.append(text).append("\t").append(help).append("\n");
}

std::string offer_filter(std::string_view typed) {
  std::string out;
  const auto completion = query::complete(typed, typed.size());
  for (const auto& one : completion.candidates)
    append(std::string(typed.substr(0, completion.begin)) + one.text, one.help, out);
  return out;
}

/// Behind the last comma.
std::string offer_fields(std::string_view typed) {
  std::string out;
  const auto begin = typed.rfind(',') + 1;  // npos + 1 is 0
  for (const query::Field* const field : query::all_fields()) {
    if (!field->never.empty() || !field->name.starts_with(typed.substr(begin))) continue;
    std::string text{typed.substr(0, begin)};
    text.append(field->name).append(field->keyed == query::Keyed::required ? "[\"" : "");
    append(text, field->help, out);
  }
  return out;
}

std::string offer_sessions(std::string_view typed) {
  std::string out;
  const auto paths = session_files(sessions_directory(base::current_user().home));
  // The newest first: a name that was made begins with its time.
  for (auto path = paths.rbegin(); path != paths.rend(); ++path) {
    const std::string name = std::filesystem::path(*path).stem().string();
    // What a shell would take for more than a name is none of ours.
    if (name.starts_with(typed) && base::printable(name) == name) append(name, {}, out);
  }
  return out;
}

}  // namespace

std::string offers(std::string_view kind, std::string_view typed) {
  if (kind == "filter") return offer_filter(typed);
  if (kind == "fields") return offer_fields(typed);
  if (kind == "sessions") return offer_sessions(typed);
  return {};
}

}  // namespace mitm::cli
