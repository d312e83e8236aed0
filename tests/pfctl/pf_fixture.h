// What the tests of loading into pf share.
#pragma once

#include <array>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include <doctest/doctest.h>
#include <unistd.h>

#include "base/fd.h"
#include "tests/pfctl/pf_machine.h"

namespace test {

using Lines = std::vector<std::string>;

inline constexpr const char* kAnchorText =
    "rdr pass on lo0 inet proto tcp from any to any port 80 -> 198.18.0.1 port 28531\n"
    "pass out quick route-to (lo0 127.0.0.1) inet proto tcp from any to any port 80 keep state\n";

inline constexpr const char* kHoldingText =
    "rdr pass on lo0 inet proto tcp from any to any port 80 -> 198.18.0.1 port 28531\n"
    "pass out quick inet proto tcp from any to any divert-to 127.0.0.1 port 28531 no state\n";

/// By an interface of our own.
inline constexpr const char* kLoopbackText =
    "rdr pass on lo28531 inet proto tcp from any to any port 80 -> 198.18.0.1 port 28531\n"
    "pass out quick route-to (lo28531 127.0.0.1) inet proto tcp from any to any port 80 keep "
    "state\n";

/// What start() has loaded.
inline const pfctl::Loaded kLoaded{kAnchorText, {}};

/// Those whose pf osproxy loads rules into.
inline constexpr std::array kDialects{pfctl::Dialect::darwin, pfctl::Dialect::freebsd};

inline const pfctl::Loopback kPreferred{boost::asio::ip::make_address("198.18.0.1"),
                                        boost::asio::ip::make_address("fdff:6f73::1")};

struct Folder {
  Folder() {
    char name[] = "/tmp/pf_plan_XXXXXX";
    path = ::mkdtemp(name);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() { std::filesystem::remove_all(path); }
  [[nodiscard]] std::string journal() const { return path + "/state.json"; }
  std::string path;
};

inline bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

inline std::string content(const std::string& path) {
  auto text = base::read_file(path);
  return text ? *text : std::string{};
}

inline const char* anchor_for(pfctl::Dialect dialect) {
  return dialect == pfctl::Dialect::darwin ? "com.apple/osproxy" : "osproxy";
}

inline pfctl::PfSession session(PfMachine& machine, pfctl::Dialect dialect, const Folder& folder) {
  return {{dialect, anchor_for(dialect), machine.runner()},
          pfctl::JournalFile::open(folder.journal()).value()};
}

inline constexpr const char* kStockNat =
    "nat-anchor \"com.apple/*\" all\nrdr-anchor \"com.apple/*\" all\n";
inline constexpr const char* kStockDummynet = "dummynet-anchor \"com.apple/*\" all\n";
inline constexpr const char* kStockRules =
    "scrub-anchor \"com.apple/*\" all fragment reassemble\nanchor \"com.apple/*\" all\n";

inline PfState stock() {
  return {.nat = kStockNat, .rules = kStockRules, .dummynet = kStockDummynet};
}

/// FreeBSD: enabled, for rules that are loaded and disabled are left alone.
inline PfState stock_of(pfctl::Dialect dialect) {
  PfState state = stock();
  state.switched_on = dialect == pfctl::Dialect::freebsd;
  return state;
}

inline pfctl::RulesetVariants offer(
    const char* text, pfctl::RulesetVariants::Proof proof = pfctl::RulesetVariants::Proof::ipv4) {
  return {.text = text, .proof = proof, .without_ipv6 = {}};
}

/// As a run does: it ends when the rules cannot be loaded. What it says of the rules.
inline base::Result<Lines> start(pfctl::PfSession& session, const pfctl::Probe& probe = {}) {
  if (auto cleaned = session.clean_up(); !cleaned) return cleaned.error();
  if (auto prepared = session.prepare(kPreferred); !prepared) return prepared.error();
  auto loaded = session.load(offer(kAnchorText), probe);
  if (loaded) return loaded->notes;
  (void)session.undo();
  return loaded.error();
}

}  // namespace test
