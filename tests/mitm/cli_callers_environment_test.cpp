// What exec takes back of the environment that sudo has reset.
#include <array>

#include "mitm/cli/callers_environment.h"
#include "tests/test.h"

using mitm::cli::CallersEnvironment;
using mitm::cli::dropped_by_sudo;
using procmap::ExecArguments;
using Words = std::vector<std::string>;

namespace {

constexpr std::array<std::string_view, 2> kNames{"SSL_CERT_FILE", "CURL_CA_BUNDLE"};

/// sudo's secure_path, and one variable that it lets through.
const char* own(const char* name) {
  if (std::string_view(name) == "PATH") return "/usr/bin:/bin";
  return std::string_view(name) == "SSL_CERT_FILE" ? "/kept.pem" : nullptr;
}
const char* nothing(const char* /*name*/) {
  return nullptr;
}

const Words kTyped{"exec", "--", "npm", "ci"};
const Words kEnvironment{"HOME=/home/ann", "PATH=/home/ann/bin:/usr/bin", "SSL_CERT_FILE=/ann.pem",
                         "CURL_CA_BUNDLE=/curl.pem", "CURL_CA_BUNDLE_OTHER=/x"};

ExecArguments started(std::string exe, Words before) {
  before.emplace_back("osproxy");
  before.insert(before.end(), kTyped.begin(), kTyped.end());
  return {std::move(exe), std::move(before), kEnvironment};
}

}  // namespace

TEST_CASE(
    "callers_environment: what sudo has dropped is what its own environment has and ours not") {
  const CallersEnvironment all{"/home/ann/bin:/usr/bin", {{"CURL_CA_BUNDLE", "/curl.pem"}}};
  for (const char* exe : {"/usr/bin/sudo", "/usr/local/bin/doas", "/usr/bin/sudo-rs"}) {
    for (const Words& before : {Words{"sudo"}, Words{"sudo", "-E"}, Words{"sudo", "nice"}})
      CHECK(dropped_by_sudo(started(exe, before), kTyped, kNames, own) == all);
  }
  const auto path_only =
      dropped_by_sudo(started("/usr/bin/sudo", {"sudo", "CURL_CA_BUNDLE="}), kTyped, kNames, own);
  CHECK(path_only == CallersEnvironment{"/home/ann/bin:/usr/bin", {}});
  const auto variables_only =
      dropped_by_sudo(started("/usr/bin/sudo", {"sudo", "PATH=/opt"}), kTyped, kNames, own);
  CHECK(variables_only == CallersEnvironment{{}, {{"CURL_CA_BUNDLE", "/curl.pem"}}});
  // Without a PATH of our own: it was taken away on purpose.
  CHECK(!dropped_by_sudo(started("/usr/bin/sudo", {"sudo"}), kTyped, kNames, nothing).path);
}

TEST_CASE("callers_environment: nothing of others than sudo, nor where an environment was chosen") {
  const CallersEnvironment none;
  CHECK(dropped_by_sudo(started("/usr/bin/bash", {"bash"}), kTyped, kNames, own) == none);
  CHECK(dropped_by_sudo(started("", {"sudo"}), kTyped, kNames, own) == none);
  CHECK(dropped_by_sudo(started("/usr/bin/sudo", {"sudo", "env", "PATH=/opt"}), kTyped, kNames,
                        own) == none);
  CHECK(dropped_by_sudo(started("/usr/bin/sudo", {"sudo", "/usr/bin/env", "-i"}), kTyped, kNames,
                        own) == none);
  CHECK(dropped_by_sudo({"/usr/bin/sudo", {"sudo", "sh", "-c", "osproxy exec"}, kEnvironment},
                        kTyped, kNames, own) == none);
  CHECK(dropped_by_sudo({"/usr/bin/sudo", kTyped, kEnvironment}, kTyped, kNames, own) == none);
  CHECK(dropped_by_sudo({"/usr/bin/sudo", {}, kEnvironment}, {}, kNames, own) == none);
  auto hidden = started("/usr/bin/sudo", {"sudo"});
  hidden.environment.clear();
  CHECK(dropped_by_sudo(hidden, kTyped, kNames, own) == none);
}
