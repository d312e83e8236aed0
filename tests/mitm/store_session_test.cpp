// What is written into a session comes out of it as it was, whatever happens in between.
#include <csignal>
#include <fstream>

#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mitm/store/schema.h"
#include "mitm/store/session_lock.h"
#include "mitm/store/session_reader.h"
#include "mitm/store/session_writer.h"
#include "tests/mitm/file_mode.h"
#include "tests/mitm/flow_description.h"
#include "tests/mitm/store_flows.h"
#include "tests/mitm/temporary_directory.h"
#include "tests/test.h"

namespace mitm::store {
namespace {

constexpr std::uint64_t kAll = SessionReader::kWholeBody;

void write(const std::string& path, const std::vector<flow::Flow>& flows) {
  auto writer = SessionWriter::open(path);
  REQUIRE(writer);
  REQUIRE((*writer)->begin());
  for (const auto& flow : flows) REQUIRE((*writer)->put(flow));
  REQUIRE((*writer)->commit());
}

std::int64_t number_in(const std::string& path, std::string_view sql) {
  auto database = Database::open(path, Database::Access::read);
  REQUIRE(database);
  const auto number = database->number(sql);
  REQUIRE(number);
  return number->value_or(-1);
}

std::string error_of(const std::string& path) {
  const auto writer = SessionWriter::open(path);
  return writer ? "none" : writer.error().text;
}

}  // namespace

TEST_CASE("store: a flow of every kind comes back with every member") {
  const test::TemporaryDirectory directory;
  const std::string path = directory.path() + "/s.osp";
  const std::vector<flow::Flow> flows = {test::full_http_flow(), test::full_websocket_flow(),
                                         test::full_tcp_flow(), test::full_dns_flow()};
  write(path, flows);
  const auto reader = SessionReader::open(path);
  REQUIRE(reader);
  for (std::size_t i = 0; i < flows.size(); ++i) {
    CAPTURE(i);
    const auto read = (*reader)->flow(static_cast<std::int64_t>(i + 1), kAll);
    REQUIRE(read);
    REQUIRE(read->has_value());
    CHECK(differences_but_ids(flows[i], **read) == "");
    CHECK((*read)->facts().id == i + 1);
  }
  CHECK(!(*reader)->flow(5, kAll)->has_value());
}

TEST_CASE("store: an almost empty flow comes back as it was") {
  const test::TemporaryDirectory directory;
  const std::string path = directory.path() + "/s.osp";
  auto record = std::make_shared<flow::HttpFlow>();
  record->connection = std::make_shared<flow::ConnectionRecord>();
  const flow::Flow empty{.record = record};
  write(path, {empty});
  const auto reader = SessionReader::open(path);
  CHECK(differences_but_ids(empty, **(*reader)->flow(1, kAll)) == "");
}

TEST_CASE("store: of a body and a message as much as is asked for is read") {
  const test::TemporaryDirectory directory;
  const std::string path = directory.path() + "/s.osp";
  write(path, {test::full_http_flow(), test::full_tcp_flow()});
  const auto reader = SessionReader::open(path);
  const auto http = (*reader)->flow(1, 70'000);
  CHECK((*http)->http()->response.body.size() == 70'000);
  CHECK((*http)->http()->response.body.is_cut());
  CHECK((*http)->http()->request.body.text() == "hello");
  CHECK(!(*http)->http()->request.body.is_cut());
  const auto tcp = (*reader)->flow(2, 2);
  CHECK((*tcp)->messages.at(0)->what.payload == "22");
  CHECK((*tcp)->messages.at(0)->what.cut);
}

TEST_CASE("store: identical bodies are stored once, those that only look alike are not") {
  const test::TemporaryDirectory directory;
  const std::string path = directory.path() + "/s.osp";
  write(path, {test::full_http_flow(), test::full_http_flow(), test::full_websocket_flow()});
  CHECK(number_in(path, "SELECT count(*) FROM body") == 2);
  CHECK(number_in(path, "SELECT count(*) FROM chunk") == 3);
  CHECK(number_in(path, "SELECT sum(refs) FROM body") == 6);
  // A chunk that was changed: the bytes are compared, not only what is remembered of them.
  auto writer = SessionWriter::open(path);
  REQUIRE(writer);
  BodyWriter& bodies = (*writer)->bodies();
  const std::string text = "the same";
  REQUIRE((*writer)->begin());
  const auto first = bodies.put(flow::Body{text});
  REQUIRE((*writer)->database().run("UPDATE chunk SET data = 'changed!' WHERE id >> 16 = 3"));
  const auto second = bodies.put(flow::Body{text});
  REQUIRE((*writer)->commit());
  CHECK(*first == 3);
  CHECK(*second == 4);
}

TEST_CASE("store: a body that was deleted meanwhile is stored anew") {
  const test::TemporaryDirectory directory;
  const std::string path = directory.path() + "/s.osp";
  auto writer = SessionWriter::open(path);
  REQUIRE(writer);
  BodyWriter& bodies = (*writer)->bodies();
  const auto put = [&](int times) {
    REQUIRE((*writer)->begin());
    std::int64_t id = 0;
    for (int i = 0; i < times; ++i) id = *bodies.put(flow::Body{"the same"});
    REQUIRE((*writer)->commit());
    return id;
  };
  CHECK(put(3) == 1);
  CHECK(put(2) == 1);
  CHECK(number_in(path, "SELECT refs FROM body") == 5);
  REQUIRE((*writer)->database().run("DELETE FROM body; DELETE FROM chunk"));
  bodies.deleted();
  CHECK(put(2) == 2);
  CHECK(number_in(path, "SELECT refs FROM body") == 2);
  CHECK(number_in(path, "SELECT count(*) FROM chunk") == 1);
}

TEST_CASE("store: references to bodies are rolled back with what refers to them") {
  const test::TemporaryDirectory directory;
  const std::string path = directory.path() + "/s.osp";
  auto writer = SessionWriter::open(path);
  REQUIRE(writer);
  BodyWriter& bodies = (*writer)->bodies();
  REQUIRE((*writer)->begin());
  CHECK(*bodies.put(flow::Body{"kept"}) == 1);
  REQUIRE((*writer)->commit());
  REQUIRE((*writer)->begin());
  CHECK(*bodies.put(flow::Body{"kept"}) == 1);
  CHECK(*bodies.put(flow::Body{"lost"}) == 2);
  (*writer)->roll_back();
  REQUIRE((*writer)->begin());
  CHECK(*bodies.put(flow::Body{"lost"}) == 3);
  CHECK(*bodies.put(flow::Body{"lost"}) == 3);
  REQUIRE((*writer)->commit());
  CHECK(number_in(path, "SELECT refs FROM body WHERE id = 1") == 1);
  CHECK(number_in(path, "SELECT refs FROM body WHERE id = 3") == 2);
}

TEST_CASE("store: connections, processes and certificates are stored once") {
  const test::TemporaryDirectory directory;
  const std::string path = directory.path() + "/s.osp";
  auto writer = SessionWriter::open(path);
  REQUIRE((*writer)->begin());
  const auto flow = test::full_http_flow();
  for (int i = 0; i < 3; ++i) REQUIRE((*writer)->put(flow));
  (*writer)->forget_connection(flow.facts().connection->id);
  REQUIRE((*writer)->put(flow));
  REQUIRE((*writer)->commit());
  CHECK(number_in(path, "SELECT count(*) FROM conn") == 2);
  CHECK(number_in(path, "SELECT count(*) FROM process") == 1);
  CHECK(number_in(path, "SELECT count(*) FROM ancestor") == 2);
  CHECK(number_in(path, "SELECT count(DISTINCT chain) FROM cert") == 1);
}

TEST_CASE("store: a certificate of several chains is stored once, and found in each") {
  const test::TemporaryDirectory directory;
  const std::string path = directory.path() + "/s.osp";
  const auto flow = test::full_http_flow();
  auto other = std::make_shared<flow::HttpFlow>(*flow.http());
  auto record = std::make_shared<flow::ConnectionRecord>(*flow.facts().connection);
  auto tls = std::make_shared<flow::TlsFacts>(*record->upstream_tls);
  auto chain = *tls->certificates;
  chain.erase(chain.begin() + 1);
  tls->certificates = std::make_shared<const flow::CertificateChain>(chain);
  record->upstream_tls = std::move(tls);
  ++record->id;
  other->connection = std::move(record);
  write(path, {flow, flow::Flow{.record = std::move(other)}});
  CHECK(number_in(path, "SELECT count(*) FROM cert") == 3);
  CHECK(number_in(path, "SELECT count(*) FROM certificate") == 1);
  const auto reader = SessionReader::open(path);
  for (const std::int64_t id : {1, 2}) {
    const auto read = *(*reader)->flow(id, kAll);
    CHECK(read->facts().connection->upstream_tls->certificates->at(0).der == chain.at(0).der);
  }
}

TEST_CASE("store: sessions of version 1 are read, and brought up to date where that may be") {
  const test::TemporaryDirectory directory;
  const std::string path = directory.path() + "/s.osp";
  const auto flow = test::full_http_flow();
  write(path, {flow});
  {
    auto database = Database::open(path, Database::Access::write);
    REQUIRE(
        database->run("DROP TABLE certificate; PRAGMA user_version = 1;"
                      "ALTER TABLE process DROP COLUMN second_name;"
                      "ALTER TABLE process DROP COLUMN third_name;"));
    // By a reader that must not write.
    const auto lock = SessionLock::try_take(path);
    REQUIRE(lock);
    const auto read = (*SessionReader::open(path))->flow(1, kAll);
    REQUIRE(read);
    CHECK((*read)->facts().connection->upstream_tls->certificates->at(0).der.empty());
    CHECK(number_in(path, "PRAGMA user_version") == 1);
  }
  REQUIRE(SessionReader::open(path));
  CHECK(number_in(path, "PRAGMA user_version") == newest_version());
  write(path, {flow});
  CHECK(number_in(path, "SELECT count(*) FROM certificate") == 1);
}

TEST_CASE("store: a session that exists is continued") {
  const test::TemporaryDirectory directory;
  const std::string path = directory.path() + "/s.osp";
  write(path, {test::full_http_flow()});
  write(path, {test::full_dns_flow()});
  const auto reader = SessionReader::open(path);
  CHECK((*reader)->flow(1, kAll)->value().type() == "http");
  CHECK((*reader)->flow(2, kAll)->value().type() == "dns");
}

TEST_CASE("store: with a limit of 0 bodies are left out, and all else is read") {
  const test::TemporaryDirectory directory;
  const std::string path = directory.path() + "/s.osp";
  write(path, {test::full_http_flow()});
  const auto reader = SessionReader::open(path);
  const auto read = *(*reader)->flow(1, 0);
  for (const auto* body : {&read->http()->request.body, &read->http()->response.body}) {
    CHECK(body->size() == 0);
    CHECK(body->is_cut());
  }
  CHECK(read->http()->response.body_bytes == 100'004);
  CHECK(read->http()->request.fields.find("host") == "one.test");
}

TEST_CASE("store: what was not committed is not there, and its ids are given anew") {
  const test::TemporaryDirectory directory;
  const std::string path = directory.path() + "/s.osp";
  auto writer = SessionWriter::open(path);
  REQUIRE((*writer)->begin());
  REQUIRE((*writer)->put(test::full_http_flow()));
  (*writer)->roll_back();
  REQUIRE((*writer)->begin());
  REQUIRE((*writer)->put(test::full_tcp_flow()));
  REQUIRE((*writer)->commit());
  const auto reader = SessionReader::open(path);
  CHECK((*reader)->flow(1, kAll)->value().type() == "tcp");
  CHECK(!(*reader)->flow(2, kAll)->has_value());
  CHECK(number_in(path, "SELECT count(*) FROM conn") == 1);
}

TEST_CASE("store: a session is its user's, for nobody else, and not for a name that lies") {
  const test::TemporaryDirectory directory;
  const std::string path = directory.path() + "/s.osp";
  {
    const auto writer = SessionWriter::open(path);
    REQUIRE(writer);
    for (const char* suffix : {"", "-wal", "-shm"}) CHECK(test::mode_of(path + suffix) == 0600);
  }
  CHECK(::chmod(path.c_str(), 0644) == 0);
  REQUIRE(SessionWriter::open(path));
  CHECK(test::mode_of(path) == 0600);

  const std::string link = directory.path() + "/link.osp";
  REQUIRE(::symlink(path.c_str(), link.c_str()) == 0);
  CHECK(error_of(link) == link + " is a symbolic link; name another file");
  CHECK(!SessionReader::open(link));
  const std::string second = directory.path() + "/second.osp";
  REQUIRE(::link(path.c_str(), second.c_str()) == 0);
  CHECK(error_of(second) == second + " has a second name (a hard link); name another file");
  CHECK(error_of(directory.path()).ends_with("Is a directory"));
  const std::string fifo = directory.path() + "/fifo";
  REQUIRE(::mkfifo(fifo.c_str(), 0600) == 0);
  CHECK(error_of(fifo) == fifo + " is not a regular file; name another file");
  CHECK(error_of(directory.path() + "/none/s.osp").ends_with("No such file or directory"));
  if (::geteuid() == 0) {
    const std::string strange = directory.path() + "/strange.osp";
    std::ofstream(strange).close();
    REQUIRE(::chown(strange.c_str(), 65534, 65534) == 0);
    CHECK(error_of(strange) == strange + " is another user's; name another file");
  }
}

TEST_CASE("store: what is no session is refused, and left as it is") {
  const test::TemporaryDirectory directory;
  const std::string path = directory.path() + "/file";
  const auto content = [&] {
    std::ifstream file(path);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  const std::string text =
      "precious notes, longer than the header of a database: " + std::string(200, 'x');
  std::ofstream(path) << text;
  REQUIRE(::chmod(path.c_str(), 0644) == 0);
  CHECK(error_of(path) == path + " is no session of osproxy; name another file");
  CHECK(content() == text);
  struct stat facts {};
  CHECK((::stat(path.c_str(), &facts) == 0 && (facts.st_mode & 07777) == 0644));
  CHECK(SessionReader::open(path).error().text == path + ": file is not a database");

  std::ofstream(path, std::ios::trunc).close();
  {
    auto database = Database::open(path, Database::Access::write);
    REQUIRE(database->run("CREATE TABLE mine (x); INSERT INTO mine VALUES (1)"));
  }
  CHECK(error_of(path) == path + " is no session of osproxy; name another file");
  CHECK(SessionReader::open(path).error().text ==
        path + ": an SQLite database, but no session of osproxy");
  CHECK(number_in(path, "SELECT x FROM mine") == 1);

  const std::string newer = directory.path() + "/newer.osp";
  write(newer, {test::full_dns_flow()});
  {
    auto database = Database::open(newer, Database::Access::write);
    REQUIRE(database->run("PRAGMA user_version = 99"));
  }
  const std::string expected = newer +
                               ": written by a newer osproxy (version 99 of the format; this one "
                               "knows 2): use that one";
  CHECK(error_of(newer) == expected);
  CHECK(SessionReader::open(newer).error().text == expected);
  CHECK(number_in(newer, "PRAGMA user_version") == 99);
}

TEST_CASE("store: a session can be read by a user who may not write it") {
  if (::geteuid() != 0) return;
  const test::TemporaryDirectory directory;
  const std::string path = directory.path() + "/what?is#100%.osp";
  write(path, {test::full_dns_flow()});
  REQUIRE(::chmod(path.c_str(), 0644) == 0);
  REQUIRE(::chmod(directory.path().c_str(), 0755) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    if (::setgid(65534) != 0 || ::setuid(65534) != 0) ::_exit(2);
    const auto reader = SessionReader::open(path);
    const bool read = reader && (*reader)->flow(1, kAll) && (*reader)->flow(1, kAll)->has_value();
    ::_exit(read ? 0 : 1);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WEXITSTATUS(status) == 0);
}

TEST_CASE("store: a session can be read while it is written") {
  const test::TemporaryDirectory directory;
  const std::string path = directory.path() + "/s.osp";
  auto writer = SessionWriter::open(path);
  REQUIRE((*writer)->begin());
  REQUIRE((*writer)->put(test::full_dns_flow()));
  REQUIRE((*writer)->commit());
  REQUIRE((*writer)->begin());
  REQUIRE((*writer)->put(test::full_tcp_flow()));
  auto reader = SessionReader::open(path);
  REQUIRE(reader);
  CHECK((*reader)->flow(1, kAll)->has_value());
  CHECK(!(*reader)->flow(2, kAll)->has_value());
  REQUIRE((*writer)->commit());
  CHECK((*reader)->flow(2, kAll)->has_value());
}

TEST_CASE("store: what a killed writer had committed is there, its live flows are interrupted") {
  const test::TemporaryDirectory directory;
  const std::string path = directory.path() + "/s.osp";
  const pid_t child = ::fork();
  if (child == 0) {
    auto writer = SessionWriter::open(path);
    const auto flow = test::full_http_flow();
    bool good = (*writer)->begin() && (*writer)->put(flow) &&
                (*writer)->put(*flow.http(),
                               {.id = (*writer)->next_flow(), .state = flow::Flow::State::live}) &&
                (*writer)->commit();
    good = good && (*writer)->begin() && (*writer)->put(flow);
    ::kill(::getpid(), good ? SIGKILL : SIGTERM);
  }
  int status = 0;
  REQUIRE(::waitpid(child, &status, 0) == child);
  CHECK(WTERMSIG(status) == SIGKILL);
  {
    const auto reader = SessionReader::open(path);
    REQUIRE(reader);
    CHECK((*reader)->flow(1, kAll)->value().state == flow::Flow::State::ended);
    CHECK((*reader)->flow(2, kAll)->value().state == flow::Flow::State::interrupted);
    CHECK(!(*reader)->flow(3, kAll)->has_value());
  }
  CHECK(number_in(path, "SELECT count(*) FROM flow WHERE state = 2") == 1);
  REQUIRE(SessionWriter::open(path));
  CHECK(::access((path + "-wal").c_str(), F_OK) != 0);
  const auto reader = SessionReader::open(path);
  CHECK((*reader)->flow(2, kAll)->value().state == flow::Flow::State::interrupted);
}

TEST_CASE("store: one process writes at a time; its live flows stay live for those that read") {
  const test::TemporaryDirectory directory;
  const std::string path = directory.path() + "/s.osp";
  int written[2];
  REQUIRE(::pipe(written) == 0);
  const pid_t child = ::fork();
  if (child == 0) {
    auto writer = SessionWriter::open(path);
    const auto flow = test::full_http_flow();
    const bool good = (*writer)->begin() &&
                      (*writer)->put(*flow.http(), {.id = (*writer)->next_flow(),
                                                    .state = flow::Flow::State::live}) &&
                      (*writer)->commit();
    static_cast<void>(::write(written[1], "x", good ? 1 : 0));
    ::close(written[1]);
    ::pause();
  }
  ::close(written[1]);
  char byte = 0;
  CHECK(::read(written[0], &byte, 1) == 1);
  ::close(written[0]);
  const auto reader = SessionReader::open(path);
  REQUIRE(reader);
  CHECK((*reader)->flow(1, kAll)->value().state == flow::Flow::State::live);
  CHECK(error_of(path) ==
        fmt::format("{}: another osproxy ({}) writes to it; name another file", path, child));
  ::kill(child, SIGKILL);
  REQUIRE(::waitpid(child, nullptr, 0) == child);
  const auto second = SessionWriter::open(path);
  REQUIRE(second);
  CHECK((*reader)->flow(1, kAll)->value().state == flow::Flow::State::interrupted);
  // In this process, too.
  CHECK(error_of(path).find("another osproxy") != std::string::npos);
}

}  // namespace mitm::store
