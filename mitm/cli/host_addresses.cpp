#include "mitm/cli/host_addresses.h"

#include <array>
#include <cerrno>

#include <netdb.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "mitm/cli/options.h"

namespace mitm::cli {
namespace {

/// A line for each address of `host`.
std::string resolve(const std::string& host) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (::getaddrinfo(host.c_str(), nullptr, &hints, &found) != 0) return {};
  std::string lines;
  for (const addrinfo* one = found; one != nullptr; one = one->ai_next) {
    std::array<char, NI_MAXHOST> text{};
    if (::getnameinfo(one->ai_addr, one->ai_addrlen, text.data(), text.size(), nullptr, 0,
                      NI_NUMERICHOST) == 0)
      lines.append(text.data()).append("\n");
  }
  ::freeaddrinfo(found);
  return lines;
}

std::vector<base::Address> parsed(std::string_view lines) {
  std::vector<base::Address> addresses;
  for_each_part(lines, '\n', [&](std::string_view line) {
    boost::system::error_code ec;
    const auto address = boost::asio::ip::make_address(std::string(line), ec);
    if (!ec) addresses.push_back(base::unmapped(address));
  });
  return addresses;
}

}  // namespace

std::vector<base::Address> addresses_of(const std::string& host) {
  return parsed(resolve(host));
}

std::vector<base::Address> addresses_of(const std::string& host, const base::User& user) {
  auto pipe = base::make_pipe(base::Blocking::yes);
  const pid_t child = pipe ? ::fork() : -1;
  if (child == 0) {
    const bool is_other = ::geteuid() == 0 && user.uid != 0;
    if (!is_other || base::become(user))
      (void)base::write_all(pipe->in.get(), resolve(host)).has_value();
    ::_exit(0);
  }
  if (child < 0) return {};
  pipe->in.reset();
  std::string lines;
  std::array<char, 4096> block;
  for (ssize_t n = 0;
       (n = ::read(pipe->out.get(), block.data(), block.size())) > 0 || (n < 0 && errno == EINTR);)
    lines.append(block.data(), n > 0 ? static_cast<std::size_t>(n) : 0);
  while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
  return parsed(lines);
}

}  // namespace mitm::cli
