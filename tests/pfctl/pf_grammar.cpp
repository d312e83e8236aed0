// Written from parse.y and pf.conf(5) of the three systems, and on purpose not from
// pfctl/pf_statements: a mistake made there shall not be made here again.
#include "tests/pfctl/pf_grammar.h"

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/network.h"
#include "tests/pfctl/pf_lexer.h"
#include "tests/pfctl/pf_traps.h"

namespace pf_grammar {
namespace {

using base::Result;
using pfctl::Dialect;

bool one_of(std::string_view word, std::initializer_list<std::string_view> words) {
  return std::ranges::find(words, word) != words.end();
}

bool is_number(std::string_view word) {
  return !word.empty() && std::ranges::all_of(word, [](char c) { return c >= '0' && c <= '9'; });
}

/// An address, a network, or what can be the name of an interface: letters, then a number.
bool is_address_or_interface(const std::string& word) {
  if (base::parse_network(word)) return true;
  const auto digits = word.find_last_not_of("0123456789") + 1;
  const bool letters = word.find_first_not_of("abcdefghijklmnopqrstuvwxyz") >= digits;
  return digits > 0 && digits < word.size() && letters;
}

class Parser {
 public:
  Parser(Tokens tokens, Dialect dialect)
      : tokens_(std::move(tokens)), dialect_(dialect), traps_(dialect) {}

  void file() {
    while (at_ < tokens_.size()) {
      if (accept("\n")) continue;
      statement(false);
    }
    trapped([&] { traps_.check_end(); });
    for (const auto& [tag, line] : tags_asked_) {
      if (!tags_set_.contains(tag))
        throw Wrong{fmt::format("line {}: nobody sets the tag {}", line, tag)};
    }
  }

 private:
  template <class... Args>
  [[noreturn]] void fail(fmt::format_string<Args...> text, Args&&... args) const {
    throw Wrong{
        fmt::format("line {}: {}", current().line, fmt::format(text, std::forward<Args>(args)...))};
  }

  template <class Check>
  void trapped(Check check) const {
    try {
      check();
    } catch (const Wrong& wrong) {
      fail("{}", wrong.text);
    }
  }

  [[nodiscard]] const Token& current() const { return tokens_[std::min(at_, tokens_.size() - 1)]; }
  [[nodiscard]] bool is(std::string_view word) const {
    return at_ < tokens_.size() && !current().quoted && current().text == word;
  }
  [[nodiscard]] bool is_one_of(std::initializer_list<std::string_view> words) const {
    return at_ < tokens_.size() && !current().quoted && one_of(current().text, words);
  }
  bool accept(std::string_view word) {
    if (!is(word)) return false;
    ++at_;
    return true;
  }
  void expect(std::string_view word) {
    if (!accept(word)) fail("expected '{}', found '{}'", word, current().text);
  }
  std::string take() {
    if (is("\n") || at_ >= tokens_.size()) fail("the statement ends too early");
    return tokens_[at_++].text;
  }
  std::string take_word() {
    if (!current().quoted && current().text.find_first_of("(){}<>!=,\n") != std::string::npos) {
      fail("expected a word, found '{}'", current().text);
    }
    return take();
  }
  void newlines() {
    while (accept("\n")) {
    }
  }
  void end_of_statement() {
    if (!accept("\n") && !is("}")) fail("unknown word '{}'", current().text);
  }

  /// A macro's value takes its name's place.
  void expand() {
    while (at_ < tokens_.size() && !current().quoted && current().text.starts_with('$')) {
      const auto found = macros_.find(current().text.substr(1));
      if (found == macros_.end()) fail("macro '{}' is not defined", current().text);
      const std::size_t line = current().line;
      tokens_.erase(tokens_.begin() + static_cast<std::ptrdiff_t>(at_));
      Tokens value = found->second;
      for (auto& token : value) token.line = line;
      tokens_.insert(tokens_.begin() + static_cast<std::ptrdiff_t>(at_), value.begin(),
                     value.end());
    }
  }

