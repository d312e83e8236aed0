#include "divert/packet/owner_hints.h"

#include "tests/test.h"

namespace {

procmap::Owner owner(int descriptor) {
  return {std::nullopt, nullptr, descriptor};
}

}  // namespace

TEST_CASE("learnt owners: are taken once, oldest first") {
  divert::OwnerHints learnt;
  CHECK(learnt.take().empty());
  learnt.add(owner(1));
  learnt.add(owner(2));
  const auto taken = learnt.take();
  REQUIRE(taken.size() == 2);
  CHECK(taken[0].descriptor == 1);
  CHECK(taken[1].descriptor == 2);
  CHECK(learnt.take().empty());
}

TEST_CASE("learnt owners: for somebody who never comes the latest are kept") {
  divert::OwnerHints learnt;
  for (int i = 0; i < 1000; ++i) learnt.add(owner(i));
  const auto taken = learnt.take();
  REQUIRE(taken.size() == divert::OwnerHints::kMax);
  CHECK(taken.back().descriptor == 999);
}
