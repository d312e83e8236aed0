#include "pfctl/pf_query.h"

#include <algorithm>

#include "pfctl/pf_load.h"

namespace pfctl {

bool Status::refers_to_anchor(std::string_view anchor) const {
  return refers_to(main.nat, "rdr-anchor", anchor) && refers_to(main.rules, "anchor", anchor);
}

std::vector<base::Address> own_addresses(const std::vector<Interface>& interfaces) {
  std::vector<base::Address> addresses;
  for (const auto& each : interfaces) {
    // Our own has a link-local one as soon as it is up (in6_ifattach()), by which nothing is
    // reached.
    if (each.name == kLoopbackInterface) continue;
    addresses.insert(addresses.end(), each.addresses.begin(), each.addresses.end());
  }
  std::ranges::sort(addresses);
  return addresses;
}

base::Result<std::vector<base::Address>> query_addresses(const Machine& machine) {
  const auto interfaces = run_or_fail(machine, {kIfconfig}, "list the interfaces");
  if (!interfaces) return interfaces.error();
  return own_addresses(parse_ifconfig(interfaces->out));
}

base::Result<Status> query_status(const Machine& machine) {
  Status status;
  const auto interfaces = run_or_fail(machine, {kIfconfig}, "list the interfaces");
  if (!interfaces) return interfaces.error();
  status.interfaces = parse_ifconfig(interfaces->out);
  const auto routes = run_or_fail(machine, {netstat_of(machine.dialect), "-rn"}, "list the routes");
  if (!routes) return routes.error();
  status.routes = parse_routes(routes->out);
  const auto module = has_pf(machine);
  if (!module) return module.error();
  status.module_loaded = *module;
  if (!status.module_loaded) return status;
  const auto info = run_or_fail(machine, {kPfctl, "-s", "info"}, "ask whether pf is enabled");
  if (!info) return info.error();
  const auto enabled = parse_enabled(info->out);
  if (!enabled) return enabled.error();
  status.enabled = *enabled;
  const auto skipped =
      run_or_fail(machine, {kPfctl, "-v", "-s", "Interfaces"}, "ask which interfaces pf skips");
  if (!skipped) return skipped.error();
  status.skips_lo0 = skips_lo0(skipped->out);
  auto main = query_main(machine);
  if (!main) return main.error();
  status.main = std::move(*main);
  return status;
}

base::Result<std::vector<base::Address>> query_tunnels(const Machine& machine) {
  if (machine.dialect != Dialect::darwin) return std::vector<base::Address>{};
  const auto interfaces = run_or_fail(machine, {kIfconfig}, "list the interfaces");
  if (!interfaces) return interfaces.error();
  return tunnel_addresses_v6(parse_ifconfig(interfaces->out));
}

base::Result<PfView> query_view(const Machine& machine) {
  PfView view;
  const auto info = run_or_fail(machine, {kPfctl, "-s", "info"}, "ask whether pf is enabled");
  if (!info) return info.error();
  const auto enabled = parse_enabled(info->out);
  if (!enabled) return enabled.error();
  view.enabled = *enabled;
  const auto skipped =
      run_or_fail(machine, {kPfctl, "-v", "-s", "Interfaces"}, "ask which interfaces pf skips");
  if (!skipped) return skipped.error();
  view.skips_lo0 = skips_lo0(skipped->out);
  auto main = query_main(machine);
  if (!main) return main.error();
  view.main = std::move(*main);
  auto anchor = query_anchor(machine);
  if (!anchor) return anchor.error();
  view.anchor = std::move(*anchor);
  auto addresses = query_addresses(machine);
  if (!addresses) return addresses.error();
  view.addresses = std::move(*addresses);
  return view;
}

}  // namespace pfctl
