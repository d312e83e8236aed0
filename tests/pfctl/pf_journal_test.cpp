#include "pfctl/pf_journal.h"

#include <cerrno>
#include <cstdlib>
#include <filesystem>
#include <string>

#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pfctl/loader.h"

namespace {

using pfctl::Journal;
using pfctl::Undo;
using Kind = pfctl::Undo::Kind;

Journal full() {
  return {.pid = 4711,
          .undo = {{Kind::unload_module, "pf"},
                   {Kind::remove_alias, "198.18.0.1"},
                   {Kind::remove_alias, "fdff:6f73::1"},
                   {Kind::destroy_loopback, "lo28531"},
                   {Kind::set_mtu, "16384"},
                   {Kind::flush_anchor, ""},
                   {Kind::restore_main, "rdr-anchor \"x\" all\npass all label \"\xc3\xa4\"\n"},
                   {Kind::release_token, "15391446529735684713"},
                   {Kind::disable_pf, ""}}};
}

struct Folder {
  Folder() {
    char name[] = "/tmp/pf_journal_XXXXXX";
    path = ::mkdtemp(name);
  }
  ~Folder() { std::filesystem::remove_all(path); }
  std::string path;
};

}  // namespace

TEST_CASE("pf_journal: what is written is read, and cut at every offset it is an error") {
  const std::string text = pfctl::render_journal(full());
  CHECK(pfctl::parse_journal(text).value() == full());
  CHECK(pfctl::parse_journal(pfctl::render_journal(Journal{})).value() == Journal{});
  // The last byte is the newline behind the object.
  for (std::size_t size = 0; size + 1 < text.size(); ++size) {
    CHECK(!pfctl::parse_journal({text.data(), size}).has_value());
  }
}

TEST_CASE("pf_journal: what no journal says") {
  constexpr const char* kSteps[] = {
      R"({"undo":"format_disk","value":""})",
      R"({"undo":"flush_anchor","value":"x"})",
      R"({"undo":"release_token","value":"-1"})",
      R"({"undo":"remove_alias","value":"-a"})",
      R"({"undo":"destroy_loopback","value":"lo0"})",
      R"({"undo":"destroy_loopback","value":"em0"})",
      R"({"undo":"destroy_loopback","value":"lo2853x"})",
      R"({"undo":"remove_alias","value":"0.0.0.0"})",
      R"({"undo":"remove_alias","value":"fe80::1%lo0"})",
      R"({"undo":"set_mtu","value":"65536"})",
      R"({"undo":"set_mtu","value":"1e3"})",
      R"({"undo":"set_mtu","value":16384})",
      R"({"undo":"unload_module","value":"../x"})",
      R"({"undo":"unload_module","value":""})",
      R"({"undo":"restore_main","value":"pass\u0000"})",
      R"({"undo":"disable_pf"})",
      R"({"undo":"disable_pf","value":"","more":1})",
      R"("disable_pf")",
  };
  for (const std::string step : kSteps) {
    CAPTURE(step);
    const auto parsed = pfctl::parse_journal(R"({"version":1,"pid":1,"steps":[)" + step + "]}");
    REQUIRE(!parsed.has_value());
    CHECK(parsed.error().text == "the journal of changes to pf is damaged at step 1");
  }
  for (const char* text : {"", "[]", "{}", R"({"version":2,"pid":1,"steps":[]})",
                           R"({"version":1,"pid":-1,"steps":[]})", R"({"version":1,"pid":1})",
                           R"({"version":1,"pid":1,"steps":{}})"}) {
    CHECK(!pfctl::parse_journal(text).has_value());
  }
}

TEST_CASE("pf_journal: file and folder are for root only, and gone when there is nothing to undo") {
  const Folder folder;
  const std::string path = folder.path + "/osproxy/state.json";
  auto file = pfctl::JournalFile::open(path);
  REQUIRE(file.has_value());
  CHECK(file->read().value() == Journal{});
  REQUIRE(file->write(full()).has_value());
  struct stat facts {};
  REQUIRE(::stat(path.c_str(), &facts) == 0);
  CHECK((facts.st_mode & 07777) == 0600);
  REQUIRE(::stat((folder.path + "/osproxy").c_str(), &facts) == 0);
  CHECK((facts.st_mode & 07777) == 0700);
  CHECK(file->read().value() == full());
  REQUIRE(file->write(Journal{}).has_value());
  CHECK(!std::filesystem::exists(path));
  REQUIRE(file->write(Journal{}).has_value());
}

TEST_CASE("pf_journal: one owner at a time, named; what a dead one left is without an owner") {
  const Folder folder;
  const std::string path = folder.path + "/osproxy/state.json";
  CHECK(pfctl::journal_owner(path).value() == 0);
  {
    const auto file = pfctl::JournalFile::open(path);
    REQUIRE(file.has_value());
    CHECK(pfctl::journal_owner(path).value() == pfctl::kUnseenOwner);
    REQUIRE(file->write(full()).has_value());
    CHECK(pfctl::journal_owner(path).value() == 4711);
    const auto second = pfctl::JournalFile::open(path);
    REQUIRE(!second.has_value());
    CHECK(second.error().os_code == EWOULDBLOCK);
    CHECK(second.error().text == "another osproxy (pid 4711) has rules in pf; end it first");
  }
  CHECK(pfctl::journal_owner(path).value() == pfctl::kNoOwner);
  CHECK(pfctl::JournalFile::open(path).has_value());
}

TEST_CASE("pf_journal: a damaged file is named, with what to do") {
  const Folder folder;
  const std::string path = folder.path + "/osproxy/state.json";
  const auto file = pfctl::JournalFile::open(path);
  REQUIRE(file.has_value());
  REQUIRE(base::replace_file(path, "{\"version\":1,", 0600).has_value());
  const auto read = file->read();
  REQUIRE(!read.has_value());
  CHECK(read.error().text.find(path) == 0);
  CHECK(read.error().text.find("then remove the file") != std::string::npos);
}
