// Nothing is folded or checked: what may stand in a field is up to who changes it.
#include "mitm/http/http1_writer.h"

#include <fmt/format.h>

namespace mitm::http {
namespace {

constexpr std::string_view kDelimiting[] = {"content-length", "transfer-encoding"};

Fields called(const Fields& fields, std::string_view name) {
  Fields found;
  for (std::size_t i = 0; i < fields.size(); ++i) {
    const auto [field, value] = fields[i];
    if (iequals(field, name)) found.add(field, value);
  }
  return found;
}

}  // namespace

std::string request_line(std::string_view method, std::string_view target,
                         std::string_view version) {
  return fmt::format("{} {} HTTP/{}\r\n", method, target, version);
}

std::string status_line(int status, std::string_view reason, std::string_view version) {
  return fmt::format("HTTP/{} {:03} {}\r\n", version, status, reason);
}

std::string field_lines(const Fields& fields) {
  std::string lines;
  lines.reserve(fields.bytes() + fields.size() * 4 + 2);
  for (std::size_t i = 0; i < fields.size(); ++i) {
    const auto [name, value] = fields[i];
    lines.append(name).append(": ").append(value).append("\r\n");
  }
  return lines += "\r\n";
}

void delimit_by_length(Fields& fields, std::size_t bytes) {
  fields.remove("transfer-encoding");
  fields.set("Content-Length", std::to_string(bytes));
}

void delimit_as(const Fields& original, Fields& changed) {
  for (const std::string_view name : kDelimiting) {
    const Fields wanted = called(original, name);
    if (wanted == called(changed, name)) continue;
    changed.remove(name);
    for (std::size_t i = 0; i < wanted.size(); ++i) changed.add(wanted[i].first, wanted[i].second);
  }
}

}  // namespace mitm::http
