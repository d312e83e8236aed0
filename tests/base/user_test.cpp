#include "base/user.h"

#include <unistd.h>

#include "tests/test.h"

using namespace base;

TEST_CASE("user: by name and by number, with clear errors") {
  const auto root = user_named("root");
  REQUIRE_MESSAGE(root.has_value(), root);
  CHECK(root->uid == 0);
  CHECK(user_numbered(0)->home == root->home);
  CHECK(current_user().uid == ::geteuid());
  CHECK(user_named("no-such-user").error().text ==
        "there is no user 'no-such-user' on this machine");
  CHECK(user_numbered(3999999999).error().text ==
        "user number 3999999999 has no entry in the password database");
}

TEST_CASE("group list: the effective group first and once, no more than fit") {
  using Groups = std::vector<gid_t>;
  CHECK(group_list(7, {}, 16) == Groups{7});
  CHECK(group_list(7, {1, 2}, 16) == Groups{7, 1, 2});
  CHECK(group_list(7, {1, 7, 2, 7}, 16) == Groups{7, 1, 2});
  CHECK(group_list(7, {1, 2, 3}, 3) == Groups{7, 1, 2});
  CHECK(group_list(7, {1, 2, 3}, 0) == Groups{7});
}
