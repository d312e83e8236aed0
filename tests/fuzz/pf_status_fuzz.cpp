// What pfctl, ifconfig and netstat print.
#include <cstdint>
#include <string>
#include <string_view>

#include "pfctl/pf_status.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  (void)pfctl::parse_enabled(text);
  (void)pfctl::skips_lo0(text);
  (void)pfctl::complaint(text);
  const auto token = pfctl::parse_token(text);
  if (token && token->find_first_not_of("0123456789") != std::string::npos) __builtin_trap();
  for (const auto& each : pfctl::parse_ifconfig(text)) {
    if (each.networks.size() != each.addresses.size()) __builtin_trap();
    for (std::size_t i = 0; i < each.networks.size(); ++i) {
      if (!each.networks[i].contains(each.addresses[i])) __builtin_trap();
    }
  }
  for (const auto& each : pfctl::parse_routes(text)) {
    if (each.prefix < 8 || !each.contains(each.address)) __builtin_trap();
  }
  // What is inserted can be found and taken out again.
  const std::string with = pfctl::main_ruleset({std::string(text), {}, {}}, "osproxy");
  if (!pfctl::refers_to(with, "rdr-anchor", "osproxy") ||
      !pfctl::refers_to(with, "anchor", "osproxy"))
    __builtin_trap();
  const std::string without = pfctl::without_references(with, "osproxy");
  if (pfctl::main_ruleset({without, {}, {}}, "") != without) __builtin_trap();
  return 0;
}
