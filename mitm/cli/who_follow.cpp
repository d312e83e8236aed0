// Root receives copies of first packets, finds their owners and sends both to a process without
// rights, which reads the copies of DNS, compares with what was asked for and prints.
#include "mitm/cli/who_follow.h"

#include <chrono>
#include <cstdio>
#include <ctime>
#include <map>

#include <nlohmann/json.hpp>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/host_pattern.h"
#include "base/lru_cache.h"
#include "base/text.h"
#include "divert/link/message_socket.h"
#include "divert/link/wire.h"
#include "divert/packet/connection_watch.h"
#include "divert/process/confine.h"
#include "divert/process/privilege.h"
#include "mitm/cli/host_addresses.h"
#include "mitm/cli/log_line.h"
#include "mitm/cli/who_what.h"
#include "mitm/cli/worker_process.h"
#include "mitm/dns/names.h"
#include "procmap/who.h"

namespace mitm::cli {
namespace {

using base::Result;
using divert::FlowKey;
using divert::MessageSocket;
using nlohmann::json;
using nlohmann::ordered_json;

constexpr std::size_t kMostQuestions = 4096;

std::string local_time() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  ::localtime_r(&now, &parts);
  return fmt::format("{:02}:{:02}:{:02}", parts.tm_hour, parts.tm_min, parts.tm_sec);
}

/// The names of addresses, as the programs of this machine have looked them up.
class LookedUp {
 public:
  /// A datagram to a name server or from one.
  void take(const std::string& source, const std::string& destination, std::string_view payload,
            const HostPort& wanted) {
    const auto message = dns::parse(payload);
    if (!message) return;
    const auto key = [&](const std::string& program, const std::string& server) {
      return fmt::format("{} {} {}", program, server, message->id);
    };
    if (!message->response) {
      questions_.put(key(source, destination), message->name);
      return;
    }
    // Anybody can send what looks like an answer.
    const std::string* const asked = questions_.find(key(destination, source));
    if (!asked || !base::host_matches(*asked, message->name)) return;
    names_.learn(*message);
    if (wanted.host.empty() || !base::host_matches(wanted.host, message->name)) return;
    for (const auto& record : message->answers) {
      if (record.type == "A" || record.type == "AAAA") add(record.data, message->name);
    }
  }

  /// An address of the host that was asked for.
  void add(const std::string& address, const std::string& name) { wanted_[address] = name; }
  [[nodiscard]] bool is_wanted(const base::Address& address) const {
    return wanted_.contains(address.to_string());
  }
  /// Empty: not known.
  [[nodiscard]] std::string name_of(const base::Address& address) const {
    const auto found = wanted_.find(address.to_string());
    return found != wanted_.end() ? found->second : names_.find(address);
  }

 private:
  base::LruCache<std::string, std::string> questions_{kMostQuestions};
  dns::Names names_;
  std::map<std::string, std::string> wanted_;
};

/// The process without rights.
class Printer {
 public:
  Printer(MessageSocket link, What what, std::string word, Format format)
      : link_(std::move(link)), what_(std::move(what)), word_(std::move(word)), format_(format) {}

  /// Until the other process has ended or nothing can be printed any more; its exit status.
  int run() {
    std::string buffer(divert::wire::kMaxMessage, '\0');
    for (;;) {
      const ssize_t size = link_.receive(buffer, MessageSocket::Wait::yes);
      if (size <= 0) return 0;
      const auto message = json::from_cbor(buffer.begin(), buffer.begin() + size, true, false);
      if (!message.is_object()) continue;
      if (message.contains("ready")) begin();
      if (message.contains("dns")) take_dns(message);
      if (message.contains("row")) take_connection(message);
      if (std::ferror(stdout) != 0) return 0;
    }
  }

  /// Asks the name services.
  void resolve() {
    const std::string& host = what_.host.host;
    if (host.empty() || host.starts_with('*')) return;
    for (const auto& address : addresses_of(host)) {
      addresses_.push_back(address.to_string());
      names_.add(addresses_.back(), host);
    }
  }

 private:
  void begin() {
    const std::string which =
        word_.empty()
            ? "of every program"
            : fmt::format(
                  "at '{}'{}", word_,
                  addresses_.empty() ? "" : fmt::format(" ({})", fmt::join(addresses_, ", ")));
    log_line(fmt::format("new connections {}, none is touched; Ctrl-C ends this", which));
    if (format_ == Format::text) print_line("TIME", "PID", "USER", "REMOTE", "PROCESS");
  }

  static void print_line(std::string_view time, std::string_view pid, std::string_view user,
                         std::string_view remote, std::string_view process) {
    fmt::print("{:<8}  {:>7}  {:<10}  {:<40}  {}\n", time, pid, user, remote, process);
    std::fflush(stdout);
  }

  void take_dns(const json& message) {
    const std::string payload = message.value("dns", std::string());
    names_.take(message.value("source", std::string()), message.value("destination", std::string()),
                payload, what_.host);
  }

  [[nodiscard]] bool is_wanted(const base::Endpoint& remote, bool selected) const {
    if (selected || what_.is_everything()) return true;
    const auto address = base::unmapped(remote.address());
    if (what_.end) {
      return (what_.end->port == 0 || what_.end->port == remote.port()) &&
             (!what_.end->address || *what_.end->address == address);
    }
    const HostPort& host = what_.host;
    return !host.host.empty() && (host.port == 0 || host.port == remote.port()) &&
           names_.is_wanted(address);
  }

