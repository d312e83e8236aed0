// `osproxy rules`: the generator. It writes for any system's packet filter on any system, so that
// nothing here asks the kernel what it can.
#include <cerrno>
#include <cstdio>
#include <optional>

#include "base/fd.h"
#include "base/own_number.h"
#include "base/text.h"
#include "divert/packet/packet_source.h"
#include "divert/process/privilege.h"
#include "divert/worker/listeners.h"
#include "mitm/cli/commands.h"
#include "mitm/cli/dry_run.h"
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
constexpr std::uint16_t kUsualDivertPort = base::kOwnNumber;

template <class... Args>
base::Error usage(fmt::format_string<Args...> text, Args&&... args) {
  return {fmt::format(text, std::forward<Args>(args)...), kUsageError};
}

PacketFilter native_filter() {
  for (const auto filter : {PacketFilter::darwin, PacketFilter::freebsd, PacketFilter::openbsd}) {
    if (to_string(filter) == pfctl::native_dialect_name()) return filter;
  }
  return PacketFilter::nft;
}

/// Empty: nft.
std::optional<pfctl::Dialect> pf_dialect(PacketFilter filter) {
  switch (filter) {
    case PacketFilter::nft:
      return {};
    case PacketFilter::darwin:
      return pfctl::Dialect::darwin;
    case PacketFilter::freebsd:
      return pfctl::Dialect::freebsd;
    case PacketFilter::openbsd:
      break;
  }
  return pfctl::Dialect::openbsd;
}

/// What was typed beside --into or --out-of would have no effect.
Result<> check_editing(const Invocation& invocation, std::string_view option) {
  for (const Option* given : invocation.given) {
    const std::string_view name = given->name;
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
    if (invocation.has(option))
      return usage("--{} is for pf; add --dialect darwin, freebsd or openbsd", option);
  }
  return {};
}

Result<> check_pf(const Settings& settings, const Invocation& invocation, PacketFilter filter) {
  if (invocation.has("mark"))
    return usage("--mark does not go with --dialect {}: pf has no marks", to_string(filter));
  if (settings.engine == divert::EngineChoice::packet && filter != PacketFilter::freebsd) {
    return usage(
        "--engine packet does not go with --dialect {}: its pf cannot hold packets until a verdict",
        to_string(filter));
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
Result<gid_t> exempt_group(const Settings& settings, PacketFilter filter) {
  if (filter != native_filter()) return settings.group.value_or(divert::kUsualExemptGroup);
  return divert::choose_exempt_group(settings.group);
}

Result<pfctl::Ruleset> usual_rules(const Settings& settings, PacketFilter filter) {
  const auto gid = exempt_group(settings, filter);
  if (!gid) return gid.error();
  const std::uint16_t port = settings.listen_port.value_or(divert::kUsualPort);
  return ruleset_for(settings, *gid, port, port);
}

Result<std::string> nft_text(const Settings& settings) {
  auto rules = usual_rules(settings, PacketFilter::nft);
  if (!rules) return rules.error();
  rules->own_mark = settings.mark;
  if (settings.engine != divert::EngineChoice::redirect) {
    rules->ports = settings.packet_ports();
    rules->queueing = divert::usual_queueing();
    rules->queueing->mark_bit = settings.mark;
    rules->queueing->quic = settings.block_quic;
    rules = pfctl::validated(std::move(*rules));
    if (!rules) return rules.error();
  }
  return pfctl::render_nft(*rules);
}

Result<std::string> pf_text(const Settings& settings, PacketFilter filter) {
  auto rules = usual_rules(settings, filter);
  if (!rules) return rules.error();
  if (settings.exec_group) rules->capture_gid = *settings.exec_group;
  if (settings.engine == divert::EngineChoice::packet) {
    if (!rules->capture_gid) rules->ports_v6 = rules->ports;
    rules->ports = settings.packet_ports();
    rules->queueing.emplace();
    rules->queueing->first = kUsualDivertPort;
  }
  const auto good = pfctl::validated(std::move(*rules));
  if (!good) return good.error();
  return pfctl::render_pf(*good, *pf_dialect(filter));
}

}  // namespace

Result<int> rules_command(const Invocation& invocation) {
  if (invocation.has("dry-run")) return dry_run(invocation);
  for (const Option* given : invocation.given) {
    if (is_about_messages(given->name))
      return usage("--{} is about messages, which no packet filter sees; add --dry-run SESSION",
                   given->name);
  }
  const auto settings = settings_of(invocation);
  if (!settings) return settings.error();
  const PacketFilter filter = settings->dialect.value_or(native_filter());
  const auto dialect = pf_dialect(filter);
  if (auto good = dialect ? check_pf(*settings, invocation, filter) : check_nft(invocation); !good)
    return good.error();
  for (const char* option : {"into", "out-of"}) {
    if (!invocation.has(option)) continue;
    if (auto good = check_editing(invocation, option); !good) return good.error();
    const bool insert = option == std::string_view("into");
    return edit(insert ? settings->into : settings->out_of, *dialect, insert);
  }
  const auto text = dialect ? pf_text(*settings, filter) : nft_text(*settings);
  if (!text) return text.error();
  fmt::print("{}", *text);
  return 0;
}

}  // namespace mitm::cli
