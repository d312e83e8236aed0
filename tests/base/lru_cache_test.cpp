#include "base/lru_cache.h"

#include <memory>

#include "tests/test.h"

using base::LruCache;

TEST_CASE("lru_cache: the entry that was not used for longest goes at the limit") {
  LruCache<std::string, int> cache(2);
  cache.put("a", 1);
  cache.put("b", 2);
  REQUIRE(cache.find("a") != nullptr);
  cache.put("c", 3);
  CHECK(cache.size() == 2);
  CHECK(cache.find("b") == nullptr);
  CHECK(*cache.find("a") == 1);
  CHECK(*cache.find("c") == 3);
}

TEST_CASE("lru_cache: putting again replaces the value and counts as a use") {
  LruCache<std::uint64_t, std::unique_ptr<int>> cache(2);
  cache.put(1, std::make_unique<int>(10));
  cache.put(2, std::make_unique<int>(20));
  CHECK(*cache.put(1, std::make_unique<int>(11)) == 11);
  cache.put(3, nullptr);
  CHECK(cache.find(2) == nullptr);
  CHECK(**cache.find(1) == 11);
  CHECK(cache.size() == 2);
}

TEST_CASE("lru_cache: entries are erased one by one and all at once") {
  LruCache<std::string, int> cache(3);
  for (const char* key : {"a", "b", "c"}) cache.put(key, 0);
  cache.erase("b");
  cache.erase("never");
  CHECK(cache.size() == 2);
  CHECK(cache.find("b") == nullptr);
  // The keys of those that stay are still found, and the freed place is used.
  cache.put("d", 4);
  CHECK(cache.find("a") != nullptr);
  CHECK(cache.find("d") != nullptr);
  cache.clear();
  CHECK(cache.size() == 0);
  CHECK(cache.find("a") == nullptr);
}

TEST_CASE("lru_cache: even a limit of none keeps the newest entry") {
  LruCache<std::string, int> cache(0);
  cache.put("a", 1);
  cache.put("b", 2);
  CHECK(cache.size() == 1);
  CHECK(*cache.find("b") == 2);
}
