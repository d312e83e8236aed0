#include "procmap/proc_parse.h"

#include "tests/test.h"

namespace procmap {
namespace {

/// /proc/PID/stat of a process called `comm`.
std::string stat_text(const std::string& comm) {
  std::string text = "4711 (" + comm + ") S 42 1 1 0 -1";
  for (int field = 9; field <= 52; ++field) text += fmt::format(" {}", field * 1000);
  return text + "\n";
}

constexpr std::string_view kStatus =
    "Name:\tcurl\nUmask:\t0022\nState:\tS (sleeping)\nTgid:\t4711\nNgid:\t0\nPid:\t4712\n"
    "PPid:\t42\nTracerPid:\t0\n"
    "Uid:\t1000\t1001\t1002\t1003\nGid:\t100\t101\t102\t103\nFDSize:\t64\n";

}  // namespace

TEST_CASE("proc_parse: stat, whatever the name holds") {
  for (const std::string comm :
       {"curl", "a b", ")", "((", ") S 1 2 3 (", "x) R 1", "new\nline", "", "\xff"}) {
    CAPTURE(comm);
    const auto stat = parse_stat(stat_text(comm));
    REQUIRE(stat);
    CHECK(stat->comm == comm);
    CHECK(stat->ppid == 42);
    CHECK(stat->start_ticks == 22000);
  }
}

TEST_CASE("proc_parse: another image in any of its addresses is another image") {
  const auto image = [](const std::string& text) { return parse_stat(text)->image; };
  const std::string text = stat_text("curl");
  for (const char* field :
       {" 26000", " 27000", " 28000", " 47000", " 48000", " 49000", " 50000", " 51000"}) {
    std::string other = text;
    other.replace(other.find(field), 6, " 77777");
    CAPTURE(field);
    CHECK(image(other) != image(text));
  }
  // Without the right to see addresses they are all 0; the name is left.
  CHECK(image(stat_text("wget")) != image(text));
  // Times go on while the image stays.
  std::string later = text;
  later.replace(later.find(" 14000"), 6, " 14999");
  CHECK(image(later) == image(text));
}

TEST_CASE("proc_parse: stat cut at every offset gives nothing") {
  const std::string text = stat_text("a) b");
  for (std::size_t size = 0; size < text.size(); ++size) {
    CAPTURE(size);
    CHECK_FALSE(parse_stat(text.substr(0, size)));
  }
  CHECK_FALSE(parse_stat("1 (x) S y 1 1\n"));
  CHECK_FALSE(parse_stat(")1(\n"));
}

TEST_CASE("proc_parse: status") {
  const auto status = parse_status(kStatus);
  REQUIRE(status);
  CHECK(status->uid == 1001);
  CHECK(status->gid == 101);
  CHECK(status->tgid == 4711);
  const auto end = kStatus.find("FDSize");
  for (std::size_t size = 0; size < end; ++size) {
    CAPTURE(size);
    CHECK_FALSE(parse_status(kStatus.substr(0, size)));
  }
  CHECK(parse_status(kStatus.substr(0, end)));
  // The kernel escapes a newline in the name, so that a name cannot stand for a line.
  CHECK(parse_status("Name:\t\\nTgid:\t9\nTgid:\t1\nUid:\t1 2 3 4\nGid:\t1 2 3 4\n")->tgid == 1);
  CHECK(parse_status("Tgid:\t1\nUid:\t0\t4294967295\t0\t0\nGid:\t0\t0\t0\t0\n")->uid ==
        4294967295U);
  CHECK_FALSE(parse_status("Tgid:\t1\nUid:\t0\t4294967296\t0\t0\nGid:\t0\t0\t0\t0\n"));
}

TEST_CASE("proc_parse: cmdline") {
  using Words = std::vector<std::string>;
  using namespace std::string_view_literals;
  CHECK(parse_cmdline("") == Words{});
  CHECK(parse_cmdline("curl\0-v\0\0x y\0"sv) == Words{"curl", "-v", "", "x y"});
  // A process may write over its arguments: setproctitle(3) leaves no NUL at the end.
  CHECK(parse_cmdline("nginx: worker process"sv) == Words{"nginx: worker process"});
  CHECK(parse_cmdline("npm install\0\0\0\0"sv) == Words{"npm install"});
  CHECK(parse_cmdline("grep\0\0"sv) == Words{"grep", ""});
  CHECK(parse_cmdline("a\0b\0c\0"sv, 2) == Words{"a", "b"});
  CHECK(parse_cmdline("\0"sv) == Words{""});
  CHECK(parse_cmdline("\xff\n\0"sv) == Words{"\xff\n"});
}

TEST_CASE("proc_parse: cgroup") {
  CHECK(parse_cgroup("0::/user.slice/a b\n") == "/user.slice/a b");
  CHECK(parse_cgroup("1:name=systemd:/x\n0::/y\n") == "/y");
  CHECK(parse_cgroup("1:name=systemd:/x\n").empty());
  CHECK(parse_cgroup("0::/cut").empty());
  CHECK(parse_cgroup("").empty());
  CHECK(parse_cgroup("10::/z\n").empty());
}

TEST_CASE("proc_parse: names of files") {
  CHECK(without_deleted("/usr/bin/x (deleted)") == "/usr/bin/x");
  CHECK(without_deleted("/usr/bin/x") == "/usr/bin/x");
  CHECK(without_deleted(" (deleted)").empty());
  CHECK(parse_socket_link("socket:[123]") == 123);
  CHECK(parse_socket_link("socket:[4294967295]") == 4294967295U);
  for (const char* other :
       {"", "socket:[", "socket:[]", "socket:[-1]", "socket:[12", "socket:[1x]",
        "socket:[4294967296]", "pipe:[123]", "/socket:[1]", "anon_inode:[eventpoll]"}) {
    CAPTURE(other);
    CHECK(parse_socket_link(other) == 0);
  }
}

TEST_CASE("proc_parse: the registered sockets of an io_uring") {
  CHECK(is_ring_link("anon_inode:[io_uring]"));
  CHECK_FALSE(is_ring_link("anon_inode:[eventpoll]"));
  const std::string whole =
      "pos:\t0\nSQEs:\t1\n    0: opcode:CONNECT, fd:1\nUserFiles:\t4\n    1: socket:[93325]\n"
      "    2: /dev/null\n32767: socket:[12]\nUserBufs:\t1\n    0: socket:[77]\n";
  CHECK(parse_ring_sockets(whole) == std::vector<std::uint32_t>{93325, 12});
  const std::string wide =
      "UserFiles:\t4\n    1: socket:[93325]\n   22: socket:[12]\nUserBufs:\t0\n";
  CHECK(parse_ring_sockets(wide) == std::vector<std::uint32_t>{93325, 12});
  CHECK(parse_ring_sockets("UserFiles:\t0\nUserBufs:\t0\n")->empty());
  CHECK(parse_ring_sockets("UserFiles:\t1\n    0: TCP\n")->empty());
  // Nothing is said while the ring is in use.
  CHECK_FALSE(parse_ring_sockets("pos:\t0\nSqMask:\t0x7\n"));
  CHECK_FALSE(parse_ring_sockets(""));
  for (std::size_t length = 0; length < wide.size(); ++length) {
    const auto cut = parse_ring_sockets(std::string_view{wide}.substr(0, length));
    if (!cut) continue;
    for (const auto inode : *cut) CHECK((inode == 93325 || inode == 12));
  }
}

TEST_CASE("proc_parse: last pid") {
  CHECK(parse_last_pid("0.00 0.01 0.05 1/123 4711\n") == 4711);
  CHECK(parse_last_pid("0.00 0.01 0.05 1/123\n") == 0);
  CHECK(parse_last_pid("0.00 0.01 0.05 1/123 x\n") == 0);
  CHECK(parse_last_pid("") == 0);
}

}  // namespace procmap
