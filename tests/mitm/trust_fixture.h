// What tests of installing trust need: a root, stores in words, users and programs of their own.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <sys/stat.h>

#include "mitm/trust/program.h"
#include "mitm/trust/stores.h"
#include "tests/mitm/private_root.h"
#include "tests/mitm/tls_fixture.h"
#include "tests/test.h"

namespace trust_test {

using namespace mitm::tls;
using namespace mitm::trust;
using tls_test::Problems;
using tls_test::shell;
using tls_test::write;
namespace fs = std::filesystem;

inline constexpr const char* kState = "/tmp/state";
inline constexpr const char* kPem = "/tmp/state/root-ca.pem";
inline constexpr const char* kBundle = "/etc/ssl/certs/ca-certificates.crt";
inline constexpr const char* kDebianFile = "/usr/local/share/ca-certificates/osproxy-ca.crt";
inline const base::User kRoot{0, 0, "root", "/nonexistent", ""};

/// "trusted", "absent: why", ...
inline std::string text(const StoreStatus& status) {
  using State = StoreStatus::State;
  const char* state = status.state == State::trusted  ? "trusted"
                      : status.state == State::absent ? "absent"
                                                      : "unavailable";
  return status.detail.empty() ? state : fmt::format("{}: {}", state, status.detail);
}

/// Of the first store whose name begins so.
inline std::string state_of(const base::Result<std::vector<StoreStatus>>& statuses,
                            const std::string& store) {
  if (!statuses) return statuses.error().text;
  for (const StoreStatus& status : *statuses) {
    if (status.store.rfind(store, 0) == 0) return text(status);
  }
  return "no such store";
}

inline void new_root(Problems& problems) {
  fs::remove_all(kState);
  const auto root = create_root(kState);
  problems.expect(root.has_value(), "cannot make a root");
}

inline void script(const std::string& path, const std::string& body) {
  fs::remove(path);
  write(path, "#!/bin/sh\n" + body);
  ::chmod(path.c_str(), 0755);
}

/// Everything but Java and the system's store, which take seconds.
inline void without_java() {
  for (const char* path : {"/usr/lib/jvm", "/etc/ssl/certs/java", "/etc/ca-certificates/update.d"})
    fs::remove_all(path);
}

inline bool have(const char* program) {
  if (!find_program(program).empty()) return true;
  MESSAGE(program << " is not installed: nothing tested");
  return false;
}

/// A user with an NSS database, as a browser makes it.
inline base::User user_with_database(Problems& problems, const std::string& database) {
  const base::User user{4711, 4711, "ann", "/home/ann", ""};
  const std::string directory = user.home + "/" + database;
  fs::create_directories(directory);
  problems.equal(shell("certutil -N --empty-password -d sql:" + directory +
                       " && chown -R 4711:4711 /home/ann"),
                 "0 ", "certutil -N");
  return user;
}

}  // namespace trust_test
