// What of a session is lost, and how that is said.
#include <filesystem>
#include <fstream>

#include <fmt/format.h>

#include "mitm/store/session_reader.h"
#include "mitm/store/session_writer.h"
#include "tests/mitm/store_flows.h"
#include "tests/mitm/temporary_directory.h"
#include "tests/test.h"

namespace mitm::store {
namespace {

constexpr std::uint64_t kAll = SessionReader::kWholeBody;

/// A session of four flows.
void write(const std::string& path) {
  auto writer = SessionWriter::open(path);
  REQUIRE(writer);
  REQUIRE((*writer)->begin());
  for (const auto& flow : {test::full_http_flow(), test::full_tcp_flow(), test::full_dns_flow(),
                           test::full_dns_flow()})
    REQUIRE((*writer)->put(flow));
  REQUIRE((*writer)->commit());
}

std::string error_of_reading(const std::string& path) {
  const auto reader = SessionReader::open(path);
  return reader ? "" : reader.error().text;
}

}  // namespace

TEST_CASE("store: damage is named with its flow, and the others are read") {
  const test::TemporaryDirectory directory;
  const std::string path = directory.path() + "/s.osp";
  write(path);
  {
    auto database = Database::open(path, Database::Access::write);
    REQUIRE(
        database->run("UPDATE flow SET head = x'05ff' WHERE id = 1;"
                      "UPDATE message SET facts = x'0280' WHERE flow = 2;"
                      "UPDATE flow SET type = 'unheard' WHERE id = 3;"
                      "UPDATE conn SET client_ip = 'nonsense', server_port = -1"));
  }
  const auto reader = SessionReader::open(path);
  for (const std::int64_t id : {1, 2, 3})
    CHECK((*reader)->flow(id, kAll).error().text ==
          fmt::format("{}: flow {} is damaged", path, id));
  const auto whole = (*reader)->flow(4, kAll);
  REQUIRE(whole);
  CHECK((*whole)->dns()->name == "one.test");
}

TEST_CASE("store: only what is damaged is called that") {
  const test::TemporaryDirectory directory;
  const std::string path = directory.path() + "/s.osp";
  write(path);
  {
    auto database = Database::open(path, Database::Access::write);
    REQUIRE(database->run("DROP TABLE chunk"));
  }
  CHECK(error_of_reading(path) ==
        path + ": no such table: chunk; its tables are not those of a session of osproxy");
  std::filesystem::remove(path);
  write(path);
  {
    // The schema is in the first page, behind the header of the file.
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(100);
    file << std::string(1000, 'x');
  }
  const auto reader = SessionReader::open(path);
  REQUIRE(!reader);
  CHECK(is_damage(reader.error()));
  CHECK(reader.error().text.find("malformed") != std::string::npos);
  CHECK(error_of_reading(directory.path() + "/none.osp") ==
        directory.path() + "/none.osp: unable to open database file");
}

}  // namespace mitm::store
