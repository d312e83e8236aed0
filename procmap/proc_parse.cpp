// Readers of proc(5) text.
#include "procmap/proc_parse.h"

#include <charconv>
#include <functional>

#include <boost/container_hash/hash.hpp>

namespace procmap {
namespace {

template <class Number>
bool to_number(std::string_view text, Number& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc{} && end == text.data() + text.size() && !text.empty();
}

/// The next word of `text`, which is shortened by it; words are separated by spaces or tabs.
std::string_view next_word(std::string_view& text) {
  const auto first = text.find_first_not_of(" \t");
  if (first == text.npos) return text = {};
  text.remove_prefix(first);
  const auto word = text.substr(0, text.find_first_of(" \t\n"));
  text.remove_prefix(word.size());
  return word;
}

/// The words after "NAME:" at the start of a line that is there in full.
std::optional<std::string_view> line_of(std::string_view text, std::string_view name) {
  for (std::size_t begin = 0; begin < text.size();) {
    const auto end = text.find('\n', begin);
    if (end == text.npos) return std::nullopt;
    const auto line = text.substr(begin, end - begin);
    if (line.starts_with(name)) return line.substr(name.size());
    begin = end + 1;
  }
  return std::nullopt;
}

/// The second of the real, effective, saved and file system ids.
template <class Id>
bool effective(std::optional<std::string_view> ids, Id& value) {
  if (!ids) return false;
  next_word(*ids);
  return to_number(next_word(*ids), value);
}

}  // namespace

std::optional<StatFields> parse_stat(std::string_view text) {
  // The name is in parentheses and may hold any byte, parentheses and spaces too.
  const auto open = text.find('(');
  const auto close = text.rfind(')');
  if (open == text.npos || close == text.npos || close < open || !text.ends_with('\n'))
    return std::nullopt;
  StatFields stat;
  stat.comm = text.substr(open + 1, close - open - 1);
  auto rest = text.substr(close + 1);
  std::size_t image = std::hash<std::string_view>{}(stat.comm);
  bool good = true;
  for (int field = 3; field <= 51 && good; ++field) {
    const auto word = next_word(rest);
    if (field == 3 && !word.empty()) stat.state = word[0];
    if (field == 4) good = to_number(word, stat.ppid);
    if (field == 22) good = to_number(word, stat.start_ticks);
    const bool is_address = (field >= 26 && field <= 28) || field >= 45;
    if (is_address) boost::hash_combine(image, std::hash<std::string_view>{}(word));
    good = good && !word.empty();
  }
  if (!good) return std::nullopt;
  stat.image = image;
  return stat;
}

std::optional<StatusFields> parse_status(std::string_view text) {
  StatusFields status;
  auto tgid = line_of(text, "Tgid:");
  if (!tgid || !to_number(next_word(*tgid), status.tgid)) return std::nullopt;
  if (!effective(line_of(text, "Uid:"), status.uid) ||
      !effective(line_of(text, "Gid:"), status.gid))
    return std::nullopt;
  auto groups = line_of(text, "Groups:");
  for (gid_t group = 0; groups && to_number(next_word(*groups), group);)
    status.groups.push_back(group);
  return status;
}

std::vector<std::string> parse_cmdline(std::string_view bytes, std::size_t limit) {
  const std::size_t end_of_title = bytes.find_last_not_of('\0');
  const std::size_t padding = bytes.size() - (end_of_title == bytes.npos ? 0 : end_of_title + 1);
  if (padding > 2 && end_of_title != bytes.npos) bytes.remove_suffix(padding - 1);
  std::vector<std::string> arguments;
  while (!bytes.empty() && arguments.size() < limit) {
    const auto end = bytes.find('\0');
    arguments.emplace_back(bytes.substr(0, end));
    if (end == bytes.npos) break;
    bytes.remove_prefix(end + 1);
  }
  return arguments;
}

std::string parse_cgroup(std::string_view text) {
  const auto path = line_of(text, "0::");
  return path ? std::string(*path) : std::string();
}

std::string_view without_deleted(std::string_view exe) {
  constexpr std::string_view kDeleted = " (deleted)";
  return exe.ends_with(kDeleted) ? exe.substr(0, exe.size() - kDeleted.size()) : exe;
}

std::uint32_t parse_socket_link(std::string_view link) {
  constexpr std::string_view kStart = "socket:[";
  std::uint32_t inode = 0;
  if (!link.starts_with(kStart) || !link.ends_with(']')) return 0;
  link.remove_prefix(kStart.size());
  link.remove_suffix(1);
  return to_number(link, inode) ? inode : 0;
}

bool is_ring_link(std::string_view link) {
  return link == "anon_inode:[io_uring]";
}

std::optional<std::vector<std::uint32_t>> parse_ring_sockets(std::string_view fdinfo) {
  const auto count = line_of(fdinfo, "UserFiles:");
  if (!count) return std::nullopt;
  std::vector<std::uint32_t> inodes;
  auto rest =
      fdinfo.substr(static_cast<std::size_t>(count->data() + count->size() - fdinfo.data()));
  // One line for each file, "    7: socket:[123]", until the next heading.
  while (rest.size() > 1 && (rest[1] == ' ' || (rest[1] >= '0' && rest[1] <= '9'))) {
    rest.remove_prefix(1);
    auto line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(line.size());
    const auto colon = line.find(": ");
    if (colon == line.npos) continue;
    if (const auto inode = parse_socket_link(line.substr(colon + 2))) inodes.push_back(inode);
  }
  return inodes;
}

pid_t parse_last_pid(std::string_view loadavg) {
  std::string_view word;
  for (int field = 0; field < 5; ++field) word = next_word(loadavg);
  pid_t pid = 0;
  return to_number(word, pid) ? pid : 0;
}

}  // namespace procmap
