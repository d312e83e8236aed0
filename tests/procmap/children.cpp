#include "tests/procmap/children.h"

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <source_location>
#include <utility>

#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

namespace procmap {
namespace {

int family_of(const base::Address& address) {
  return address.is_v4() ? AF_INET : AF_INET6;
}

/// The tests and the benchmark cannot go on without.
void must(bool good, std::source_location where = std::source_location::current()) {
  if (good) return;
  fmt::print(stderr, "{}:{}: {}\n", where.file_name(), where.line(), std::strerror(errno));
  std::abort();
}

}  // namespace

Listener::Listener(const std::string& address, int backlog)
    : fd_(::socket(family_of(boost::asio::ip::make_address(address)), SOCK_STREAM | SOCK_CLOEXEC,
                   0)) {
  const int off = 0;
  if (address == "::")
    must(::setsockopt(fd_.get(), IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) == 0);
  const base::Endpoint wanted{boost::asio::ip::make_address(address), 0};
  must(::bind(fd_.get(), wanted.data(), static_cast<socklen_t>(wanted.size())) == 0);
  must(::listen(fd_.get(), backlog) == 0);
  endpoint_ = local_end(fd_.get());
}

base::UniqueFd connect_to(const base::Endpoint& destination, bool wait, bool mapped) {
  const int family = mapped ? AF_INET6 : family_of(destination.address());
  base::UniqueFd fd{::socket(family, SOCK_STREAM | (wait ? 0 : SOCK_NONBLOCK), 0)};
  base::Endpoint to = destination;
  if (mapped)
    to.address(boost::asio::ip::make_address_v6(boost::asio::ip::v4_mapped, to.address().to_v4()));
  const int done = ::connect(fd.get(), to.data(), static_cast<socklen_t>(to.size()));
  if (done != 0 && errno != EINPROGRESS) fd.reset();
  return fd;
}

base::Endpoint local_end(int socket) {
  base::Endpoint end{boost::asio::ip::address_v6{}, 0};
  auto size = static_cast<socklen_t>(end.capacity());
  if (::getsockname(socket, end.data(), &size) == 0) end.resize(size);
  return {base::unmapped(end.address()), end.port()};
}

void Child::Wire::send(std::uint64_t number) const {
  while (::write(fd_.get(), &number, sizeof number) < 0 && errno == EINTR) {
  }
}

std::uint64_t Child::Wire::receive() const {
  std::uint64_t number = 0;
  for (;;) {
    const ssize_t n = ::read(fd_.get(), &number, sizeof number);
    if (n == sizeof number) return number;
    if (n >= 0 || errno != EINTR) return 0;
  }
}

Child::Child(const std::function<void(const Wire&)>& body) : wire_(base::UniqueFd{}) {
  int ends[2];
  must(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0);
  base::UniqueFd ours{ends[0]}, theirs{ends[1]};
  pid_ = ::fork();
  must(pid_ >= 0);
  if (pid_ == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    // Nothing of the test's own sockets is to be held here as well.
    const auto wire = static_cast<unsigned>(theirs.get());
    ::close_range(3, wire - 1, 0);
    ::close_range(wire + 1, ~0U, 0);
    body(Wire{std::move(theirs)});
    ::_exit(0);
  }
  wire_ = Wire{std::move(ours)};
}

Child::Child(Child&& other) noexcept
    : wire_(std::move(other.wire_)), pid_(std::exchange(other.pid_, 0)) {}

void Child::end() {
  if (pid_ == 0) return;
  ::kill(pid_, SIGKILL);
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
  pid_ = 0;
}

Child connected_child(const base::Endpoint& destination) {
  return Child{[&](const Child::Wire& wire) {
    const auto fd = connect_to(destination);
    wire.send(fd ? local_end(fd.get()).port() : 0);
    (void)wire.receive();
  }};
}

}  // namespace procmap
