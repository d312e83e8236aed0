// Users and groups; what POSIX has for all systems.
#include "divert/process/privilege.h"

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <sstream>

#include <grp.h>
#include <unistd.h>

#include "base/fd.h"

namespace divert {
namespace {

/// The one above it means "none".
constexpr gid_t kLastGroup = 0xFFFF'FFFE;
constexpr gid_t kFirstCaptureGroup = kUsualExemptGroup + 256;
constexpr std::size_t kTries = 64;

/// Linux has the file; elsewhere every number exists.
std::vector<GroupRange> existing_groups() {
  const auto text = base::read_file("/proc/self/gid_map", 64 << 10);
  auto ranges = text ? parse_gid_map(*text) : std::vector<GroupRange>();
  if (ranges.empty()) ranges.push_back({0, kLastGroup});
  return ranges;
}

bool contains(const std::vector<GroupRange>& ranges, gid_t gid) {
  return std::ranges::any_of(
      ranges, [gid](const GroupRange& range) { return gid >= range.first && gid <= range.last; });
}

void append(std::vector<GroupRange>& ranges, std::uint64_t first, std::uint64_t count) {
  if (count == 0 || first > kLastGroup) return;
  const auto last = count > kLastGroup - first ? kLastGroup : first + count - 1;
  ranges.push_back({static_cast<gid_t>(first), static_cast<gid_t>(last)});
}

/// Linux has the file; elsewhere it is not there.
bool in_subgid(gid_t gid) {
  const auto text = base::read_file("/etc/subgid", 4 << 20);
  return text && contains(parse_subgid(*text), gid);
}

}  // namespace

base::Result<base::User> invoking_user() {
  if (const char* name = std::getenv("DOAS_USER"); name && !std::getenv("SUDO_UID"))
    return base::user_named(name);
  uid_t uid = ::getuid();
  if (const char* text = std::getenv("SUDO_UID"); text && uid == 0) {
    const std::string_view digits = text;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), uid);
    if (error != std::errc{} || end != digits.data() + digits.size()) {
      return base::failure("SUDO_UID is '{}', not a user number; unset it or run through sudo",
                           digits);
    }
  }
  return base::user_numbered(uid);
}

base::Result<> become_worker(const base::User& user, gid_t gid) {
  if (!base::leave_groups(gid) || !base::set_ids(user.uid, gid))
    return base::os_error("cannot become user " + user.name, errno);
  if (seal()) return {};
  const int code = errno;
  const std::string who = tracer();
  if (who.empty()) return base::os_error("cannot seal the worker", code);
  return base::Error{
      fmt::format("cannot seal the worker: {} traces it and could read what it decrypts; start "
                  "osproxy without that, or trace the broker alone",
                  who),
      code};
}

std::string group_number_in_use(gid_t gid) {
  if (const group* entry = ::getgrgid(gid)) return std::string("the group ") + entry->gr_name;
  if (in_subgid(gid)) return "a range in /etc/subgid";
  const auto processes = processes_with_group(gid);
  return processes.empty() ? std::string() : fmt::format("process {}", processes.front());
}

std::vector<GroupRange> parse_gid_map(std::string_view text) {
  std::istringstream lines{std::string(text)};
  std::vector<GroupRange> ranges;
  for (std::uint64_t first = 0, outside = 0, count = 0; lines >> first >> outside >> count;)
    append(ranges, first, count);
  return ranges;
}

std::vector<GroupRange> parse_subgid(std::string_view text) {
  std::istringstream lines{std::string(text)};
  std::vector<GroupRange> ranges;
  for (std::string line; std::getline(lines, line);) {
    unsigned long first = 0;
    unsigned long count = 0;
    const auto colon = line.find(':');
    if (colon == line.npos || std::sscanf(line.c_str() + colon + 1, "%lu:%lu", &first, &count) != 2)
      continue;
    append(ranges, first, count);
  }
  return ranges;
}

std::vector<gid_t> group_candidates(const std::vector<GroupRange>& existing, gid_t first,
                                    std::size_t most) {
  std::vector<gid_t> candidates;
  if (contains(existing, first)) {
    for (gid_t gid = first; candidates.size() < most && contains(existing, gid); ++gid)
      candidates.push_back(gid);
    return candidates;
  }
  const auto largest = std::ranges::max_element(
      existing, {}, [](const GroupRange& range) { return range.last - range.first; });
  if (largest == existing.end()) return candidates;
  for (gid_t gid = largest->last; candidates.size() < most && gid > largest->first; --gid)
    candidates.push_back(gid);
  return candidates;
}

base::Result<gid_t> choose_scope_group(gid_t exempt) {
  for (const gid_t gid : group_candidates(existing_groups(), kFirstCaptureGroup, kTries)) {
    if (gid != exempt && group_number_in_use(gid).empty()) return gid;
  }
  return base::failure("no free group number for the command from {} on", kFirstCaptureGroup);
}

base::Result<gid_t> choose_exempt_group(std::optional<gid_t> wanted) {
  const auto existing = existing_groups();
  if (wanted) {
    if (!contains(existing, *wanted))
      return base::failure(
          "group number {} does not exist in this user namespace (/proc/self/gid_map); choose "
          "another with --group, or none",
          *wanted);
    const std::string user = group_number_in_use(*wanted);
    if (user.empty()) return *wanted;
    return base::failure(
        "group number {} belongs to {}: its connections would escape; choose another with "
        "--group, or none",
        *wanted, user);
  }
  const auto candidates = group_candidates(existing, kUsualExemptGroup, kTries);
  for (const gid_t gid : candidates) {
    if (group_number_in_use(gid).empty()) return gid;
  }
  return base::failure("no free group number among {}; name one with --group",
                       candidates.empty()
                           ? "those of this user namespace"
                           : fmt::format("{} to {}", candidates.front(), candidates.back()));
}

}  // namespace divert
