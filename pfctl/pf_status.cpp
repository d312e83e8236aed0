// Text made for people, so nothing is taken for granted: a line that does not look as expected is
// no line.
#include "pfctl/pf_status.h"

#include <algorithm>
#include <array>
#include <bit>
#include <charconv>

#include "base/ascii.h"

namespace pfctl {
namespace {

/// All carriage returns at its end go: what is printed from the result must read back as itself.
std::string_view next_line(std::string_view& text) {
  std::string_view line = base::next_line(text);
  while (line.ends_with('\r')) line.remove_suffix(1);
  return line;
}

std::vector<std::string_view> words(std::string_view line) {
  std::vector<std::string_view> found;
  for (;;) {
    const std::size_t first = line.find_first_not_of(" \t");
    if (first == std::string_view::npos) return found;
    line.remove_prefix(first);
    const std::size_t end = std::min(line.find_first_of(" \t"), line.size());
    found.push_back(line.substr(0, end));
    line.remove_prefix(end);
  }
}

template <class Number>
std::optional<Number> number(std::string_view text, int base = 10) {
  Number value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
  if (error != std::errc{} || end != text.data() + text.size()) return {};
  return value;
}

bool is_digits(std::string_view text) {
  return !text.empty() && text.size() <= 20 &&
         text.find_first_not_of("0123456789") == std::string_view::npos;
}

// The anchor that a line refers to with `keyword`, for every packet; empty: none.
std::string_view referred(std::string_view line, std::string_view keyword) {
  const auto parts = words(line);
  if (parts.size() < 2 || parts[0] != keyword) return {};
  // Further conditions would let packets past it.
  if (parts.size() > 3 || (parts.size() == 3 && parts[2] != "all")) return {};
  std::string_view name = parts[1];
  if (name.size() < 2 || !name.starts_with('"') || !name.ends_with('"')) return name;
  return name.substr(1, name.size() - 2);
}

bool is_normalization(std::string_view line) {
  const std::string_view start = base::trimmed(line);
  return start.starts_with("scrub") || start.starts_with("no scrub");
}

bool is_dummynet(std::string_view line) {
  const std::string_view start = base::trimmed(line);
  return start.starts_with("dummynet") || start.starts_with("no dummynet");
}

// The direct children of the anchor's parent; empty parent: "*".
std::string family_of(std::string_view anchor) {
  const std::size_t slash = anchor.rfind('/');
  return slash == std::string_view::npos ? "*" : std::string(anchor.substr(0, slash)) + "/*";
}

bool refers_by_name(std::string_view line, std::string_view anchor) {
  return !anchor.empty() &&
         (referred(line, "rdr-anchor") == anchor || referred(line, "anchor") == anchor);
}

/// Whether a rule, as pfctl prints it, is about incoming packets only: its direction is in
/// front of all that it may say about interfaces and packets.
bool is_inbound(const std::vector<std::string_view>& parts) {
  const auto ends = [](std::string_view part) {
    return std::ranges::any_of(std::array{"in", "out", "log", "quick", "on", "all", "from"},
                               [&](const char* word) { return part == word; });
  };
  const auto found = std::ranges::find_if(parts, ends);
  return found != parts.end() && *found == "in";
}

/// The first line whose words, of which there is one at least, are such. Empty: none.
template <class Wanted>
std::string first_line(std::string_view rules, Wanted wanted) {
  while (!rules.empty()) {
    const std::string_view line = next_line(rules);
    const auto parts = words(line);
    if (!parts.empty() && wanted(parts)) return std::string(base::trimmed(line));
  }
  return {};
}

/// The first line in front of our anchor, referred to by its name or by a wildcard, that is such a
/// one and holds for what goes out.
template <class Wanted>
std::string first_in_front(std::string_view rules, std::string_view anchor, Wanted wanted) {
  const std::string family = family_of(anchor);
  while (!rules.empty()) {
    const std::string_view line = next_line(rules);
    const auto parts = words(line);
    if (parts.empty()) continue;
    const std::string_view name = referred(line, "anchor");
    if (name == anchor || name == family) return {};
    if (wanted(parts) && !is_inbound(parts)) return std::string(base::trimmed(line));
  }
  return {};
}

base::Network network_of(const base::Address& address, unsigned prefix) {
  if (address.is_v4()) {
    const auto bits = address.to_v4().to_uint();
    const std::uint32_t mask = prefix == 0 ? 0 : ~std::uint32_t{0} << (32 - prefix);
    return {boost::asio::ip::address_v4(bits & mask), prefix};
  }
  auto bytes = address.to_v6().to_bytes();
  for (unsigned i = 0; i < bytes.size(); ++i) {
    const unsigned kept = prefix > i * 8 ? std::min(prefix - i * 8, 8U) : 0;
    bytes[i] = static_cast<unsigned char>(bytes[i] & (0xff00U >> kept));
  }
  return {boost::asio::ip::address_v6(bytes), prefix};
}

std::optional<base::Address> address_in(std::string_view text) {
  boost::system::error_code error;
  const auto address =
      boost::asio::ip::make_address(std::string(text.substr(0, text.find('%'))), error);
  if (error) return {};
  return address;
}

// The word behind `key`; empty: none.
std::string_view behind(const std::vector<std::string_view>& parts, std::string_view key) {
  const auto at = std::ranges::find(parts, key);
  return at == parts.end() || at + 1 == parts.end() ? std::string_view{} : *(at + 1);
}

bool concerns_tcp_over_ipv4(const std::vector<std::string_view>& parts) {
  const std::string_view protocol = behind(parts, "proto");
  return std::ranges::count(parts, "inet6") == 0 && (protocol.empty() || protocol == "tcp");
}

/// Whether a rule's source can be one of `own`. Tables and interfaces may have any address.
bool may_be_from(const std::vector<std::string_view>& parts,
                 const std::vector<base::Address>& own) {
  const auto from = std::ranges::find(parts, "from");
  if (from == parts.end() || from + 1 == parts.end()) return true;
  const auto network = base::parse_network(*(from + 1));
  const bool range = from + 2 != parts.end() && *(from + 2) == "-";
  if (!network || range) return true;
  return std::ranges::any_of(
      own, [&](const base::Address& address) { return network->contains(address); });
}

// macOS and FreeBSD print masks as 0xff000000; FreeBSD, when told to, behind a slash.
std::optional<unsigned> mask_bits(std::string_view mask) {
  if (!mask.starts_with("0x")) return {};
  const auto bits = number<std::uint32_t>(mask.substr(2), 16);
  if (!bits) return {};
  return static_cast<unsigned>(std::countl_one(*bits));
}

void add_address(Interface& to, const std::vector<std::string_view>& parts) {
  const bool v4 = parts[0] == "inet";
  const std::size_t slash = parts[1].find('/');
  const auto address = address_in(parts[1].substr(0, slash));
  if (!address || address->is_v4() != v4) return;
  const unsigned most = v4 ? 32 : 128;
  std::optional<unsigned> prefix =
      v4 ? mask_bits(behind(parts, "netmask")) : number<unsigned>(behind(parts, "prefixlen"));
  if (slash != std::string_view::npos) prefix = number<unsigned>(parts[1].substr(slash + 1));
  to.addresses.push_back(*address);
  to.networks.push_back(network_of(*address, std::min(prefix.value_or(most), most)));
}

// "10", "198.18/15", "169.254", "192.0.2.1": missing octets are zero and, without a prefix, count
// for it.
std::optional<base::Network> parse_short_v4(std::string_view text) {
  const std::size_t slash = text.find('/');
  std::string_view octets = text.substr(0, slash);
  std::array<unsigned char, 4> bytes{};
  unsigned count = 0;
  for (bool more = true; more; ++count) {
    if (count == bytes.size()) return {};
    const std::size_t dot = octets.find('.');
    const auto octet = number<unsigned char>(octets.substr(0, dot));
    if (!octet) return {};
    bytes[count] = *octet;
    more = dot != std::string_view::npos;
    if (more) octets.remove_prefix(dot + 1);
  }
  const auto prefix = slash == std::string_view::npos ? std::optional{count * 8}
                                                      : number<unsigned>(text.substr(slash + 1));
  if (!prefix || *prefix > 32) return {};
  return network_of(boost::asio::ip::address_v4(bytes), *prefix);
}

std::optional<base::Network> parse_destination(std::string_view text) {
  if (text.find(':') == std::string_view::npos) return parse_short_v4(text);
  const std::size_t slash = text.rfind('/');
  const auto address = address_in(text.substr(0, std::min(slash, text.find('%'))));
  const auto prefix = slash == std::string_view::npos ? std::optional{128U}
                                                      : number<unsigned>(text.substr(slash + 1));
  if (!address || !address->is_v6() || !prefix || *prefix > 128) return {};
  return network_of(*address, *prefix);
}

}  // namespace

base::Result<bool> parse_enabled(std::string_view info) {
  while (!info.empty()) {
    const auto parts = words(next_line(info));
    if (parts.size() < 2 || parts[0] != "Status:") continue;
    if (parts[1] == "Enabled") return true;
    if (parts[1] == "Disabled") return false;
  }
  return base::failure("`pfctl -s info` does not say whether pf is enabled");
}

std::optional<std::uint64_t> parse_counter(std::string_view info, std::string_view name) {
  while (!info.empty()) {
    const auto parts = words(next_line(info));
    if (parts.size() >= 2 && parts[0] == name) return number<std::uint64_t>(parts[1]);
  }
  return {};
}

std::string parse_checksum(std::string_view info) {
  while (!info.empty()) {
    const auto parts = words(next_line(info));
    if (parts.size() == 2 && parts[0] == "Checksum:") return std::string(parts[1]);
  }
  return {};
}

std::string parse_route_interface(std::string_view route) {
  while (!route.empty()) {
    const auto parts = words(next_line(route));
    if (parts.size() == 2 && parts[0] == "interface:") return std::string(parts[1]);
  }
  return {};
}

std::optional<std::string> parse_token(std::string_view printed) {
  while (!printed.empty()) {
    const auto parts = words(next_line(printed));
    if (parts.size() == 3 && parts[0] == "Token" && parts[1] == ":" && is_digits(parts[2])) {
      return std::string(parts[2]);
    }
  }
  return {};
}

bool lists_token(std::string_view references, std::string_view token) {
  while (!references.empty()) {
    if (std::ranges::count(words(next_line(references)), token) > 0) return true;
  }
  return false;
}

bool skips_lo0(std::string_view interfaces) {
  while (!interfaces.empty()) {
    const auto parts = words(next_line(interfaces));
    if (parts.size() < 2 || parts[1] != "(skip)") continue;
    if (parts[0] == "lo0" || parts[0] == "lo" || parts[0] == "all") return true;
  }
  return false;
}

bool refers_to(std::string_view ruleset, std::string_view keyword, std::string_view anchor) {
  const std::string family = family_of(anchor);
  while (!ruleset.empty()) {
    const std::string_view name = referred(next_line(ruleset), keyword);
    if (!name.empty() && (name == anchor || name == family)) return true;
  }
  return false;
}

std::string main_ruleset(const MainRuleset& running, std::string_view anchor) {
  std::string first;
  std::string translation;
  std::string dummynet;
  std::string filter;
  if (!anchor.empty()) {
    translation = fmt::format("rdr-anchor \"{}\" all\n", anchor);
    filter = fmt::format("anchor \"{}\" all\n", anchor);
  }
  const auto add = [&](std::string_view text, std::string& usual) {
    while (!text.empty()) {
      const std::string_view line = next_line(text);
      if (line.empty() || refers_by_name(line, anchor)) continue;
      const bool normalizes = &usual == &filter && is_normalization(line);
      (normalizes ? first : is_dummynet(line) ? dummynet : usual).append(line) += '\n';
    }
  };
  add(running.nat, translation);
  add(running.dummynet, dummynet);
  add(running.rules, filter);
  return first + translation + dummynet + filter;
}

std::string without_references(std::string_view main, std::string_view anchor) {
  std::string kept;
  while (!main.empty()) {
    const std::string_view line = next_line(main);
    if (!refers_by_name(line, anchor)) kept.append(line) += '\n';
  }
  return kept;
}

std::string first_to_decide(std::string_view rules, std::string_view anchor) {
  return first_in_front(rules, anchor, [](const std::vector<std::string_view>& parts) {
    return parts[0] == "anchor" || std::ranges::count(parts, "quick") > 0;
  });
}

std::string first_to_match(std::string_view rules, std::string_view anchor) {
  return first_in_front(rules, anchor, [](const std::vector<std::string_view>& parts) {
    return std::ranges::any_of(std::array{"pass", "block", "match", "anchor"},
                               [&](const char* action) { return parts[0] == action; });
  });
}

std::string first_to_reassemble(std::string_view rules) {
  return first_line(rules, [](const std::vector<std::string_view>& parts) {
    return parts[0] == "scrub" && !is_inbound(parts) && concerns_tcp_over_ipv4(parts) &&
           behind(parts, "reassemble") == "tcp";
  });
}

std::string first_to_translate(std::string_view nat, const std::vector<base::Address>& own) {
  return first_line(nat, [&](const std::vector<std::string_view>& parts) {
    const bool translates =
        std::ranges::any_of(std::array{"nat", "binat", "nat-anchor", "binat-anchor"},
                            [&](const char* action) { return parts[0] == action; });
    return translates && concerns_tcp_over_ipv4(parts) && may_be_from(parts, own);
  });
}

std::string caution_by_owner(std::string_view rules) {
  const std::string rule = first_line(rules, [](const std::vector<std::string_view>& parts) {
    const auto has = [&](std::string_view word) { return std::ranges::count(parts, word) > 0; };
    const bool filters = parts[0] == "pass" || parts[0] == "block";
    return filters && (has("user") || has("group")) && !is_inbound(parts);
  });
  if (rule.empty()) return {};
  return fmt::format(
      "`{}` in the main ruleset of pf tells programs by their user or group: it sees osproxy's "
      "worker in the place of those whose connections osproxy carries",
      rule);
}

std::vector<Interface> parse_ifconfig(std::string_view text) {
  std::vector<Interface> found;
  while (!text.empty()) {
    const std::string_view line = next_line(text);
    const auto parts = words(line);
    if (parts.empty()) continue;
    if (line.front() != ' ' && line.front() != '\t') {
      if (!parts[0].ends_with(':')) continue;
      Interface interface;
      interface.name = parts[0].substr(0, parts[0].size() - 1);
      interface.mtu = number<unsigned>(behind(parts, "mtu")).value_or(0);
      found.push_back(std::move(interface));
    } else if (!found.empty() && parts[0].starts_with("options=")) {
      found.back().tso |= line.find("TSO4") != std::string_view::npos ||
                          line.find("TSO6") != std::string_view::npos;
    } else if (!found.empty() && parts.size() > 1 && (parts[0] == "inet" || parts[0] == "inet6")) {
      add_address(found.back(), parts);
    }
  }
  return found;
}

std::vector<base::Address> tunnel_addresses_v6(const std::vector<Interface>& interfaces) {
  std::vector<base::Address> found;
  for (const auto& each : interfaces) {
    const bool tunnel =
        std::ranges::any_of(std::array{"utun", "ipsec", "ppp"},
                            [&](const char* kind) { return each.name.starts_with(kind); });
    if (!tunnel) continue;
    std::ranges::copy_if(each.addresses, std::back_inserter(found),
                         [](const base::Address& address) {
                           return address.is_v6() && !address.to_v6().is_link_local();
                         });
  }
  return found;
}

std::vector<base::Network> parse_routes(std::string_view text) {
  constexpr unsigned kBroad = 8;
  std::vector<base::Network> found;
  while (!text.empty()) {
    const auto parts = words(next_line(text));
    if (parts.size() < 3) continue;
    const auto network = parse_destination(parts[0]);
    if (network && network->prefix >= kBroad) found.push_back(*network);
  }
  return found;
}

std::string complaint(std::string_view printed) {
  while (!printed.empty()) {
    std::string_view line = base::trimmed(next_line(printed));
    if (line.empty() || line.starts_with("No ALTQ") || line.starts_with("ALTQ related") ||
        line.find("Use of -f option") != std::string_view::npos ||
        line.starts_with("present in the main") || line.starts_with("See /etc/pf.conf")) {
      continue;
    }
    if (line.starts_with("pfctl: ")) line.remove_prefix(7);
    return std::string(line);
  }
  return {};
}

}  // namespace pfctl
