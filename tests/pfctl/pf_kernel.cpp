#include "tests/pfctl/pf_kernel.h"

#include <algorithm>
#include <functional>
#include <stdexcept>

#include <fmt/format.h>

#include "tests/pfctl/pf_lexer.h"

namespace pf_kernel {

using pf_grammar::Token;
using pf_grammar::Tokens;
using pfctl::Dialect;

/// `any`, an address, a network, a table or `self`.
struct Host {
  bool negated = false;
  std::string text = "any";
  std::vector<base::PortRange> ports;
};

struct Comparison {
  std::string how;  ///< "", "!=", ">="
  std::uint32_t value = 0;
};

struct Rule {
  std::string line;
  std::string action;  ///< pass, block, rdr, anchor, rdr-anchor
  std::string anchor;
  bool no = false;
  bool passes = false;  ///< rdr pass
  bool quick = false;
  std::string direction;
  std::string interface;
  std::string route, reply;  ///< interfaces of route-to and reply-to
  std::string family;
  std::string protocol;
  Host source, destination;
  std::optional<Comparison> user, group;
  std::string flags, flag_mask;
  std::optional<unsigned> tos;
  std::string tag, tagged;
  bool not_tagged = false;
  bool diverts = false;
  bool of_icmp = false;
  bool keeps_state = true;
  base::Endpoint target;  ///< rdr, divert-to of OpenBSD
};

namespace {

[[noreturn]] void unknown(const Token& token) {
  throw std::runtime_error(
      fmt::format("line {}: the model of pf does not know '{}'", token.line, token.text));
}

/// One statement's words.
class Reader {
 public:
  Reader(const Tokens& tokens, std::size_t& at) : tokens_(tokens), at_(at) {}

  [[nodiscard]] const Token& current() const { return tokens_.at(at_); }
  [[nodiscard]] bool ends() const { return current().text == "\n" && !current().quoted; }
  bool accept(std::string_view word) {
    if (ends() || current().text != word) return false;
    ++at_;
    return true;
  }
  std::string take() {
    if (ends()) unknown(current());
    return tokens_.at(at_++).text;
  }
  bool accept_end() {
    if (!ends()) return false;
    ++at_;
    return true;
  }
  void expect_end() {
    if (!accept_end()) unknown(current());
  }
  void expect(std::string_view word) {
    if (!accept(word)) unknown(current());
  }

  /// `item` or `{ item, item ... }`.
  void list(const std::function<void()>& item) {
    if (!accept("{")) return item();
    while (!accept("}")) {
      item();
      accept(",");
    }
  }

  Host host() {
    Host host;
    host.negated = accept("!");
    if (current().text != "port") host.text = take();
    if (!accept("port")) return host;
    list([&] {
      const std::string text = take();
      const auto colon = text.find(':');
      const auto first = static_cast<std::uint16_t>(std::stoul(text.substr(0, colon)));
      const auto last =
          colon == text.npos ? first : static_cast<std::uint16_t>(std::stoul(text.substr(colon + 1)));
      host.ports.push_back({first, last});
    });
    return host;
  }

  Comparison comparison() {
    Comparison found;
    while (current().text.find_first_not_of("!=<>") == std::string::npos) found.how += take();
    found.value = static_cast<std::uint32_t>(std::stoul(take()));
    return found;
  }

  /// (lo0 127.0.0.1), or OpenBSD's address.
  std::string route() {
    if (!accept("(")) return take(), std::string("lo0");
    std::string interface = take();
    take();
    expect(")");
    return interface;
  }

  base::Endpoint endpoint() {
    const auto address = boost::asio::ip::make_address(take());
    expect("port");
    return {address, static_cast<std::uint16_t>(std::stoul(take()))};
  }

