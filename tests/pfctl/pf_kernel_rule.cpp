#include "tests/pfctl/pf_kernel_rule.h"

#include <functional>
#include <stdexcept>

#include <fmt/format.h>

namespace pf_kernel {

using pf_grammar::Token;
using pf_grammar::Tokens;

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
      const auto last = colon == text.npos
                            ? first
                            : static_cast<std::uint16_t>(std::stoul(text.substr(colon + 1)));
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
  if (reader.current().text == "inet" || reader.current().text == "inet6")
    rule.family = reader.take();
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

}  // namespace

std::optional<Table> read_table(const Tokens& tokens, std::size_t& at) {
  Reader reader(tokens, at);
  if (!reader.accept("table")) return {};
  Table table{reader.take(), {}};
  reader.accept("const");
  reader.list([&] { table.members.push_back(reader.take()); });
  reader.expect_end();
  return table;
}

Rule read_rule(const Tokens& tokens, std::size_t& at) {
  Reader reader(tokens, at);
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
  } else if (rule.action == "nat") {
    read_conditions(reader, rule);
    reader.expect("->");
    rule.translated = boost::asio::ip::make_address(reader.take());
  } else if (rule.action == "scrub") {
    if (reader.current().text == "in" || reader.current().text == "out")
      rule.direction = reader.take();
    read_conditions(reader, rule);
    if (reader.accept("reassemble")) reader.expect("tcp"), rule.follows_tcp = true;
    if (reader.accept("fragment")) reader.expect("reassemble");
  } else if (rule.action == "pass" || rule.action == "block") {
    if (rule.action == "block" && !reader.accept("return")) reader.accept("drop");
    if (reader.current().text == "in" || reader.current().text == "out")
      rule.direction = reader.take();
    rule.quick = reader.accept("quick");
    read_conditions(reader, rule);
    while (!reader.ends()) read_option(reader, rule);
  } else {
    unknown(reader.current());
  }
  reader.expect_end();
  return rule;
}

}  // namespace pf_kernel
