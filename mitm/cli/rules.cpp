// `osproxy rules`: the generator. It writes for any system's packet filter on any system, so that
// nothing here asks the kernel what it can.
#include <cerrno>
#include <cstdio>
#include <optional>

#include "base/fd.h"
#include "base/text.h"
#include "divert/packet/packet_source.h"
#include "divert/process/privilege.h"
#include "divert/worker/listeners.h"
#include "mitm/cli/commands.h"
#include "mitm/cli/error_codes.h"
#include "mitm/cli/log_line.h"
#include "pfctl/native_dialect.h"
#include "pfctl/pf.h"
#include "pfctl/pf_conf.h"

namespace mitm::cli {
namespace {

using base::Result;

constexpr std::size_t kMaxRuleset = 1 << 20;
/// The port of divert(4) that a run tries first.
constexpr std::uint16_t kUsualDivertPort = 28531;

template <class... Args>
base::Error usage(fmt::format_string<Args...> text, Args&&... args) {
  return {fmt::format(text, std::forward<Args>(args)...), kUsageError};
}

/// Empty: nft.
std::optional<pfctl::Dialect> pf_dialect(std::string_view name) {
  if (name == "darwin") return pfctl::Dialect::darwin;
  if (name == "freebsd") return pfctl::Dialect::freebsd;
  if (name == "openbsd") return pfctl::Dialect::openbsd;
  return {};
}

bool typed(const Invocation& invocation, std::string_view name) {
  return invocation.options.contains(std::string(name));
}

/// What was typed beside --into or --out-of would have no effect.
Result<> check_editing(const Invocation& invocation, std::string_view option) {
  for (const auto& [name, value] : invocation.options.items()) {
    if (name != option && name != "config" && name != "dialect") {
      return usage(
          "--{} does not go with --{}, which changes the references to the rules and not the rules",
          name, option);
    }
  }
  return {};
}

Result<> check_nft(const Invocation& invocation) {
  for (const char* option : {"into", "out-of", "exec-group"}) {
    if (typed(invocation, option))
      return usage("--{} is for pf; add --dialect darwin, freebsd or openbsd", option);
  }
  return {};
}

Result<> check_pf(const RunSettings& settings, const Invocation& invocation,
                  std::string_view name) {
  if (typed(invocation, "mark"))
    return usage("--mark does not go with --dialect {}: pf has no marks", name);
  if (settings.engine == "packet" && name != "freebsd") {
    return usage(
        "--engine packet does not go with --dialect {}: its pf cannot hold packets until a verdict",
        name);
  }
  return {};
}

/// Prints FILE with our lines, or without them.
Result<int> edit(const std::string& path, pfctl::Dialect dialect, bool insert) {
  const auto conf = base::read_file(path, kMaxRuleset);
  if (!conf) return conf.error();
  const std::string name = base::printable(path);
  if (!insert) {
    const auto removed = pfctl::remove_anchor(*conf);
    if (!removed) return base::failure("{}: {}", name, removed.error().text);
    fmt::print("{}", *removed);
    return 0;
  }
  const auto edited = pfctl::insert_anchor(*conf, dialect);
  if (!edited) return base::failure("{}: {}", name, edited.error().text);
  for (const auto& note : edited->notes) log_line(fmt::format("{}: {}", name, note));
  fmt::print("{}", edited->text);
  return 0;
}

/// Who has a group number can be asked of this machine only.
Result<gid_t> exempt_group(const RunSettings& settings, std::string_view dialect) {
  if (dialect != pfctl::native_dialect_name())
    return settings.group.value_or(divert::kUsualExemptGroup);
  return divert::choose_exempt_group(settings.group);
}

Result<pfctl::Ruleset> usual_rules(const RunSettings& settings, std::string_view dialect) {
  const auto gid = exempt_group(settings, dialect);
  if (!gid) return gid.error();
  const std::uint16_t port = settings.listen_port ? settings.listen_port : divert::kUsualPort;
  return ruleset_for(settings, *gid, port, port);
}

Result<std::string> nft_text(const RunSettings& settings) {
  auto rules = usual_rules(settings, "nft");
  if (!rules) return rules.error();
  rules->own_mark = settings.mark_bit;
  if (settings.engine != "redirect") {
    rules->ports = settings.packet_ports();
    rules->queueing = divert::usual_queueing();
    rules->queueing->mark_bit = settings.mark_bit;
    rules->queueing->quic = settings.block_quic;
    rules = pfctl::validated(std::move(*rules));
    if (!rules) return rules.error();
  }
  return pfctl::render_nft(*rules);
}

Result<std::string> pf_text(const RunSettings& settings, const nlohmann::json& options,
                            std::string_view name) {
  auto rules = usual_rules(settings, name);
  if (!rules) return rules.error();
  if (options.contains("exec-group"))
    rules->capture_gid = options["exec-group"].get<std::uint32_t>();
  if (settings.engine == "packet") {
    if (!rules->capture_gid) rules->ports_v6 = rules->ports;
    rules->ports = settings.packet_ports();
    rules->queueing.emplace();
    rules->queueing->first = kUsualDivertPort;
  }
  const auto good = pfctl::validated(std::move(*rules));
  if (!good) return good.error();
  return pfctl::render_pf(*good, *pf_dialect(name));
}

}  // namespace

Result<int> rules_command(const Invocation& invocation) {
  const auto options = options_of(invocation);
  if (!options) return options.error();
  const auto settings = run_settings(*options, invocation);
  if (!settings) return settings.error();
  const std::string name = options->value("dialect", std::string(pfctl::native_dialect_name()));
  const auto dialect = pf_dialect(name);
  if (auto good = dialect ? check_pf(*settings, invocation, name) : check_nft(invocation); !good)
    return good.error();
  for (const char* option : {"into", "out-of"}) {
    if (!typed(invocation, option)) continue;
    if (auto good = check_editing(invocation, option); !good) return good.error();
    return edit(options->at(option).get<std::string>(), *dialect,
                option == std::string_view("into"));
  }
  const auto text = dialect ? pf_text(*settings, *options, name) : nft_text(*settings);
  if (!text) return text.error();
  fmt::print("{}", *text);
  return 0;
}

}  // namespace mitm::cli