  /// `item` or `{ item, item ... }`, over lines.
  template <class Item>
  void list(Item item) {
    expand();
    if (!accept("{")) return item(false);
    newlines();
    bool negated = false;
    int count = 0;
    do {
      newlines();
      expand();
      if (at_ >= tokens_.size()) fail("a brace is never closed");
      negated = negated || is("!");
      item(true);
      ++count;
      newlines();
      accept(",");
      newlines();
      expand();
    } while (!accept("}"));
    if (negated && count > 1 && !in_table_)
      fail("a negation in a list becomes rules that together match everything");
  }

  // --- statements

  void in_order(int rank, std::string_view what) {
    if (dialect_ == Dialect::openbsd || !require_order_) return;
    if (rank < rank_) {
      fail(
          "{} stands too late: rules must be in order: options, normalization, queueing, "
          "translation, filtering",
          what);
    }
    rank_ = rank;
  }

  void statement(bool nested) {
    expand();
    if (at_ + 1 < tokens_.size() && tokens_[at_ + 1].text == "=" && !tokens_[at_ + 1].quoted)
      return macro();
    const std::string word = current().text;
    if (one_of(word, {"pass", "block", "match"})) return filter_rule();
    if (word == "anchor") return anchor();
    if (nested) fail("unknown word '{}' in an anchor", word);
    if (word == "set") return option();
    if (word == "table") return table();
    if (word == "load") return load();
    if (word == "antispoof") return antispoof();
    if (word == "include") {
      take();
      take_word();
      return end_of_statement();
    }
    if (one_of(word, {"altq", "queue"})) return rest(3, word);
    if (dialect_ != Dialect::openbsd) {
      if (one_of(word, {"scrub", "scrub-anchor"})) return rest(2, word);
      if (one_of(word, {"nat-anchor", "rdr-anchor", "binat-anchor"})) return translation_anchor();
      if (one_of(word, {"no", "rdr", "nat", "binat"})) return translation_rule();
    }
    if (dialect_ == Dialect::darwin && one_of(word, {"dummynet-anchor", "dummynet"}))
      return rest(5, word);
    fail("unknown word '{}'", word);
  }

  void macro() {
    const std::string name = take_word();
    expect("=");
    Tokens value;
    while (!is("\n")) {
      expand();
      if (is("\n")) break;
      if (current().quoted) {
        auto inner = tokens_of(current().text);
        if (!inner) fail("{}", inner.error().text);
        inner->pop_back();
        value.insert(value.end(), inner->begin(), inner->end());
      } else {
        value.push_back(current());
      }
      ++at_;
    }
    if (value.empty()) fail("macro '{}' has no value", name);
    macros_[name] = std::move(value);
  }

  /// A statement of which only the place counts here.
  void rest(int rank, std::string_view word) {
    in_order(rank, word);
    for (int depth = 0; depth > 0 || !is("\n"); ++at_) {
      if (at_ >= tokens_.size()) fail("a brace is never closed");
      if (is("{")) ++depth;
      if (is("}") && --depth < 0) fail("unbalanced brace");
    }
  }

  void option() {
    expect("set");
    if (!is_one_of({"timeout", "ruleset-optimization", "optimization", "limit", "loginterface",
                    "block-policy", "state-policy", "state-defaults", "require-order",
                    "fingerprints", "skip", "debug", "hostid", "reassemble", "syncookies",
                    "fail-policy"})) {
      fail("unknown option '{}'", current().text);
    }
    if (is("require-order") && tokens_[at_ + 1].text == "no") require_order_ = false;
    rest(1, "set");
  }

  void table() {
    expect("table");
    const std::string name = take();
    if (!name.starts_with('<') || !name.ends_with('>'))
      fail("expected a table's name in <>, found '{}'", name);
    auto& members = traps_.table(name);
    in_table_ = true;
    for (;;) {
      if (is_one_of({"persist", "const", "counters"})) {
        take();
      } else if (accept("file")) {
        take_word();
      } else if (is("{")) {
        list([&](bool) {
          accept("!");
          const bool dynamic = accept("(");
          members.insert(member());
          if (dynamic) expect(")");
        });
      } else {
        break;
      }
    }
    in_table_ = false;
    end_of_statement();
  }

