// A network namespace of a test's own, for the tests that need a kernel.
#pragma once

#include <string>

#include "base/fd.h"

namespace pfctl_test {

/// Puts the calling thread into a fresh network namespace with loopback up, and back when
/// destroyed; processes started in between live in it, and it is gone with the last of them.
/// Throws, and so fails the test, without root.
class Namespace {
 public:
  Namespace();
  ~Namespace();
  Namespace(const Namespace&) = delete;
  Namespace& operator=(const Namespace&) = delete;

  /// Adds an interface with 192.0.2.1 and 2001:db8::1 through which every address can be reached
  /// for, though nobody answers.
  void add_uplink();

 private:
  base::UniqueFd home_;
};

/// Standard output and standard error of a shell command; throws when it fails.
std::string run(const std::string& command);

/// The same, with the exit status ignored.
std::string run_anyway(const std::string& command);

/// A forked process that calls `body` and then sleeps until it is killed. The constructor returns
/// when `body` has, and hands back what that returned.
class Child {
 public:
  template <class Body>
  explicit Child(Body body) {
    if (start()) finish(body());
  }
  ~Child() { kill(); }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  [[nodiscard]] int pid() const { return pid_; }
  [[nodiscard]] const std::string& said() const { return said_; }
  /// SIGKILL, and waits.
  void kill();

 private:
  bool start();
  [[noreturn]] void finish(const std::string& text);

  int pid_ = 0;
  base::UniqueFd pipe_;
  std::string said_;
};

}  // namespace pfctl_test
