// The real tools on a copy-on-write copy of the whole file system: what a test installs there, the
// machine never sees.
#pragma once

#include <filesystem>
#include <string>

#include <fmt/format.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/test.h"

namespace tls_test {

/// The beginning of a command line that makes a certificate.
inline constexpr const char* kMakeCertificate =
    "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout /dev/null ";

/// What went wrong in a child, where doctest's own checks do not count.
class Problems {
 public:
  void expect(bool good, const std::string& what) {
    if (!good) text_ += what + "\n";
  }
  template <class A, class B>
  void equal(const A& is, const B& wanted, const std::string& what) {
    expect(is == wanted, fmt::format("{}: is {:?}, not {:?}", what, fmt::format("{}", is),
                                     fmt::format("{}", wanted)));
  }
  [[nodiscard]] const std::string& text() const { return text_; }

 private:
  std::string text_;
};

inline bool enter_private_root(const std::string& place) {
  const auto mount_at = [&](const char* from, const std::string& at, const char* kind,
                            unsigned long flags, const std::string& options) {
    return ::mount(from, at.c_str(), kind, flags, options.empty() ? nullptr : options.c_str()) == 0;
  };
  if (::unshare(CLONE_NEWNS) != 0 || !mount_at("none", "/", nullptr, MS_REC | MS_PRIVATE, ""))
    return false;
  if (!mount_at("tmpfs", place, "tmpfs", 0, "mode=755")) return false;
  for (const char* name : {"upper", "work", "root"})
    std::filesystem::create_directory(place + "/" + name);
  const std::string root = place + "/root";
  return mount_at("overlay", root, "overlay", 0,
                  fmt::format("lowerdir=/,upperdir={0}/upper,workdir={0}/work", place)) &&
         mount_at("/proc", root + "/proc", nullptr, MS_BIND | MS_REC, "") &&
         mount_at("/dev", root + "/dev", nullptr, MS_BIND | MS_REC, "") &&
         mount_at("tmpfs", root + "/tmp", "tmpfs", 0, "mode=1777") && ::chroot(root.c_str()) == 0 &&
         ::chdir("/") == 0;
}

/// Runs body(Problems&) in a child that has all of / to itself; what it found, empty when all was
/// well.
template <class Body>
std::string in_private_root(Body body) {
  std::string place = "/tmp/osproxy-root-XXXXXX";
  int ends[2];
  if (::mkdtemp(place.data()) == nullptr || ::pipe2(ends, O_CLOEXEC) != 0)
    return "no place for a private root";
  const pid_t child = ::fork();
  if (child == 0) {
    ::close(ends[0]);
    Problems problems;
    problems.expect(enter_private_root(place), "cannot make a private root");
    if (problems.text().empty()) body(problems);
    const std::string& text = problems.text();
    const bool told =
        ::write(ends[1], text.data(), text.size()) == static_cast<ssize_t>(text.size());
    ::_exit(told ? 0 : 1);
  }
  ::close(ends[1]);
  std::string text;
  char block[4096];
  for (ssize_t size = 0; (size = ::read(ends[0], block, sizeof block)) > 0;)
    text.append(block, size);
  ::close(ends[0]);
  int status = 1;
  ::waitpid(child, &status, 0);
  std::filesystem::remove(place);
  if (status != 0) text += fmt::format("the child ended with status {:#x}\n", status);
  return text;
}

/// Output of a shell command (tests only), both streams, with its exit status in front: "0 text".
inline std::string shell(const std::string& command) {
  FILE* pipe = ::popen(("exec 2>&1; " + command).c_str(), "re");
  if (pipe == nullptr) return "no shell";
  std::string text;
  char block[4096];
  for (std::size_t size = 0; (size = std::fread(block, 1, sizeof block, pipe)) > 0;)
    text.append(block, size);
  const int status = ::pclose(pipe);
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return fmt::format("{} {}", WIFEXITED(status) ? WEXITSTATUS(status) : -1, text);
}

}  // namespace tls_test