  std::string member() {
    std::string word = take_word();
    if (word != "self" && !is_address_or_interface(word)) fail("'{}' is not an address", word);
    return word;
  }

  void load() {
    expect("load");
    expect("anchor");
    take_word();
    expect("from");
    take_word();
    end_of_statement();
  }

  void antispoof() {
    in_order(6, "antispoof");
    take();
    accept("log");
    accept("quick");
    expect("for");
    list([&](bool) {
      accept("!");
      take_word();
    });
    if (is_one_of({"inet", "inet6"})) take();
    end_of_statement();
  }

  void translation_anchor() {
    in_order(4, current().text);
    take();
    take_word();
    accept("all");
    Rule rule;
    conditions(rule);
    end_of_statement();
  }

  void anchor() {
    in_order(6, "anchor");
    expect("anchor");
    if (!is("{")) take_word();
    Rule rule;
    if (is_one_of({"in", "out"})) take();
    accept("quick");
    conditions(rule);
    accept("quick");
    if (accept("{")) {
      newlines();
      while (!accept("}")) {
        if (at_ >= tokens_.size()) fail("a brace is never closed");
        statement(true);
        newlines();
      }
    }
    end_of_statement();
  }

  /// [on IF] [af] [proto P] [hosts]
  void conditions(Rule& rule) {
    interface_part(rule);
    family_and_hosts(rule);
  }

  void interface_part(Rule& rule) {
    if (!accept("on")) return;
    list([&](bool) {
      if (accept("!")) rule.interface = "! ";
      rule.interface += take_word();
    });
  }

  void family_and_hosts(Rule& rule) {
    if (is_one_of({"inet", "inet6"})) rule.family = take();
    if (accept("proto")) {
      list([&](bool) { rule.protocols.insert(protocol()); });
    }
    hosts(rule);
  }

  std::string protocol() {
    std::string word = take_word();
    if (!is_number(word) &&
        !one_of(word, {"tcp", "udp", "icmp", "icmp6", "ipv6-icmp", "esp", "gre"}))
      fail("unknown protocol '{}'", word);
    return word;
  }

  void hosts(Rule& rule) {
    if (accept("all")) return;
    if (accept("from")) peer(rule);
    rule.source_ports = rule.ports;
    if (!accept("to")) return;
    rule.to_table = current().text.starts_with('<');
    if (is("!")) rule.negated = tokens_[at_ + 1].text == "(" ? "(self)" : tokens_[at_ + 1].text;
    peer(rule);
  }

  void peer(Rule& rule) {
    expand();
    if (is("!") && at_ + 1 < tokens_.size() && tokens_[at_ + 1].text == "{")
      fail("'!' before a list");
    if (!is("port")) list([&](bool) { host(rule); });
    if (accept("port")) {
      rule.ports = true;
      list([&](bool) { port(); });
    }
  }

  void host(Rule& rule) {
    accept("!");
    if (accept("(")) {
      take_word();
      return expect(")");
    }
    const std::string word = take();
    if (one_of(word, {"any", "self", "no-route", "urpf-failed"})) return;
    if (word.starts_with('<') && word.size() > 1) {
      if (!traps_.has_table(word)) fail("table {} is not defined", word);
      return;
    }
    if (word.find_first_of("(){}<>!=,") != std::string::npos || !is_address_or_interface(word))
      fail("'{}' is not an address", word);
    rule.addresses.push_back(word);
  }

  /// "=", "!=", "<", "<=", ">", ">=" or nothing.
  std::string comparison() {
    std::string out;
    while (is_one_of({"!", "=", ">", "<"})) out += take();
    if (!one_of(out, {"", "=", "!=", "<", "<=", ">", ">="})) fail("'{}' compares nothing", out);
    return out;
  }

  void port() {
    comparison();
    const std::string text = take_word();
    const auto colon = text.find(':');
    const std::string first = text.substr(0, colon);
    const std::string last = colon == text.npos ? first : text.substr(colon + 1);
    if (!is_number(first) || !is_number(last)) {
      if (colon != text.npos || is_number(text.substr(0, 1))) fail("'{}' is not a port", text);
      return;  // a service's name
    }
    if (first.size() > 5 || last.size() > 5 || std::stoi(last) > 65535 ||
        std::stoi(first) > std::stoi(last)) {
      fail("'{}' is not a port", text);
    }
  }

