// Packing and unpacking. The worker is the less trusted end: the broker reads nothing from it but
// fixed-size questions and one-letter messages. Answers are decoded with every length checked all
// the same.
#include "divert/link/wire.h"

#include <cstring>

#include "procmap/program_names.h"

namespace divert::wire {
namespace {

namespace ip = boost::asio::ip;

/// More than this of argv is of no use in a flow and would not fit a datagram.
constexpr std::size_t kMaxArgv = 16 << 10;
constexpr std::size_t kMaxText = 8 << 10;

class Writer {
 public:
  template <class Number>
  void number(Number value) {
    static_assert(std::is_trivially_copyable_v<Number>);
    bytes_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  void text(std::string_view value) {
    value = value.substr(0, kMaxText);
    number(static_cast<std::uint32_t>(value.size()));
    bytes_.append(value);
  }
  std::string take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

/// Reads zeros and empty texts once the bytes have run out; good() tells.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}
  template <class Number>
  Number number() {
    Number value{};
    if (!take(sizeof value)) return value;
    std::memcpy(&value, taken_.data(), sizeof value);
    return value;
  }
  std::string text() {
    const auto size = number<std::uint32_t>();
    return take(size) ? std::string(taken_) : std::string();
  }
  [[nodiscard]] std::string_view rest() const { return bytes_; }
  [[nodiscard]] bool good() const { return good_; }
  [[nodiscard]] bool done() const { return good_ && bytes_.empty(); }

 private:
  bool take(std::size_t n) {
    good_ = good_ && n <= bytes_.size();
    if (!good_) return false;
    taken_ = bytes_.substr(0, n);
    bytes_.remove_prefix(n);
    return true;
  }
  std::string_view bytes_;
  std::string_view taken_;
  bool good_ = true;
};

void write(Writer& out, const std::optional<base::Endpoint>& endpoint) {
  out.number(endpoint ? pack(*endpoint) : PackedEndpoint{});
}

void write(Writer& out, const Verdict& verdict) {
  out.number(verdict.action);
  out.text(verdict.reason);
  out.number(verdict.rule);
  out.number(static_cast<std::uint32_t>(verdict.by_host.size()));
  for (const auto& choice : verdict.by_host) {
    out.number(choice.rule);
    out.number(choice.action);
  }
}

void write(Writer& out, const procmap::ProcessFacts& facts) {
  out.number(facts.id);
  out.number(facts.ppid);
  out.number(facts.uid);
  out.number(facts.gid);
  out.number(facts.start_time.time_since_epoch().count());
  for (const auto* text : {&facts.name, &facts.exe, &facts.user, &facts.group, &facts.cgroup})
    out.text(*text);
  std::size_t room = kMaxArgv;
  std::uint32_t count = 0;
  for (const auto& argument : facts.argv) {
    if (argument.size() > room) break;
    room -= argument.size() + std::min<std::size_t>(room - argument.size(), sizeof count);
    ++count;
  }
  out.number(count);
  for (std::uint32_t i = 0; i < count; ++i) out.text(facts.argv[i]);
  const auto links = static_cast<std::uint32_t>(std::min<std::size_t>(facts.ancestors.size(), 64));
  out.number(links);
  for (std::uint32_t i = 0; i < links; ++i) {
    out.number(facts.ancestors[i].id);
    out.text(std::string_view(facts.ancestors[i].exe).substr(0, 512));
  }
}

Verdict read_verdict(Reader& in) {
  Verdict verdict;
  verdict.action = in.number<Action>();
  verdict.reason = in.text();
  verdict.rule = in.number<std::uint16_t>();
  for (auto n = in.number<std::uint32_t>(); n > 0 && in.good(); --n) {
    const auto rule = in.number<std::uint16_t>();
    verdict.by_host.push_back({rule, in.number<Action>()});
  }
  return verdict;
}

procmap::ProcessFacts read_facts(Reader& in) {
  procmap::ProcessFacts facts;
  facts.id = in.number<procmap::ProcessId>();
  facts.ppid = in.number<pid_t>();
  facts.uid = in.number<uid_t>();
  facts.gid = in.number<gid_t>();
  using Time = std::chrono::system_clock::time_point;
  facts.start_time = Time{Time::duration{in.number<Time::rep>()}};
  for (auto* text : {&facts.name, &facts.exe, &facts.user, &facts.group, &facts.cgroup})
    *text = in.text();
  for (auto n = in.number<std::uint32_t>(); n > 0 && in.good(); --n)
    facts.argv.push_back(in.text());
  for (auto n = in.number<std::uint32_t>(); n > 0 && in.good(); --n) {
    const auto id = in.number<procmap::ProcessId>();
    facts.ancestors.push_back({id, in.text()});
  }
  return facts;
}

void write(Writer& out, const ConnectionFacts& connection) {
  write(out, connection.source);
  write(out, connection.destination);
  out.number(connection.own);
  out.number(connection.as_program);
  write(out, connection.verdict);
  out.number(connection.process != nullptr);
  if (connection.process) write(out, *connection.process);
}

std::shared_ptr<const procmap::ProcessFacts> read_process(Reader& in, KnownProcesses& known) {
  const std::string_view before = in.rest();
  procmap::ProcessFacts facts = read_facts(in);
  if (!in.good()) return nullptr;
  const std::string_view read = before.substr(0, before.size() - in.rest().size());
  if (const auto* same = known.find(read)) return *same;
  facts.other_names =
      procmap::names_in_arguments(facts.exe.empty() ? facts.name : facts.exe, facts.argv);
  return known.put(std::string(read),
                   std::make_shared<const procmap::ProcessFacts>(std::move(facts)));
}

ConnectionFacts read_connection(Reader& in, KnownProcesses& known) {
  ConnectionFacts connection;
  connection.source = unpack(in.number<PackedEndpoint>());
  connection.destination = unpack(in.number<PackedEndpoint>());
  connection.own = in.number<std::uint8_t>() != 0;
  connection.as_program = in.number<std::uint8_t>() != 0;
  connection.verdict = read_verdict(in);
  if (in.number<std::uint8_t>() != 0) connection.process = read_process(in, known);
  return connection;
}

/// The first byte of a message.
enum class Kind : std::uint8_t { answer, connect, connect_again, show, quic_refused, dns };

using Time = std::chrono::steady_clock::time_point;

/// Behind the connection; empty but in a DnsCopy.
struct Datagram {
  bool from_server = false;
  std::string_view payload{};
  Time came{};
};

std::string encode_message(Kind kind, std::uint64_t id, std::uint64_t upstream,
                           const ConnectionFacts& connection, const Datagram& datagram) {
  Writer out;
  out.number(kind);
  out.number(id);
  out.number(upstream);
  write(out, connection);
  out.number(datagram.from_server);
  out.text(datagram.payload);
  // One clock for all processes of a machine.
  out.number(static_cast<std::int64_t>(datagram.came.time_since_epoch().count()));
  return out.take();
}

}  // namespace

PackedEndpoint pack(const base::Endpoint& endpoint) {
  PackedEndpoint packed{};
  packed.port = endpoint.port();
  packed.family = endpoint.address().is_v4() ? 4 : 6;
  const auto copy = [&](const auto& bytes) {
    std::memcpy(packed.address, bytes.data(), bytes.size());
  };
  endpoint.address().is_v4() ? copy(endpoint.address().to_v4().to_bytes())
                             : copy(endpoint.address().to_v6().to_bytes());
  return packed;
}

std::optional<base::Endpoint> unpack(const PackedEndpoint& packed) {
  if (packed.family == 4) {
    ip::address_v4::bytes_type bytes;
    std::memcpy(bytes.data(), packed.address, bytes.size());
    return base::Endpoint{ip::address_v4{bytes}, packed.port};
  }
  if (packed.family == 6) {
    ip::address_v6::bytes_type bytes;
    std::memcpy(bytes.data(), packed.address, bytes.size());
    return base::Endpoint{ip::address_v6{bytes}, packed.port};
  }
  return std::nullopt;
}

std::string encode(const Answer& answer) {
  return encode_message(Kind::answer, answer.id, answer.upstream, answer.connection, {});
}

std::string encode(const ConnectOrder& order) {
  return encode_message(order.again ? Kind::connect_again : Kind::connect, order.token, 0,
                        order.connection, {});
}

std::string encode(const ShowOrder& order) {
  return encode_message(Kind::show, 0, 0, order.connection, {});
}

std::string encode(const QuicNotice& notice) {
  return encode_message(Kind::quic_refused, 0, 0, notice.connection, {});
}

std::string encode(const DnsCopy& copy) {
  return encode_message(Kind::dns, 0, 0, copy.connection,
                        {copy.from_server, copy.payload, copy.came});
}

std::optional<Message> decode(std::string_view bytes, KnownProcesses& known) {
  Reader in{bytes};
  const auto kind = in.number<Kind>();
  const auto id = in.number<std::uint64_t>();
  const auto upstream = in.number<std::uint64_t>();
  ConnectionFacts connection = read_connection(in, known);
  const bool from_server = in.number<std::uint8_t>() != 0;
  std::string payload = in.text();
  const Time came{Time::duration{in.number<std::int64_t>()}};
  if (!in.done() || connection.verdict.action > Action::block) return std::nullopt;
  switch (kind) {
    case Kind::answer:
      return Answer{id, upstream, std::move(connection)};
    case Kind::connect:
    case Kind::connect_again:
      return ConnectOrder{id, kind == Kind::connect_again, std::move(connection)};
    case Kind::show:
      return ShowOrder{std::move(connection)};
    case Kind::quic_refused:
      return QuicNotice{std::move(connection)};
    case Kind::dns:
      return DnsCopy{std::move(connection), from_server, std::move(payload), came};
  }
  return std::nullopt;
}

ConnectionFacts& connection_of(Message& message) {
  return std::visit([](auto& each) -> ConnectionFacts& { return each.connection; }, message);
}

std::string encode(Control kind, std::string_view text) {
  std::string message(1, static_cast<char>(kind));
  message.append(text.substr(0, kMaxMessage - 1));
  return message;
}

std::string encode(const LogMessage& message) {
  std::string text(1, static_cast<char>(message.level));
  return encode(Control::log, text.append(message.line));
}

std::optional<LogMessage> decode_log(std::string_view text) {
  if (text.empty()) return std::nullopt;
  const auto level = static_cast<base::LogLevel>(text.front());
  switch (level) {
    case base::LogLevel::info:
    case base::LogLevel::warning:
    case base::LogLevel::error:
      return LogMessage{level, text.substr(1)};
  }
  return std::nullopt;
}

}  // namespace divert::wire
