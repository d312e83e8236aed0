// What a confined process can no longer do, and what the worker goes on to do: each in a child of
// its own.
#include "divert/process/confine.h"

#include <cerrno>
#include <clocale>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <thread>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <fcntl.h>
#include <iconv.h>
#include <linux/netlink.h>
#include <netdb.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "tests/test.h"

using divert::confine;

namespace {

/// The errno that `attempt` leaves in a confined child; 0: it succeeded. 200: it was not confined
/// at all, 201: it was killed, 202: it failed without an errno.
template <class Attempt>
int errno_of(Attempt attempt, const std::vector<std::string>& readable = {}) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    const auto confined = confine(readable);
    if (!confined || !confined->system_calls) ::_exit(200);
    errno = 0;
    ::_exit(attempt() >= 0 ? 0 : errno != 0 ? errno : 202);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : 201;
}

/// Asked here, not by what is tested: a kernel that has it must be made use of.
bool kernel_filters_system_calls() {
  return ::access("/proc/sys/kernel/seccomp/actions_avail", F_OK) == 0;
}
bool kernel_has_landlock() {
#ifdef SYS_landlock_create_ruleset
  constexpr unsigned kVersion = 1;  // LANDLOCK_CREATE_RULESET_VERSION of linux/landlock.h
  return ::syscall(SYS_landlock_create_ruleset, nullptr, 0, kVersion) > 0;
#else
  return false;
#endif
}

/// A directory that nobody else has.
struct Scratch {
  Scratch() { ::mkdtemp(path.data()); }
  ~Scratch() { std::filesystem::remove_all(path); }
  std::string path = "/tmp/confine-test-XXXXXX";
};

void write(const std::string& path) {
  std::ofstream{path} << "secret";
}

/// Connects, waits and sends a byte over loopback; false: one of these fails.
bool talk_over_loopback() {
  namespace asio = boost::asio;
  using tcp = asio::ip::tcp;
  asio::io_context io{1};
  tcp::acceptor acceptor{io, {asio::ip::address_v4::loopback(), 0}};
  tcp::socket client{io}, server{io};
  bool accepted = false, connected = false, late = false;
  acceptor.async_accept(server, [&](auto error) { accepted = !error; });
  client.async_connect(acceptor.local_endpoint(), [&](auto error) { connected = !error; });
  asio::steady_timer timer{io, std::chrono::milliseconds{1}};
  timer.async_wait([&](auto error) { late = !error; });
  io.run();
  if (!accepted || !connected || !late) return false;
  char letter = 'x';
  return asio::write(client, asio::buffer(&letter, 1)) == 1 &&
         asio::read(server, asio::buffer(&letter, 1)) == 1;
}

}  // namespace

TEST_CASE("confine: no program, no process, no look into others, no other kind of socket") {
  if (!kernel_filters_system_calls()) return;
  const pid_t parent = ::getpid();
  char* const arguments[] = {const_cast<char*>("true"), nullptr};
  CHECK(errno_of([&] { return ::execv("/bin/true", arguments); }) == EPERM);
  CHECK(errno_of([] { return ::fork(); }) == EPERM);
  CHECK(errno_of([] { return ::vfork(); }) == EPERM);
  CHECK(errno_of([] { return ::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr); }) == EPERM);
  CHECK(errno_of([&] { return ::ptrace(PTRACE_ATTACH, parent, nullptr, nullptr); }) == EPERM);
  CHECK(errno_of([&] {
          char byte = 0;
          const iovec here{&byte, 1}, there{&byte, 1};
          return ::process_vm_readv(parent, &here, 1, &there, 1, 0);
        }) == EPERM);
  CHECK(errno_of([&] { return ::kill(parent, 0); }) == EPERM);
  CHECK(errno_of([&] { return ::syscall(SYS_tgkill, parent, parent, 0); }) == EPERM);
  CHECK(errno_of([&] { return ::prlimit(parent, RLIMIT_NOFILE, nullptr, nullptr); }) == EPERM);
  for (const int family : {AF_UNIX, AF_PACKET, AF_VSOCK, AF_ALG})
    CHECK(errno_of([=] { return ::socket(family, SOCK_STREAM, 0); }) == EAFNOSUPPORT);
  for (const int protocol : {NETLINK_SOCK_DIAG, NETLINK_NETFILTER, NETLINK_XFRM, NETLINK_AUDIT})
    CHECK(errno_of([=] { return ::socket(AF_NETLINK, SOCK_RAW, protocol); }) == EAFNOSUPPORT);
  CHECK(errno_of([] { return ::socket(AF_NETLINK, SOCK_RAW, NETLINK_ROUTE); }) == 0);
  CHECK(errno_of([] {
          int ends[2];
          return ::socketpair(AF_UNIX, SOCK_STREAM, 0, ends);
        }) == EPERM);
  CHECK(errno_of([] { return ::prctl(PR_SET_DUMPABLE, 1, 0, 0, 0); }) == EPERM);
  CHECK(errno_of([] { return ::ioctl(0, TIOCSTI, "x"); }) == EPERM);
  CHECK(errno_of([] { return ::fcntl(0, F_SETOWN, ::getppid()); }) == EPERM);
  for (const long call : {SYS_bpf, SYS_unshare, SYS_setns, SYS_memfd_create, SYS_userfaultfd,
                          SYS_mount, SYS_keyctl, SYS_perf_event_open, SYS_setuid, SYS_io_setup,
                          SYS_unlinkat, SYS_mkdirat, SYS_renameat2, SYS_fchmodat, SYS_seccomp})
    CHECK(errno_of([=] { return ::syscall(call, 0, 0, 0, 0, 0); }) == EPERM);
  // The C library does without these.
  for (const long call : {long{SYS_clone3}, 1000L})
    CHECK(errno_of([=] { return ::syscall(call, 0, 0); }) == ENOSYS);
}

