#include "procmap/account_names.h"

#include <cerrno>
#include <vector>

#include <grp.h>
#include <pwd.h>

namespace procmap {

namespace {

constexpr std::size_t kRoom = 16 << 10;
constexpr std::size_t kMaxRoom =
    16 << 20;  ///< groups of a directory service have thousands of members

/// `ask` gets room for what it finds, and more as long as that does not do (ERANGE).
template <class Ask>
int with_room(Ask ask) {
  for (std::vector<char> room(kRoom);; room.resize(room.size() * 2)) {
    const int error = ask(room);
    if (error != ERANGE || room.size() >= kMaxRoom) return error;
  }
}

}  // namespace

std::string AccountNames::user(uid_t uid) {
  if (const auto known = users_.find(uid); known != users_.end()) return known->second;
  std::string name = std::to_string(uid);
  const int error = with_room([&](std::vector<char>& room) {
    passwd record{};
    passwd* found = nullptr;
    const int failed = ::getpwuid_r(uid, &record, room.data(), room.size(), &found);
    if (found) name = record.pw_name;
    return failed;
  });
  if (error == 0) users_.emplace(uid, name);
  return name;
}

std::string AccountNames::group(gid_t gid) {
  if (const auto known = groups_.find(gid); known != groups_.end()) return known->second;
  std::string name = std::to_string(gid);
  const int error = with_room([&](std::vector<char>& room) {
    ::group record{};
    ::group* found = nullptr;
    const int failed = ::getgrgid_r(gid, &record, room.data(), room.size(), &found);
    if (found) name = record.gr_name;
    return failed;
  });
  if (error == 0) groups_.emplace(gid, name);
  return name;
}

}  // namespace procmap
