// How long one attribution takes, as a markdown table: by number of processes and sockets, with
// owners of few and of many descriptors, just started and seen before; beside lsof -i and ss -p.
// Needs root and 25,000 descriptors.
#include "procmap/attribution.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <string>
#include <vector>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/procmap/children.h"

namespace procmap {
namespace {

using Clock = std::chrono::steady_clock;
using Micros = std::chrono::duration<double, std::micro>;

base::Endpoint loopback(std::uint64_t port) {
  return {boost::asio::ip::address_v4::loopback(), static_cast<std::uint16_t>(port)};
}

void take_descriptors(int count) {
  const int null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  for (int i = 0; i < count; ++i) {
    if (::dup(null) < 0) std::abort();
  }
}

/// `count` processes that have ten descriptors each and sleep.
std::vector<Child> idle_processes(int count) {
  std::vector<Child> children;
  for (int i = 0; i < count; ++i) {
    children.emplace_back([](const Child::Wire& wire) {
      take_descriptors(10);
      (void)wire.receive();
    });
  }
  return children;
}

/// Connections that one process holds.
constexpr int kHeld = 5000;

/// A process that holds `count` connections.
Child socket_holder(int count) {
  Child child{[count](const Child::Wire& wire) {
    std::vector<Listener> listeners;
    std::vector<base::UniqueFd> connections;
    // net.core.somaxconn limits each backlog.
    constexpr int kEach = 2000;
    for (int i = 0; i < count; ++i) {
      if (i % kEach == 0) listeners.emplace_back("127.0.0.1");
      connections.push_back(connect_to(listeners.back().endpoint()));
      if (!connections.back()) std::abort();
    }
    wire.send(1);
    (void)wire.receive();
  }};
  if (child.wire().receive() != 1) std::abort();
  return child;
}

/// Sends the port of a new connection whenever it is asked.
Child connecting_process(const Listener& listener, int descriptors) {
  return Child{[&listener, descriptors](const Child::Wire& wire) {
    take_descriptors(descriptors);
    base::UniqueFd last;
    do {
      last = connect_to(listener.endpoint());
      wire.send(local_end(last.get()).port());
    } while (wire.receive() != 0);
  }};
}

struct Times {
  std::vector<double> micros;

  [[nodiscard]] double percentile(double part) {
    std::ranges::sort(micros);
    return micros[static_cast<std::size_t>(part * static_cast<double>(micros.size() - 1))];
  }
};

void ask(Attributor& attributor, const Child& owner, const Listener& listener, std::uint64_t port,
         Times& times) {
  const auto begin = Clock::now();
  const auto answer = attributor.owner_of({loopback(port), listener.endpoint()});
  times.micros.push_back(Micros(Clock::now() - begin).count());
  if (!answer.process || answer.process->id.pid != owner.pid()) {
    fmt::print(stderr, "attribution_bench: the owner of port {} was not found\n", port);
    std::exit(1);
  }
}

Times seen_before(int descriptors) {
  const Listener listener{"127.0.0.1"};
  auto attributor = Attributor::open();
  const Child owner = connecting_process(listener, descriptors);
  Times warm, times;
  ask(*attributor, owner, listener, owner.wire().receive(), warm);
  for (int i = 0; i < 1000; ++i) {
    owner.wire().send(1);
    ask(*attributor, owner, listener, owner.wire().receive(), times);
  }
  return times;
}

/// Two owners by turns, the other one with 5000 descriptors.
Times in_turn(int descriptors) {
  const Listener listener{"127.0.0.1"};
  auto attributor = Attributor::open();
  const Child owner = connecting_process(listener, descriptors),
              other = connecting_process(listener, 5000);
  Times others, times;
  ask(*attributor, owner, listener, owner.wire().receive(), others);
  ask(*attributor, other, listener, other.wire().receive(), others);
  for (int i = 0; i < 500; ++i) {
    owner.wire().send(1);
    ask(*attributor, owner, listener, owner.wire().receive(), times);
    other.wire().send(1);
    ask(*attributor, other, listener, other.wire().receive(), others);
  }
  return times;
}

Times just_started(int descriptors) {
  const Listener listener{"127.0.0.1"};
  auto attributor = Attributor::open();
  Times times;
  for (int i = 0; i < 100; ++i) {
    const Child owner = connecting_process(listener, descriptors);
    ask(*attributor, owner, listener, owner.wire().receive(), times);
  }
  return times;
}

/// Median of five runs of another program, asked for one port; empty when it is not installed.
std::optional<double> other_program(const std::string& command) {
  Times times;
  for (int i = 0; i < 5; ++i) {
    const auto begin = Clock::now();
    const int status = std::system((command + " >/dev/null 2>&1").c_str());
    if (status != 0) return std::nullopt;
    times.micros.push_back(Micros(Clock::now() - begin).count());
  }
  return times.percentile(0.5);
}

void print_row(int processes, int sockets, int descriptors, const char* owner, Times times) {
  fmt::print("| {} | {} | {} | {} | {:.0f} us | {:.0f} us |\n", processes, sockets, descriptors,
             owner, times.percentile(0.5), times.percentile(0.99));
  std::fflush(stdout);
}

void print_others(int processes, int sockets) {
  const Listener listener{"127.0.0.1"};
  const Child owner = connecting_process(listener, 10);
  const auto port = owner.wire().receive();
  for (const auto& [name, command] :
       {std::pair{"lsof -i", fmt::format("lsof -nP -iTCP:{}", port)},
        std::pair{"ss -p", fmt::format("ss -tnpH sport = :{} | grep -q pid=", port)}}) {
    const auto time = other_program(command);
    fmt::print("| {} | {} | 10 | {} | {} | |\n", processes, sockets, name,
               time ? fmt::format("{:.0f} us", *time) : "not installed");
  }
  std::fflush(stdout);
}

void measure(int processes, int sockets) {
  const auto idle = idle_processes(processes);
  std::vector<Child> holders;
  for (int left = sockets; left > 0; left -= kHeld)
    holders.push_back(socket_holder(std::min(left, kHeld)));
  for (const int descriptors : {10, 5000}) {
    print_row(processes, sockets, descriptors, "seen before", seen_before(descriptors));
    print_row(processes, sockets, descriptors, "in turn with another", in_turn(descriptors));
    print_row(processes, sockets, descriptors, "just started", just_started(descriptors));
  }
  print_others(processes, sockets);
}

}  // namespace
}  // namespace procmap

int main() {
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  if (::geteuid() != 0 || limit.rlim_cur < 6000 || ::setrlimit(RLIMIT_NOFILE, &limit) != 0) {
    fmt::print(stderr,
               "attribution_bench needs root, to see all processes, and 6000 descriptors; try: "
               "sudo attribution_bench\n");
    return 1;
  }
  fmt::print(
      "| processes | sockets | owner's descriptors | | p50 | p99 |\n|---|---|---|---|---|---|\n");
  for (const int processes : {50, 500, 2000}) procmap::measure(processes, 100);
  for (const int sockets : {2000, 20000}) procmap::measure(50, sockets);
}
