// What pfctl accepts, or refuses only when it has read a whole rule, and what then diverts nothing
// or everything for ever: the traps of pf that our anchors must not be in.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "pfctl/pf.h"

namespace pf_grammar {

/// Thrown within the checker only: a recursive descent reads better without a check behind every
/// word.
struct Wrong {
  std::string text;
};

/// What a rule says, for the checks that look at all of it.
struct Rule {
  std::string action;
  std::string direction;
  std::string interface;
  std::string family;
  std::set<std::string> protocols;
  std::vector<std::string> addresses;  ///< literals and tables, of all parts
  std::string route;                   ///< where route-to leads
  std::string reply;                   ///< where reply-to leads
  std::string target;                  ///< of rdr
  std::string negated;                 ///< the destination behind `to !`
  bool to_table = false;               ///< the destination is a table, and nothing else
  std::string divert_port;
  bool quick = false;
  bool pass = false;  ///< rdr pass
  bool no = false;    ///< no rdr
  bool ports = false;
  bool source_ports = false;  ///< `from any port ...`
  bool owner = false;         ///< user or group
  bool user = false;
  bool group_is = false;   ///< `group N`
  bool group_not = false;  ///< `group != N`
  bool known = false;      ///< does not match forwarded packets, which have no user
  bool tos = false;
  bool tag = false;
  bool tagged = false;
  bool not_tagged = false;
  bool flags = false;
  bool keep = false;
  bool stateless = false;
};

/// Takes an anchor's tables and rules in their order. Throws Wrong, without the line.
class Traps {
 public:
  explicit Traps(pfctl::Dialect dialect) : dialect_(dialect) {}

  std::set<std::string>& table(const std::string& name) { return tables_[name]; }
  [[nodiscard]] bool has_table(const std::string& name) const { return tables_.contains(name); }

  void check_filter(const Rule& rule);
  void check_translation(const Rule& rule);
  /// When all rules have been.
  void check_end() const;

 private:
  void check_not_for_us(const Rule& rule) const;
  void check_last_word(const Rule& rule) const;
  static void check_destination(const Rule& rule);
  void check_route(const Rule& rule) const;
  void check_who(const Rule& rule) const;
  void check_divert(const Rule& rule);

  pfctl::Dialect dialect_;
  bool held_ = false;                ///< divert-to of first packets has been
  bool judged_ = false;              ///< a rule without `quick` has set a tag on what has a verdict
  std::set<std::string> own_apart_;  ///< families with `no rdr on lo0 ... from any port ...`
  std::set<std::string> awaited_;    ///< targets of rdr without `pass`, which need a filter rule
  std::map<std::string, std::set<std::string>> tables_;
};

}  // namespace pf_grammar
