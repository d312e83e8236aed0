// Two children wait at a gate; the rules go in; the gate opens; the owner of each arrival is looked
// up.
#include "divert/broker/self_test.h"

#include <algorithm>
#include <array>
#include <cerrno>

#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "divert/process/privilege.h"
#include "divert/worker/listeners.h"
#include "pfctl/natlook.h"

namespace divert {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;
constexpr auto kTestTimeout = 5s;

sockaddr_in loopback(std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  return address;
}

base::Endpoint endpoint_of(const sockaddr_in& address) {
  return {boost::asio::ip::address_v4{ntohl(address.sin_addr.s_addr)}, ntohs(address.sin_port)};
}

/// Where the children connect to.
struct Server {
  base::UniqueFd socket;  ///< of our own; none: far away, without an answer
  sockaddr_in address{};
};

base::Result<Server> serve() {
  Server server{base::UniqueFd{::socket(AF_INET, SOCK_STREAM, 0)}};
  sockaddr_in address = loopback(0);
  socklen_t size = sizeof address;
  const int fd = server.socket.get();
  if (fd < 0 || !base::set_close_on_exec(fd) || !base::set_non_blocking(fd) ||
      ::bind(fd, reinterpret_cast<const sockaddr*>(&address), size) != 0 || ::listen(fd, 8) != 0 ||
      ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    return base::os_error("cannot open a server on 127.0.0.1", errno);
  }
  server.address = address;
  return server;
}

/// Without a packet: an unconnected datagram socket asks for the route only.
base::Result<Server> far_away(const base::Endpoint& far) {
  Server server;
  server.address = loopback(far.port());
  server.address.sin_addr.s_addr = htonl(far.address().to_v4().to_uint());
  const base::UniqueFd socket{::socket(AF_INET, SOCK_DGRAM, 0)};
  if (!socket || ::connect(socket.get(), reinterpret_cast<const sockaddr*>(&server.address),
                           sizeof server.address) != 0) {
    const int code = errno;  // to_string() clears it
    return base::os_error("cannot be tried: there is no route to " + far.address().to_string(),
                          code);
  }
  return server;
}

/// Connects to the server when its gate opens, and stays until it is killed.
class Child {
 public:
  explicit Child(const sockaddr_in& address) {
    auto gate = base::make_pipe(base::Blocking::yes);
    if (!gate) return;
    const base::UniqueFd in = std::move(gate->out);
    gate_ = std::move(gate->in);
    pid_ = ::fork();
    if (pid_ != 0) return;
    gate_.reset();
    char letter;
    (void)!::read(in.get(), &letter, 1);
    const int fd = ::socket(AF_INET, SOCK_STREAM, 0);
    ::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address);
    ::pause();
    ::_exit(0);
  }
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;
  ~Child() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }

  [[nodiscard]] pid_t pid() const { return pid_; }
  /// Closing the gate would not do: children that were forked later hold it as well.
  void go() { (void)!::write(gate_.get(), "", 1); }

 private:
  pid_t pid_ = -1;
  base::UniqueFd gate_;
};

class SelfTest {
 public:
  SelfTest(EngineChoice choice, Server server) : choice_(choice), server_(std::move(server)) {}

  base::Result<> run() {
    Child chosen{server_.address}, other{server_.address};
    if (chosen.pid() <= 0 || other.pid() <= 0) return base::os_error("cannot start a child", errno);
    other_ = other.pid();
    if (auto ready = prepare(chosen.pid(), other.pid()); !ready) return ready.error();
    chosen.go();
    other.go();
    const auto deadline = Clock::now() + kTestTimeout;
    while (Clock::now() < deadline && !done(chosen.pid(), other.pid())) step();
    loader_->close();
    return judge(chosen.pid(), other.pid());
  }

 private:
  base::Result<> prepare(pid_t chosen, pid_t other) {
    auto target = pfctl::RedirectTarget::prepare(true, false);
    if (!target) return target.error();
    auto listeners = bind_listeners(1, true, false, 0, {target->v4(), target->v6()});
    if (!listeners) return listeners.error();
    listener_ = std::move(listeners->pairs.front().v4);
    auto natlook = pfctl::Natlook::open();
    if (!natlook) return natlook.error();
    natlook_ = std::move(*natlook);
    auto attributor = procmap::Attributor::open();
    if (!attributor) return attributor.error();
    attributor_ = std::move(*attributor);
    auto filter = ProgramFilter::parse(std::to_string(chosen));
    if (!filter) return filter.error();
    policy_.filter = std::move(*filter);
    // What passes by a rule is shown, whether a server sees it or not.
    auto watched = ProgramFilter::parse(std::to_string(other));
    if (!watched) return watched.error();
    Rule let_pass;
    let_pass.process = std::move(*watched);
    let_pass.action = Action::pass;
    policy_.rules.push_back(std::move(let_pass));
    const auto gid = choose_exempt_group(std::nullopt);
    if (!gid) return gid.error();
    pfctl::Ruleset rules;
    rules.ports = {{port(), port()}};
    rules.ipv6 = false;
    rules.exempt_gid = *gid;
    rules.listener_v4 = listeners->port_v4;
    rules.alias_v4 = target->v4();
    rules.loopback = static_cast<bool>(server_.socket);
    loader_.emplace(RuleLoaderSetup{.rules = rules,
                                    .target = std::move(*target),
                                    .engine = choice_,
                                    .packet_ports = rules.ports,
                                    .block_quic = false,
                                    .copy_dns = false,
                                    .watch = false},
                    policy_, RuleLoaderHooks{});
    const auto started = loader_->start();
    if (!started) return started.error();
    return {};
  }