TEST_CASE("confine: no memory is both written and executed") {
  if (!kernel_filters_system_calls()) return;
  const auto map = [](int rights, int more = MAP_ANONYMOUS, int file = -1) {
    return ::mmap(nullptr, 4096, rights, MAP_PRIVATE | more, file, 0);
  };
  constexpr int kAll = PROT_READ | PROT_WRITE | PROT_EXEC;
  CHECK(errno_of([&] { return map(kAll) == MAP_FAILED ? -1 : 0; }) == EPERM);
  const base::UniqueFd library{::open("/proc/self/exe", O_RDONLY | O_CLOEXEC)};
  CHECK(errno_of([&] { return map(kAll, 0, library.get()) == MAP_FAILED ? -1 : 0; }) == EPERM);
  CHECK(errno_of([&] {
          return map(PROT_READ | PROT_EXEC, 0, library.get()) == MAP_FAILED ? -1 : 0;
        }) == 0);
  CHECK(errno_of([&] {
          return ::mprotect(map(PROT_READ | PROT_WRITE), 4096, PROT_READ | PROT_EXEC);
        }) == EPERM);
  CHECK(errno_of([&] { return ::mprotect(map(PROT_READ), 4096, PROT_READ | PROT_WRITE); }) == 0);
}

TEST_CASE("confine: files are read where that is allowed, and none is opened to be written") {
  if (!kernel_has_landlock()) return;
  const Scratch scratch;
  const std::string inside = scratch.path + "/in/file", outside = scratch.path + "/outside";
  std::filesystem::create_directory(scratch.path + "/in");
  write(inside);
  write(outside);
  const auto open = [&](std::string path, int flags) {
    return errno_of([&] { return ::open(path.c_str(), flags, 0600); },
                    {scratch.path + "/in", scratch.path + "/none"});
  };
  CHECK(open(inside, O_RDONLY) == 0);
  CHECK(open(outside, O_RDONLY) == EACCES);
  CHECK(open(scratch.path, O_RDONLY | O_DIRECTORY) == EACCES);
  CHECK(open("/etc/passwd", O_RDONLY) == 0);
  CHECK(open("/dev/urandom", O_RDONLY) == 0);
  CHECK(open("/proc/1/status", O_RDONLY) == EACCES);
  for (const int flags :
       {O_WRONLY, O_RDWR, O_WRONLY | O_CREAT, O_RDONLY | O_TRUNC, O_RDONLY | O_CREAT})
    CHECK(open(inside, flags) == EPERM);
  CHECK(open(scratch.path + "/in/new", O_RDONLY | O_CREAT) == EPERM);
}

TEST_CASE("confine: what is open is still written, shortened and locked") {
  if (!kernel_filters_system_calls()) return;
  const Scratch scratch;
  const base::UniqueFd file{
      ::open((scratch.path + "/file").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600)};
  CHECK(errno_of([&] {
          return ::flock(file.get(), LOCK_EX) == 0 && ::pwrite(file.get(), "text", 4, 0) == 4 &&
                         ::ftruncate(file.get(), 2) == 0 && ::lseek(file.get(), 0, SEEK_END) == 2 &&
                         ::write(file.get(), "more", 4) == 4
                     ? 0
                     : -1;
        }) == 0);
  CHECK(std::filesystem::file_size(scratch.path + "/file") == 6);
}

TEST_CASE("confine: threads, sockets, pipes, names, character sets and the time zone go on") {
  if (!kernel_filters_system_calls()) return;
  CHECK(errno_of([] { return talk_over_loopback() ? 0 : -1; }) == 0);
  CHECK(errno_of([] {
          bool ran = false;
          std::thread{[&] { ran = talk_over_loopback(); }}.join();
          return ran ? 0 : -1;
        }) == 0);
  CHECK(errno_of([] {
          int ends[2];
          return ::pipe2(ends, O_NONBLOCK | O_CLOEXEC) == 0 &&
                         ::fcntl(ends[1], F_SETPIPE_SZ, 65536) >= 0
                     ? 0
                     : -1;
        }) == 0);
  CHECK(errno_of([] {
          addrinfo* found = nullptr;
          return ::getaddrinfo("localhost", "80", nullptr, &found) == 0 && found != nullptr ? 0
                                                                                            : -1;
        }) == 0);
  CHECK(errno_of([] {
          return ::iconv_open("UTF-8", "EUC-JP") != reinterpret_cast<iconv_t>(-1) ? 0 : -1;
        }) == 0);
  CHECK(errno_of([] {
          ::setenv("TZ", "Asia/Kolkata", 1);
          const std::time_t zero = 0;
          std::tm parts{};
          return ::localtime_r(&zero, &parts) != nullptr && parts.tm_gmtoff == 19800 ? 0 : -1;
        }) == 0);
  CHECK(errno_of([] {
          ::signal(SIGUSR1, SIG_IGN);
          return ::raise(SIGUSR1) == 0 ? 0 : -1;
        }) == 0);
}

TEST_CASE("confine: without the promise not to gain rights nothing is half done") {
  const pid_t child = ::fork();
  if (child == 0) {
    // Root may confine itself without it.
    if (::setresuid(65534, 65534, 65534) != 0) ::_exit(2);
    const auto confined = confine({});
    ::_exit(!confined && confined.error().text.starts_with("cannot confine the worker: ") ? 0 : 1);
  }
  int status = 0;
  ::waitpid(child, &status, 0);
  if (kernel_has_landlock() || kernel_filters_system_calls()) CHECK(status == 0);
}
