#include "mitm/format/units.h"
#include "tests/test.h"

namespace mitm::format {

TEST_CASE("amounts: sizes") {
  const struct {
    std::uint64_t bytes;
    const char* text;
  } cases[] = {{0, "0b"},           {999, "999b"},       {1000, "1.0k"},
               {1234, "1.2k"},      {34'500, "33.7k"},   {1'022'900, "998.9k"},
               {1'023'990, "1.0m"}, {1U << 30U, "1.0g"}, {~std::uint64_t{0}, "16777216.0t"}};
  for (const auto& c : cases) CHECK(size_text(c.bytes) == c.text);
}

TEST_CASE("amounts: durations") {
  const struct {
    std::int64_t micros;
    const char* text;
  } cases[] = {
      {0, "0.0ms"},         {840, "0.8ms"},          {9'940, "9.9ms"},     {9'960, "10ms"},
      {999'400, "999ms"},   {999'600, "1.00s"},      {2'345'000, "2.35s"}, {12'300'000, "12.3s"},
      {99'960'000, "100s"}, {3'600'000'000, "3600s"}};
  for (const auto& c : cases) CHECK(duration_text(std::chrono::microseconds{c.micros}) == c.text);
}

}  // namespace mitm::format