  void step() {
    pollfd ends[] = {{listener_.get(), POLLIN, 0},
                     {server_.socket.get(), POLLIN, 0},
                     {engine() ? engine()->descriptor() : -1, POLLIN, 0}};
    ::poll(ends, std::size(ends), 50);
    if (ends[2].revents) serve_engine();
    if (ends[0].revents) accept_diverted();
    if (ends[1].revents) {
      base::UniqueFd socket{::accept(server_.socket.get(), nullptr, nullptr)};
      if (socket) arrived_.push_back(std::move(socket));
    }
  }

  void serve_engine() {
    for (const auto& effect : engine()->take_requests()) {
      // There is no worker here: the connection is as good as made.
      if (const auto* ahead = std::get_if<ConnectAhead>(&effect))
        engine()->connected(ahead->token, 0);
      if (const auto* reply = std::get_if<Reply>(&effect)) {
        if (concerns_us(reply->ruling))
          recognise(reply->ruling.owner);
        else
          judged_late(reply->ruling.owner);
      }
      const auto* shown = std::get_if<Show>(&effect);
      if (shown && shown->ruling.owner.process)
        passed_.push_back(shown->ruling.owner.process->id.pid);
    }
  }

  void accept_diverted() {
    sockaddr_in peer{};
    socklen_t size = sizeof peer;
    base::UniqueFd socket{::accept(listener_.get(), reinterpret_cast<sockaddr*>(&peer), &size)};
    if (!socket) return;
    sockaddr_in local{};
    size = sizeof local;
    ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&local), &size);
    diverted_.push_back(std::move(socket));
    const auto original = natlook_->lookup(endpoint_of(peer), endpoint_of(local));
    if (!original || !*original || (*original)->destination.port() != port()) return;
    const FlowKey key{(*original)->source, (*original)->destination};
    if (engine() && engine()->accepted(key, {})) return;
    const auto owner = attributor_->owner_of({key.source, key.destination});
    if (engine() && owner.process && owner.process->id.pid == other_) return judged_late(owner);
    recognise(owner);
  }

  /// On a busy machine the packet engine may find an owner too late for the first packet: the
  /// connection is then diverted, whichever program's it is, and passes after the accept.
  void judged_late(const procmap::Owner& owner) {
    if (owner.process) late_.push_back(owner.process->id.pid);
  }

  void recognise(const procmap::Owner& owner) {
    if (owner.process) recognised_.push_back(owner.process->id.pid);
  }

  [[nodiscard]] PacketEngine* engine() { return loader_->engine(); }
  [[nodiscard]] std::uint16_t port() const { return ntohs(server_.address.sin_port); }
  /// A packet that was let pass, and came where it was to go.
  [[nodiscard]] bool passed(pid_t pid) const {
    const bool let = std::ranges::find(passed_, pid) != passed_.end();
    return let && (!server_.socket || !arrived_.empty());
  }
  [[nodiscard]] bool has(pid_t pid) const {
    return std::ranges::find(recognised_, pid) != recognised_.end();
  }
  [[nodiscard]] bool was_late(pid_t pid) const {
    return std::ranges::find(late_, pid) != late_.end();
  }
  [[nodiscard]] bool done(pid_t chosen, pid_t other) const {
    if (!has(chosen)) return false;
    return has(other) || (choice_ == EngineChoice::packet && (passed(other) || was_late(other)));
  }

  [[nodiscard]] base::Result<> judge(pid_t chosen, pid_t other) const {
    if (!has(chosen)) {
      if (!diverted_.empty()) return base::failure("a connection was diverted, but not recognised");
      return base::failure(
          "the connection of a selected program did not arrive at the listener: other rules of "
          "this machine come first");
    }
    if (choice_ == EngineChoice::redirect) {
      if (has(other)) return {};
      return base::failure("the connection of a program that is not selected was not recognised");
    }
    if (has(other)) return base::failure("a program that is not selected was diverted");
    if (was_late(other)) return {};
    if (server_.socket && arrived_.empty())
      return base::failure(
          "the connection of a program that is not selected did not reach its server");
    if (!passed(other))
      return base::failure("the connection of a program that is not selected was not seen");
    return {};
  }

  EngineChoice choice_;
  Server server_;
  base::UniqueFd listener_;
  Policy policy_;
  std::optional<pfctl::Natlook> natlook_;
  std::optional<procmap::Attributor> attributor_;
  std::optional<RuleLoader> loader_;
  std::vector<base::UniqueFd> diverted_;
  std::vector<base::UniqueFd> arrived_;
  std::vector<pid_t> recognised_;
  std::vector<pid_t> passed_;
  std::vector<pid_t> late_;
  pid_t other_ = -1;
};

}  // namespace

base::Result<> self_test(EngineChoice engine, const std::optional<base::Endpoint>& far) {
  auto server = far ? far_away(*far) : serve();
  if (!server) return server.error();
  return SelfTest{engine, std::move(*server)}.run();
}

}  // namespace divert