 private:
  const Tokens& tokens_;
  std::size_t& at_;
};

void read_conditions(Reader& reader, Rule& rule) {
  if (reader.accept("on")) rule.interface = reader.take();
  if (reader.accept("route-to")) rule.route = reader.route();
  if (reader.accept("reply-to")) rule.reply = reader.route();
  if (reader.current().text == "inet" || reader.current().text == "inet6") rule.family = reader.take();
  if (reader.accept("proto")) rule.protocol = reader.take();
  if (reader.accept("all")) return;
  if (reader.accept("from")) rule.source = reader.host();
  if (reader.accept("to")) rule.destination = reader.host();
}

void read_option(Reader& reader, Rule& rule) {
  if (reader.accept("user")) {
    rule.user = reader.comparison();
  } else if (reader.accept("group")) {
    rule.group = reader.comparison();
  } else if (reader.accept("flags")) {
    const std::string flags = reader.take();
    if (flags == "any") return;
    const auto slash = flags.find('/');
    rule.flags = flags.substr(0, slash);
    rule.flag_mask = flags.substr(slash + 1);
  } else if (reader.accept("tos")) {
    rule.tos = static_cast<unsigned>(std::stoul(reader.take(), nullptr, 0));
  } else if (reader.accept("tag")) {
    rule.tag = reader.take();
  } else if (reader.accept("tagged")) {
    rule.tagged = reader.take();
  } else if (reader.accept("!")) {
    reader.expect("tagged");
    rule.tagged = reader.take();
    rule.not_tagged = true;
  } else if (reader.accept("icmp-type")) {
    rule.of_icmp = true;
    reader.expect("unreach");
  } else if (reader.accept("divert-to")) {
    rule.diverts = true;
    rule.target = reader.endpoint();
  } else if (reader.accept("route-to")) {
    rule.route = reader.route();
  } else if (reader.accept("label")) {
    reader.take();
  } else if (reader.accept("keep")) {
    reader.expect("state");
  } else if (reader.accept("no")) {
    reader.expect("state");
    rule.keeps_state = false;
  } else {
    unknown(reader.current());
  }
}

Rule read_rule(Reader& reader) {
  Rule rule;
  rule.no = reader.accept("no");
  rule.action = reader.take();
  if (rule.action == "anchor" || rule.action == "rdr-anchor") {
    rule.anchor = reader.take();
    reader.accept("all");
  } else if (rule.action == "rdr") {
    rule.passes = reader.accept("pass");
    read_conditions(reader, rule);
    if (reader.accept("tagged")) rule.tagged = reader.take();
    if (!rule.no) {
      reader.expect("->");
      rule.target = reader.endpoint();
    }
  } else if (rule.action == "pass" || rule.action == "block") {
    if (rule.action == "block" && !reader.accept("return")) reader.accept("drop");
    if (reader.current().text == "in" || reader.current().text == "out") rule.direction = reader.take();
    rule.quick = reader.accept("quick");
    read_conditions(reader, rule);
    while (!reader.ends()) read_option(reader, rule);
  } else {
    unknown(reader.current());
  }
  reader.expect_end();
  return rule;
}

bool holds(const Comparison& wanted, std::uint32_t value) {
  if (wanted.how == "!=") return value != wanted.value;
  return wanted.how == ">=" ? value >= wanted.value : value == wanted.value;
}

/// pf_match_uid() with an unknown user: = and != compare it as a number, the others never match.
bool holds(const Comparison& wanted, const std::optional<Owner>& owner, std::uint32_t Owner::*id) {
  if (owner) return holds(wanted, (*owner).*id);
  return wanted.how == "!=";
}

bool holds_port(const std::vector<base::PortRange>& ports, std::uint16_t port) {
  return ports.empty() || std::ranges::any_of(ports, [&](const auto& range) { return range.contains(port); });
}

bool fits_flags(const Rule& rule, const std::string& flags) {
  return std::ranges::all_of(rule.flag_mask, [&](char flag) {
    return (flags.find(flag) != flags.npos) == (rule.flags.find(flag) != rule.flags.npos);
  });
}

}  // namespace

const char* name_of(Fate fate) {
  constexpr const char* kNames[] = {"leaves", "arrives", "diverted", "held", "blocked", "lost"};
  return kNames[static_cast<std::size_t>(fate)];
}

Kernel::Kernel(Dialect dialect) : dialect_(dialect) {}
Kernel::~Kernel() = default;

Kernel::Rules Kernel::parsed(std::string_view text) {
  const auto tokens = pf_grammar::tokens_of(text);
  if (!tokens) throw std::runtime_error(tokens.error().text);
  Rules rules;
  for (std::size_t at = 0; at < tokens->size();) {
    Reader reader(*tokens, at);
    if (reader.accept_end()) continue;
    if (reader.accept("table")) {
      auto& members = tables_[reader.take()];
      members.clear();
      reader.accept("const");
      reader.list([&] { members.push_back(reader.take()); });
      reader.expect_end();
      continue;
    }
    const std::size_t begin = at;
    rules.push_back(read_rule(reader));
    for (std::size_t i = begin; i + 1 < at; ++i) {
      auto& line = rules.back().line;
      line += (line.empty() ? "" : " ") + (*tokens)[i].text;
    }
  }
  return rules;
}

void Kernel::load_main(std::string_view text) {
  main_ = parsed(text);
}

void Kernel::load_anchor(const std::string& name, std::string_view text) {
  anchors_[name] = parsed(text);
}

bool Kernel::is_own(const base::Address& address) const {
  return address.is_loopback() || own.contains(address);
}

bool Kernel::holds_address(const Host& host, const base::Address& address) const {
  const auto in = [&](const std::string& text) {
    if (text == "any") return true;
    if (text == "self") return is_own(address);
    const auto network = base::parse_network(text);
    if (!network) throw std::runtime_error("the model of pf does not know the host " + text);
    return network->contains(address);
  };
  if (!host.text.starts_with('<')) return in(host.text) != host.negated;
  return std::ranges::any_of(tables_.at(host.text), in) != host.negated;
}

bool Kernel::matches(const Rule& rule, const Pass& pass) const {
  const Packet& packet = pass.packet;
  const bool v4 = packet.destination.address().is_v4();
  if (!rule.direction.empty() && (rule.direction == "in") != pass.in) return false;
  if (!rule.interface.empty() && rule.interface != pass.interface) return false;
  if (!rule.family.empty() && (rule.family == "inet") != v4) return false;
  if (!rule.protocol.empty() && rule.protocol != packet.protocol) return false;
  if (!holds_address(rule.source, packet.source.address())) return false;
  if (!holds_address(rule.destination, packet.destination.address())) return false;
  if (!holds_port(rule.source.ports, packet.source.port())) return false;
  if (!holds_port(rule.destination.ports, packet.destination.port())) return false;
  if (!rule.flag_mask.empty() && !fits_flags(rule, packet.flags)) return false;
  if (rule.tos && *rule.tos != packet.tos) return false;
  if (rule.user && !holds(*rule.user, packet.owner, &Owner::uid)) return false;
  if (rule.group && !holds(*rule.group, packet.owner, &Owner::gid)) return false;
  return rule.tagged.empty() || (rule.tagged == pass.tag) != rule.not_tagged;
}

/// By name, or the direct children of "com.apple/*" in the order of their names.
std::vector<std::string> Kernel::referred(const std::string& name) const {
  std::vector<std::string> found;
  const bool children = name.ends_with("/*");
  const std::string_view parent = std::string_view(name).substr(0, name.size() - 1);
  for (const auto& [each, rules] : anchors_) {
    const bool child = children && each.starts_with(parent) && each.find('/', parent.size()) == each.npos;
    if (each == name || child) found.push_back(each);
  }
  return found;
}

/// True: a `quick` rule has matched, in whatever anchor.
bool Kernel::evaluate(const Rules& rules, Pass& pass, const Rule*& last) {
  for (const auto& rule : rules) {
    if (rule.action == "rdr" || rule.action == "rdr-anchor") continue;
    if (!matches(rule, pass)) continue;
    if (rule.action == "anchor") {
      for (const auto& each : referred(rule.anchor)) {
        if (evaluate(anchors_.at(each), pass, last)) return true;
      }
      continue;
    }
    // The tag of every rule that matches holds at once, for the rules behind it.
    if (!rule.tag.empty()) pass.tag = rule.tag;
    last = &rule;
    if (rule.quick) return true;
  }
  return false;
}

/// The first match wins.
const Rule* Kernel::translation(const Rules& rules, const Pass& pass, bool& over) const {
  for (const auto& rule : rules) {
    if (rule.action == "rdr-anchor") {
      for (const auto& each : referred(rule.anchor)) {
        const Rule* found = translation(anchors_.at(each), pass, over);
        if (over) return found;
      }
    }
    if (rule.action != "rdr" || !matches(rule, pass)) continue;
    over = true;
    return rule.no ? nullptr : &rule;
  }
  return nullptr;
}

Fate Kernel::answer(const Packet& sent) {
  if (state_) return Fate::arrives;
  const Packet back{.source = sent.destination, .destination = sent.source, .flags = "SA"};
  Pass pass{back, outside(), true, {}};
  const Rule* last = nullptr;
  evaluate(main_, pass, last);
  return last && last->action == "block" ? Fate::blocked : Fate::arrives;
}

std::string_view Kernel::outside() const {
  return dialect_ == Dialect::darwin ? "en0" : "em0";
}

Fate Kernel::send(const Packet& packet) {
  decided_.clear();
  const bool local = is_own(packet.destination.address());
  Pass pass{packet, local ? "lo0" : outside(), false, {}};
  const Rule* last = nullptr;
  evaluate(main_, pass, last);
  if (last) decided_.push_back(last->line);
  state_ = last && last->action == "pass" && last->keeps_state;
  if (last && last->action == "block") return Fate::blocked;
  if (last && last->diverts) return Fate::held;
  std::string_view interface = last && !last->route.empty() ? std::string_view(last->route) : pass.interface;
  if (!interface.starts_with("lo")) return Fate::leaves;
  // On its way out on lo0 a packet that was bent has its state.
  if (packet.destination.address().is_v6()) interface = "lo0";
  // Tags are lost there: on FreeBSD since 14, on macOS always.
  return come_in(packet, interface, dialect_ == Dialect::openbsd ? pass.tag : std::string());
}

Fate Kernel::come_in(Packet packet, std::string_view interface, std::string tag) {
  packet.owner.reset();
  const base::Address program = packet.source.address();
  bool over = false;
  const Rule* redirected = translation(main_, {packet, interface, true, tag}, over);
  if (redirected) packet.destination = redirected->target;
  std::string replies;
  if (!redirected || !redirected->passes) {
    Pass pass{packet, interface, true, std::move(tag)};
    const Rule* last = nullptr;
    evaluate(main_, pass, last);
    if (last) decided_.push_back(last->line);
    if (last && last->action == "block") return Fate::blocked;
    if (last && last->diverts) return Fate::diverted;
    if (last) replies = last->reply;
  }
  if (listeners.contains(packet.destination))
    return tunnels.contains(program) && replies.empty() ? Fate::lost : Fate::diverted;
  return is_own(packet.destination.address()) ? Fate::arrives : Fate::lost;
}

}  // namespace pf_kernel
