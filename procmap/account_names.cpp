#include "procmap/account_names.h"

#include <array>

#include <grp.h>
#include <pwd.h>

namespace procmap {

const std::string& AccountNames::user(uid_t uid) {
  const auto [entry, added] = users_.try_emplace(uid);
  if (!added) return entry->second;
  std::array<char, 4096> room;
  passwd record{};
  passwd* found = nullptr;
  const bool known = ::getpwuid_r(uid, &record, room.data(), room.size(), &found) == 0 && found;
  entry->second = known ? record.pw_name : std::to_string(uid);
  return entry->second;
}

const std::string& AccountNames::group(gid_t gid) {
  const auto [entry, added] = groups_.try_emplace(gid);
  if (!added) return entry->second;
  std::array<char, 16384> room;
  ::group record{};
  ::group* found = nullptr;
  const bool known = ::getgrgid_r(gid, &record, room.data(), room.size(), &found) == 0 && found;
  entry->second = known ? record.gr_name : std::to_string(gid);
  return entry->second;
}

}  // namespace procmap
