// One statement of pf.conf, as the model of pf understands it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/network.h"
#include "tests/pfctl/pf_lexer.h"

namespace pf_kernel {

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
  std::string action;  ///< pass, block, rdr, nat, scrub, anchor, rdr-anchor
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
  base::Address translated;  ///< nat: the source's new address
  bool follows_tcp = false;  ///< scrub ... reassemble tcp
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

struct Table {
  std::string name;
  std::vector<std::string> members;
};

/// Empty: the statement that begins at `at` is no table. Else `at` is then behind it.
std::optional<Table> read_table(const pf_grammar::Tokens& tokens, std::size_t& at);

/// The statement that begins at `at`, which is then behind it. Throws std::runtime_error on what
/// this model does not know.
Rule read_rule(const pf_grammar::Tokens& tokens, std::size_t& at);

}  // namespace pf_kernel
