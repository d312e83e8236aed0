#include "procmap/procargs.h"

#include "tests/procmap/table_builder.h"
#include "tests/test.h"

namespace procmap {
namespace {

std::string build(std::int32_t count, const std::string& path, std::size_t padding,
                  const std::vector<std::string>& strings) {
  std::string bytes(4, '\0');
  put(bytes, 0, count);
  bytes += path;
  bytes.append(padding, '\0');
  for (const auto& string : strings) {
    bytes += string;
    bytes += '\0';
  }
  return bytes;
}

TEST_CASE("parse_procargs: path and arguments, without the environment") {
  struct Case {
    std::string bytes;
    std::string path;
    std::vector<std::string> argv;
  };
  const Case cases[] = {
      {build(2, "/usr/bin/curl", 3, {"curl", "https://x/", "HOME=/Users/me", "PATH=/bin"}),
       "/usr/bin/curl",
       {"curl", "https://x/"}},
      {build(3, "./a", 1, {"a", "", "c", "E=1"}), "./a", {"a", "", "c"}},
      {build(0, "/bin/x", 2, {"E=1"}), "/bin/x", {}},
      {build(2, "/bin/x", 8, {}), "/bin/x", {}},
      {build(1000, "/bin/x", 1, {"x", "y"}), "/bin/x", {"x", "y"}},
      {build(1, "", 1, {"x"}), "", {"x"}},
      {build(1, "/\xff\xfe", 1, {"\x80"}), "/\xff\xfe", {"\x80"}},
  };
  for (const auto& each : cases) {
    const auto parsed = parse_procargs(each.bytes);
    REQUIRE(parsed);
    CHECK(parsed->exec_path == each.path);
    CHECK(parsed->argv == each.argv);
  }
}

TEST_CASE("parse_procargs: cut at every offset") {
  const std::vector<std::string> argv = {"curl", "-s", "", "https://x/"};
  const auto whole = build(4, "/usr/bin/curl", 3, {"curl", "-s", "", "https://x/", "HOME=/"});
  const std::size_t path_end = 4 + 13;
  for (std::size_t size = 0; size <= whole.size(); ++size) {
    CAPTURE(size);
    const auto parsed = parse_procargs(std::string(whole.data(), size));
    REQUIRE(static_cast<bool>(parsed) == (size > path_end));
    if (!parsed) continue;
    REQUIRE(parsed->argv.size() <= argv.size());
    for (std::size_t i = 0; i < parsed->argv.size(); ++i) {
      // The last one may be cut.
      CHECK((i + 1 == parsed->argv.size() ? argv[i].starts_with(parsed->argv[i])
                                          : argv[i] == parsed->argv[i]));
    }
  }
}

TEST_CASE("parse_procargs: nonsense") {
  CHECK(!parse_procargs(""));
  CHECK(!parse_procargs(build(-1, "/bin/x", 1, {"x"})));
  CHECK(!parse_procargs(build(1, "/bin/x", 0, {})));
}

}  // namespace
}  // namespace procmap