  void take_connection(const json& message) {
    auto row = ordered_json::parse(message.value("row", std::string()), nullptr, false);
    if (!row.is_object() || !row["remote"].is_string()) return;
    const auto remote = base::parse_endpoint(row["remote"].get<std::string>());
    if (!remote || !is_wanted(*remote, message.value("selected", false))) return;
    const std::string host = names_.name_of(base::unmapped(remote->address()));
    const bool quic = message.value("quic", false);
    if (format_ == Format::text) {
      const auto& process = row["process"];
      const bool known = process.is_object();
      print_line(local_time(), known ? process["pid"].dump() : "-",
                 base::printable(known ? process["user"].get<std::string>() : "-"),
                 fmt::format("{}{}{}", row["remote"].get<std::string>(),
                             host.empty() ? "" : " " + base::printable(host), quic ? " QUIC" : ""),
                 known ? message.value("program", std::string()) : "unknown");
      return;
    }
    ordered_json line{{"time", base::rfc3339(std::chrono::system_clock::now())},
                      {"protocol", quic ? "quic" : "tcp"},
                      {"local", row["local"]},
                      {"remote", row["remote"]},
                      {"host", host.empty() ? ordered_json(nullptr) : ordered_json(host)},
                      {"process", row["process"]}};
    fmt::print("{}\n", line.dump(-1, ' ', true, json::error_handler_t::replace));
    std::fflush(stdout);
  }

  MessageSocket link_;
  What what_;
  std::string word_;
  Format format_;
  std::vector<std::string> addresses_;
  LookedUp names_;
};

int run_printer(Printer printer, const base::User& user) {
  ::tzset();
  const auto became = divert::become_worker(user, user.gid);
  if (became) printer.resolve();
  const auto confined = became ? divert::confine({}) : became.error();
  if (!confined) {
    log_line(confined.error().text);
    return 1;
  }
  return printer.run();
}

/// What root sends. Not more than a message can hold: arguments go first.
std::string connection_message(const FlowKey& key, const procmap::Owner& owner, bool selected) {
  procmap::SocketRow row{key.source, key.destination, "SYN-SENT", owner};
  const auto encoded = [&] {
    const json message{{"row", procmap::render_who_jsonl({row})},
                       {"program", owner.process ? procmap::program_text(*owner.process) : ""},
                       {"selected", selected},
                       {"quic", key.udp}};
    const auto bytes = json::to_cbor(message);
    return std::string(bytes.begin(), bytes.end());
  };
  std::string message = encoded();
  if (message.size() <= divert::wire::kMaxMessage || !owner.process) return message;
  auto shorter = std::make_shared<procmap::ProcessFacts>(*owner.process);
  shorter->argv.resize(std::min<std::size_t>(shorter->argv.size(), 1));
  row.owner.process = std::move(shorter);
  return encoded();
}

std::string dns_message(const FlowKey& key, std::string_view payload) {
  // A CBOR text may be any bytes here: both ends are this program.
  const auto bytes = json::to_cbor(json{{"dns", std::string(payload)},
                                        {"source", base::to_string(key.source)},
                                        {"destination", base::to_string(key.destination)}});
  return {bytes.begin(), bytes.end()};
}

/// Root's part, until the printer has ended.
Result<> watch(MessageSocket& link, const What& what) {
  bool gone = false;
  const auto send = [&](const std::string& message) {
    const int error = link.send(message, MessageSocket::Wait::yes);
    if (error != 0 && error != EMSGSIZE) gone = true;
  };
  auto watch = divert::ConnectionWatch::open(
      {[&](const FlowKey& key, const procmap::Owner& owner) {
         const bool selected = what.filter && what.filter->matches(owner);
         send(connection_message(key, owner, selected));
       },
       [&](const FlowKey& key, std::string_view payload) { send(dns_message(key, payload)); }});
  if (!watch) return watch.error();
  const auto ready = json::to_cbor(json{{"ready", true}});
  send({ready.begin(), ready.end()});
  while (!gone) {
    pollfd sources[] = {{watch->descriptor(), POLLIN, 0}, {link.descriptor(), 0, 0}};
    if (::poll(sources, 2, -1) < 0 && errno != EINTR) return base::os_error("poll", errno);
    if ((sources[1].revents & (POLLHUP | POLLERR)) != 0) return {};
    const auto lost = watch->receive();
    if (!lost) return lost.error();
    if (*lost) log_line("there was no room for some connections: they are not shown");
  }
  return {};
}

}  // namespace

Result<int> follow_connections(const std::string& word, Format format, const base::User& user) {
  const auto what = parse_what(word);
  if (!what) return what.error();
  auto link = MessageSocket::make_pair();
  if (!link) return link.error();
  const pid_t child = ::fork();
  if (child < 0) return base::os_error("cannot start a process", errno);
  if (child == 0) {
    link->ours = {};
    ::_exit(run_printer({std::move(link->theirs), *what, word, format}, worker_user(user)));
  }
  link->theirs = {};
  const auto watched = watch(link->ours, *what);
  link->ours = {};
  int status = 0;
  while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  if (!watched) return watched.error();
  return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

}  // namespace mitm::cli
