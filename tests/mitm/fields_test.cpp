#include "mitm/http/fields.h"

#include "tests/test.h"

namespace mitm::http {

TEST_CASE("fields: order, case, repetition and empty values are kept") {
  Fields fields;
  fields.reserve(3, 64);
  fields.add("Set-Cookie", "a=1");
  fields.add("set-cookie", "");
  fields.add("X-\xff", "v\0w");
  REQUIRE(fields.size() == 3);
  CHECK(fields[0] == std::pair<std::string_view, std::string_view>("Set-Cookie", "a=1"));
  CHECK(fields[1] == std::pair<std::string_view, std::string_view>("set-cookie", ""));
  CHECK(fields[2].first == "X-\xff");
  CHECK(fields.bytes() == 10 + 3 + 10 + 0 + 3 + 1);
}

TEST_CASE("fields: find returns the first match in any case, or nothing") {
  Fields fields;
  fields.add("Accept", "a");
  fields.add("ACCEPT", "b");
  CHECK(fields.find("accept") == "a");
  CHECK(fields.find("Accep") == "");
  CHECK(fields.find("Accept2") == "");
}

TEST_CASE("fields: copies do not share and clear empties") {
  Fields fields;
  fields.add("a", "1");
  Fields copy = fields;
  fields.clear();
  CHECK(fields.empty());
  CHECK(fields.bytes() == 0);
  CHECK(copy.find("A") == "1");
}

TEST_CASE("iequals: only ASCII letters fold") {
  CHECK(iequals("TE", "te"));
  CHECK_FALSE(iequals("te", "te "));
  CHECK_FALSE(iequals("[", "{"));
  CHECK_FALSE(iequals("\xc9", "\xe9"));
}

}  // namespace mitm::http