  void route(Rule& rule) {
    const bool replies = take() == "reply-to";
    const bool parenthesis = accept("(");
    std::string first = take_word();
    if (parenthesis) {
      if (dialect_ == Dialect::openbsd) fail("route-to takes an address and no interface here");
      if (!is(")")) {
        rule.addresses.push_back(take_word());
        first += " " + rule.addresses.back();
      }
      expect(")");
    } else {
      rule.addresses.push_back(first);
    }
    (replies ? rule.reply : rule.route) = first;
  }

  void filter_rule() {
    Rule rule;
    rule.action = take();
    if (rule.action == "match" && dialect_ == Dialect::darwin) fail("unknown word 'match'");
    in_order(6, rule.action);
    if (rule.action == "block" &&
        is_one_of({"drop", "return", "return-rst", "return-icmp", "return-icmp6"}))
      take();
    if (is_one_of({"in", "out"})) rule.direction = take();
    if (accept("log") && accept("(")) {
      while (!accept(")")) take();
    }
    rule.quick = accept("quick");
    interface_part(rule);
    if (dialect_ != Dialect::openbsd && is_one_of({"route-to", "reply-to", "dup-to"})) {
      route(rule);
    }
    family_and_hosts(rule);
    while (!is("\n") && !is("}")) filter_option(rule);
    trapped([&] { traps_.check_filter(rule); });
    end_of_statement();
  }

  void filter_option(Rule& rule) {
    expand();
    const std::string word = current().text;
    if (one_of(word, {"user", "group"})) {
      take();
      rule.owner = true;
      list([&](bool) { owner(rule, word); });
    } else if (word == "flags") {
      take();
      rule.flags = true;
      const std::string flags = take_word();
      if (flags != "any" && flags.find_first_not_of("FSRPAUEW/") != std::string::npos)
        fail("flags '{}'", flags);
    } else if (one_of(word, {"keep", "modulate", "synproxy"})) {
      take();
      expect("state");
      rule.keep = true;
      if (accept("(")) state_options();
    } else if (word == "no") {
      take();
      expect("state");
      rule.stateless = true;
    } else if (word == "divert-to" && dialect_ != Dialect::darwin) {
      take();
      rule.addresses.push_back(take_word());
      expect("port");
      rule.divert_port = current().text;
      port();
    } else if (dialect_ == Dialect::openbsd && one_of(word, {"route-to", "reply-to", "dup-to"})) {
      route(rule);
    } else if (dialect_ == Dialect::openbsd && one_of(word, {"rdr-to", "nat-to"})) {
      take();
      Rule target;
      host(target);
      if (accept("port")) port();
    } else if (one_of(word, {"scrub", "set"}) && dialect_ != Dialect::darwin) {
      take();
      expect("(");
      while (!accept(")")) take();
    } else if (word == "tos") {
      take();
      rule.tos = true;
      tos();
    } else if (one_of(word, {"tag", "tagged"})) {
      tag(rule);
    } else if (one_of(word, {"icmp-type", "icmp6-type"})) {
      take();
      list([&](bool) { icmp_type(); });
    } else if (one_of(word, {"label", "queue", "probability", "rtable", "received-on"})) {
      take();
      list([&](bool) { take(); });
    } else if (accept("!")) {
      if (!is("tagged")) fail("unknown word '{}'", current().text);
      rule.not_tagged = true;
      tag(rule);
    } else if (!accept("allow-opts") && !accept("fragment")) {
      fail("unknown word '{}'", word);
    }
  }

  void icmp_type() {
    const std::string type = take_word();
    if (!is_number(type) &&
        !one_of(type, {"unreach", "echoreq", "echorep", "timex", "toobig", "redir"}))
      fail("unknown icmp-type {}", type);
    if (accept("code")) take_word();
  }

