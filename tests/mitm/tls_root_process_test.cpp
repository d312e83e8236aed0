// What comes back from the child that has the root's key, and that nothing else stays of it.
#include <cerrno>

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mitm/tls/authority.h"
#include "mitm/tls/root_process.h"
#include "tests/mitm/tls_fixture.h"

using namespace mitm::tls;
using tls_test::Directory;

namespace {

bool has_children() {
  return ::waitpid(-1, nullptr, WNOHANG) >= 0 || errno != ECHILD;
}

}  // namespace

TEST_CASE("root process: a root is made once, and its certificate comes back") {
  const Directory directory;
  const auto made = create_root_in_child(directory.path());
  REQUIRE_MESSAGE(made.has_value(), made);
  const auto root = load_root(directory.path());
  REQUIRE_MESSAGE(root.has_value(), root);
  CHECK(X509_cmp(made->get(), root->certificate.get()) == 0);
  const auto ensured = ensure_root_in_child(directory.path());
  REQUIRE_MESSAGE(ensured.has_value(), ensured);
  CHECK(X509_cmp(made->get(), ensured->get()) == 0);
  const auto second = create_root_in_child(directory.path());
  REQUIRE_FALSE(second.has_value());
  CHECK(second.error().os_code == EEXIST);
  CHECK(second.error().text == create_root(directory.path()).error().text);
  CHECK_FALSE(has_children());
}

TEST_CASE("root process: an intermediate comes back with its own key, signed by the root") {
  const Directory directory;
  REQUIRE(ensure_root_in_child(directory.path()).has_value());
  const auto root = load_root(directory.path());
  for (int i = 0; i < 2; ++i) {
    const auto pem = issue_intermediate_in_child(directory.path());
    REQUIRE_MESSAGE(pem.has_value(), pem);
    const auto intermediate = identity_from_pem(*pem);
    REQUIRE_MESSAGE(intermediate.has_value(), intermediate);
    CHECK(X509_verify(intermediate->certificate.get(), root->key.get()) == 1);
    CHECK(EVP_PKEY_eq(intermediate->key.get(), root->key.get()) != 1);
  }
  CHECK_FALSE(has_children());
}

TEST_CASE("root process: errors come back as they are") {
  const Directory directory;
  const auto none = issue_intermediate_in_child(directory.path());
  REQUIRE_FALSE(none.has_value());
  CHECK(none.error().text == load_root(directory.path()).error().text);
  CHECK(none.error().os_code == ENOENT);
  REQUIRE(create_root(directory.path()).has_value());
  ::chmod((directory / "root-ca.key").c_str(), 0644);
  const auto open = issue_intermediate_in_child(directory.path());
  REQUIRE_FALSE(open.has_value());
  CHECK(open.error().text == load_root(directory.path()).error().text);
}

TEST_CASE("root process: signals that the caller blocks or ignores do not matter to it") {
  const Directory directory;
  sigset_t all, before;
  ::sigfillset(&all);
  ::sigprocmask(SIG_SETMASK, &all, &before);
  const auto made = ensure_root_in_child(directory.path());
  ::sigprocmask(SIG_SETMASK, &before, nullptr);
  CHECK_MESSAGE(made.has_value(), made);
  CHECK_FALSE(has_children());
}
