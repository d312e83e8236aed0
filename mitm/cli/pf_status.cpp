// Lines of text; macOS and FreeBSD print them alike.
#include "mitm/cli/pf_status.h"

#include <algorithm>

namespace mitm::cli {
namespace {

/// Whether `good` says yes of a line, without the spaces in front of it.
template <class Predicate>
bool any_line(std::string_view text, Predicate good) {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
    if (good(line)) return true;
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return false;
}

/// The first text in quotation marks.
std::string_view quoted(std::string_view line) {
  const std::size_t open = line.find('"');
  const std::size_t close = open == line.npos ? line.npos : line.find('"', open + 1);
  return close == line.npos ? std::string_view() : line.substr(open + 1, close - open - 1);
}

}  // namespace

bool pf_enabled(std::string_view info) {
  return any_line(info, [](std::string_view line) { return line.starts_with("Status: Enabled"); });
}

bool refers_to_anchor(std::string_view rules, std::string_view keyword, std::string_view anchor) {
  return any_line(rules, [&](std::string_view line) {
    if (!line.starts_with(keyword) || !line.substr(keyword.size()).starts_with(" \"")) return false;
    const std::string_view name = quoted(line);
    if (name == anchor) return true;
    const std::size_t slash = anchor.rfind('/');
    return name.ends_with("/*") && slash != anchor.npos &&
           name.substr(0, name.size() - 2) == anchor.substr(0, slash);
  });
}

bool skips_interface(std::string_view interfaces, std::string_view interface) {
  return any_line(interfaces, [&](std::string_view line) {
    return line.starts_with(interface) && line.substr(interface.size()).starts_with(" (skip)");
  });
}

}  // namespace mitm::cli
