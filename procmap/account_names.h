// Names of users and groups. Each is asked for once, unless that fails: a name service behind
// nsswitch.conf may be slow.
#pragma once

#include <string>
#include <unordered_map>

#include <sys/types.h>

namespace procmap {

class AccountNames {
 public:
  /// The number itself where there is no name.
  std::string user(uid_t uid);
  std::string group(gid_t gid);

 private:
  std::unordered_map<uid_t, std::string> users_;
  std::unordered_map<gid_t, std::string> groups_;
};

}  // namespace procmap
