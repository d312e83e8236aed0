// Real sockets and real processes that hold them.
#pragma once

#include <functional>
#include <string>

#include <sys/types.h>

#include "base/fd.h"
#include "base/network.h"

namespace procmap {

/// A TCP listener on a loopback address. Accepts nothing: connections wait in its backlog.
class Listener {
 public:
  /// `address`: "127.0.0.1", "::1" or "::" (both families).
  explicit Listener(const std::string& address, int backlog = 4096);

  [[nodiscard]] const base::Endpoint& endpoint() const { return endpoint_; }

 private:
  base::UniqueFd fd_;
  base::Endpoint endpoint_;
};

/// Connected to `destination`; with `wait` false it is left in SYN-SENT when nobody answers.
/// `mapped`: by an IPv6 socket although the destination is IPv4. Stays open over execve(2).
base::UniqueFd connect_to(const base::Endpoint& destination, bool wait = true, bool mapped = false);
base::Endpoint local_end(int socket);

/// A process that runs `body` and ends. `body` gets a Wire to the test, and none of the test's
/// descriptors but 0-2.
class Child {
 public:
  class Wire {
   public:
    explicit Wire(base::UniqueFd fd) : fd_(std::move(fd)) {}
    void send(std::uint64_t number) const;
    /// Blocks; 0 when the other end is closed.
    [[nodiscard]] std::uint64_t receive() const;

   private:
    base::UniqueFd fd_;
  };

  explicit Child(const std::function<void(const Wire&)>& body);
  Child(Child&& other) noexcept;
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() { end(); }

  [[nodiscard]] pid_t pid() const { return pid_; }
  [[nodiscard]] const Wire& wire() const { return wire_; }
  /// Kills it and waits until it is gone.
  void end();

 private:
  Wire wire_;
  pid_t pid_ = 0;
};

/// A child that connects to `destination`, sends its port and waits until it is ended.
Child connected_child(const base::Endpoint& destination);

}  // namespace procmap