  void tos() {
    const std::string text = take_word();
    const bool hexadecimal = text.starts_with("0x") && text.size() > 2 && text.size() <= 4 &&
                             text.find_first_not_of("0123456789abcdef", 2) == std::string::npos;
    if (!hexadecimal) fail("'{}' is not a type of service", text);
    if (std::stoi(text, nullptr, 16) % 4 != 0) fail("tos {}: the lowest two bits are ECN's", text);
  }

  void owner(Rule& rule, std::string_view what) {
    const std::string how = comparison();
    const std::string who = take_word();
    if (is_number(who) &&
        std::stoull(who) >= (dialect_ == Dialect::darwin ? 0x7fffffffULL : 0xffffffffULL)) {
      fail("{} is no user or group number", who);
    }
    if (who == "unknown" && !one_of(how, {"", "=", "!="}))
      fail("unknown is not more or less than others");
    const bool equal = how.empty() || how == "=";
    rule.user |= what == "user";
    rule.group_is |= what == "group" && equal;
    rule.group_not |= what == "group" && how == "!=";
    rule.known |= how == "!=" ? who == "unknown" : who != "unknown";
  }

  void state_options() {
    while (!accept(")")) {
      const std::string word = take_word();
      if (one_of(word,
                 {"floating", "if-bound", "no-sync", "sloppy", "source-track", "rule", "global"})) {
        accept(",");
      } else if (one_of(word, {"max", "max-src-nodes", "max-src-states", "max-src-conn",
                               "max-src-conn-rate"}) ||
                 word.find('.') != std::string::npos) {
        take_word();
        accept(",");
      } else if (word == "overload") {
        take();
        accept("flush");
        accept("global");
        accept(",");
      } else {
        fail("unknown word '{}'", word);
      }
    }
  }

  void translation_rule() {
    Rule rule;
    rule.no = accept("no");
    if (rule.no && is("scrub")) return rest(2, "scrub");
    rule.action = take();
    if (!one_of(rule.action, {"rdr", "nat", "binat"})) fail("unknown word '{}'", rule.action);
    in_order(4, rule.action);
    rule.pass = accept("pass");
    if (rule.pass && rule.no) fail("'pass' is not valid with 'no'");
    accept("log");
    conditions(rule);
    if (is_one_of({"user", "group"}))
      fail("'{}' does not go with {}: it sees packets and no sockets", current().text, rule.action);
    while (is_one_of({"tag", "tagged", "!"})) {
      accept("!");
      tag(rule);
    }
    if (accept("->")) {
      if (!is("{")) rule.target = current().text;
      list([&](bool) { host(rule); });
      if (accept("port")) port();
      while (is_one_of(
          {"round-robin", "random", "sticky-address", "static-port", "bitmask", "source-hash"}))
        take();
    } else if (!rule.no) {
      fail("{} without '->'", rule.action);
    }
    if (rule.action == "rdr" && rule.interface == "lo0" && rule.family.empty())
      fail("rdr to an address without inet or inet6");
    trapped([&] { traps_.check_translation(rule); });
    end_of_statement();
  }

  void tag(Rule& rule) {
    const std::size_t line = current().line;
    if (accept("tag")) {
      rule.tag = true;
      tags_set_.insert(take_word());
    } else {
      expect("tagged");
      rule.tagged = true;
      tags_asked_.emplace(take_word(), line);
    }
  }

  Tokens tokens_;
  Dialect dialect_;
  Traps traps_;
  std::size_t at_ = 0;
  int rank_ = 0;
  bool require_order_ = true;
  bool in_table_ = false;  ///< whose lists may hold negations
  std::map<std::string, Tokens> macros_;
  std::set<std::string> tags_set_;
  std::map<std::string, std::size_t> tags_asked_;  ///< with their lines
};

}  // namespace

Result<> check(std::string_view text, Dialect dialect) {
  auto tokens = tokens_of(text);
  if (!tokens) return tokens.error();
  try {
    Parser(std::move(*tokens), dialect).file();
  } catch (const Wrong& wrong) {
    return base::failure("{}", wrong.text);
  }
  return {};
}

}  // namespace pf_grammar
