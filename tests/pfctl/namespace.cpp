// Namespaces by unshare(2) on the test's own thread: no name is left behind, however the test ends.
#include "tests/pfctl/namespace.h"

#include <array>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <stdexcept>

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace pfctl_test {
namespace {

[[noreturn]] void fail(const std::string& what) {
  throw std::runtime_error(what);
}

std::pair<std::string, int> output_of(const std::string& command) {
  FILE* pipe = ::popen(("( " + command + "\n) 2>&1").c_str(), "re");
  if (!pipe) fail(base::os_error(command, errno).text);
  std::string output;
  std::array<char, 4096> block;
  while (const std::size_t n = std::fread(block.data(), 1, block.size(), pipe))
    output.append(block.data(), n);
  return {output, ::pclose(pipe)};
}

}  // namespace

Namespace::Namespace() : home_(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)) {
  if (::geteuid() != 0)
    fail("this test makes a network namespace and needs root: run it with sudo");
  if (!home_) fail(base::os_error("cannot open /proc/thread-self/ns/net", errno).text);
  if (::unshare(CLONE_NEWNET) != 0)
    fail(base::os_error("cannot make a network namespace", errno).text);
  run("ip link set lo up");
}

Namespace::~Namespace() {
  if (::setns(home_.get(), CLONE_NEWNET) != 0) std::perror("setns");
}

void Namespace::add_uplink() {
  run("ip link add uplink type veth peer name beyond && "
      "ip link set uplink up && ip link set beyond up");
  run("ip addr add 192.0.2.1/24 dev uplink && ip route add default dev uplink");
  run("ip -6 addr add 2001:db8::1/64 dev uplink nodad && ip -6 route add default dev uplink");
  // The kernel makes the route by which the address is this machine's own a little later.
  run("for try in $(seq 100); do ip -6 route show table local | grep -q 'local 2001:db8::1 ' && "
      "exit; sleep 0.02; done; echo no local route to 2001:db8::1; exit 1");
}

std::string run(const std::string& command) {
  const auto [output, status] = output_of(command);
  if (status != 0) fail(fmt::format("{}: status {}: {}", command, status, output));
  return output;
}

std::string run_anyway(const std::string& command) {
  return output_of(command).first;
}

bool Child::start() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) fail("cannot make a pipe");
  base::UniqueFd reader{ends[0]}, writer{ends[1]};
  pid_ = ::fork();
  if (pid_ < 0) fail("cannot fork");
  if (pid_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    pipe_ = std::move(writer);
    return true;
  }
  writer.reset();
  char byte = 0;
  while (::read(reader.get(), &byte, 1) == 1 && byte != '\0') said_ += byte;
  return false;
}

void Child::finish(const std::string& text) {
  [[maybe_unused]] const auto written =
      base::write_all(pipe_.get(), {text.c_str(), text.size() + 1});
  for (;;) ::pause();
}

void Child::kill() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGKILL);
  ::waitpid(pid_, nullptr, 0);
  pid_ = 0;
}

}  // namespace pfctl_test
