// The subcommands that print or set up something and end.
#include "mitm/cli/commands.h"

#include <cstdio>

#include <unistd.h>

#include "base/fd.h"
#include "base/text.h"
#include "divert/broker/journal.h"
#include "divert/process/privilege.h"
#include "mitm/cli/callers_environment.h"
#include "mitm/cli/config.h"
#include "mitm/cli/config_loader.h"
#include "mitm/cli/doctor.h"
#include "mitm/cli/log_line.h"
#include "mitm/cli/options.h"
#include "mitm/tls/authority.h"
#include "mitm/tls/certificate.h"
#include "mitm/tls/root_process.h"
#include "mitm/trust/trust.h"
#include "pfctl/loader.h"

namespace mitm::cli {
namespace {

using base::Result;

const char* state_word(trust::StoreStatus::State state) {
  switch (state) {
    case trust::StoreStatus::State::trusted:
      return "trusted";
    case trust::StoreStatus::State::absent:
      return "not trusted";
    case trust::StoreStatus::State::unavailable:
      return "unavailable";
  }
  return "";
}

void print_stores(const std::vector<trust::StoreStatus>& stores) {
  for (const auto& store : stores) {
    fmt::print("{:12} {}{}{}\n", state_word(store.state), base::printable(store.store),
               store.detail.empty() ? "" : ": ", base::printable(store.detail));
  }
}

void print_certificate(const std::string& directory, X509* certificate) {
  const auto day = [](auto time) { return base::rfc3339(time).substr(0, sizeof "2026-01-01" - 1); };
  fmt::print(
      "certificate  {}/root-ca.pem\nsubject      CN={}\nvalid        from "
      "{} to {}\nSHA-256      {}\n",
      base::printable(directory), base::printable(tls::common_name(certificate)),
      day(tls::not_before(certificate)), day(tls::not_after(certificate)),
      tls::sha256_fingerprint(certificate));
}

Result<int> show_stores(Result<std::vector<trust::StoreStatus>> stores) {
  if (!stores) return stores.error();
  print_stores(*stores);
  int status = 0;
  for (const auto& store : *stores) {
    if (!store.failed) continue;
    log_line(fmt::format("{}: {}", store.store, store.detail));
    status = 1;
  }
  return status;
}

/// `ca` with its directory and the person whose stores are meant.
class CaCommand {
 public:
  CaCommand(std::string directory, base::User user)
      : directory_(std::move(directory)), user_(std::move(user)) {}

  Result<int> create() const {
    const auto root = tls::create_root_in_child(directory_);
    if (!root) return root.error();
    print_certificate(directory_, root->get());
    return 0;
  }
  Result<int> show() const {
    const auto certificate = tls::load_root_certificate(directory_);
    if (!certificate) return certificate.error();
    print_certificate(directory_, certificate->get());
    return 0;
  }
  Result<int> print_pem() const {
    const auto certificate = tls::load_root_certificate(directory_);
    if (!certificate) return certificate.error();
    fmt::print("{}", tls::to_pem(certificate->get()));
    return 0;
  }
  Result<int> install() const {
    const auto root = tls::ensure_root_in_child(directory_);
    if (!root) return root.error();
    auto status = show_stores(trust::install_trust(root_path(), user_));
    print_reach();
    return status;
  }
  Result<int> uninstall() const { return show_stores(trust::uninstall_trust(root_path(), user_)); }
  Result<int> status() const {
    const auto certificate = tls::load_root_certificate(directory_);
    if (!certificate) return certificate.error();
    print_stores(trust::trust_status(root_path(), user_));
    print_reach();
    return 0;
  }

 private:
  [[nodiscard]] std::string root_path() const { return directory_ + "/root-ca.pem"; }
  void print_reach() const {
    fmt::print(
        "Not covered: programs with a list of CAs of their own (Node, Deno, Python's certifi, ...)."
        "\nStart them with osproxy exec, which names all that they need, or name {} to those that\n"
        "add it to their own list (NODE_EXTRA_CA_CERTS, DENO_CERT).\n",
        base::printable(root_path()));
  }

  std::string directory_;
  base::User user_;
};

}  // namespace

Result<Settings> settings_of(const Invocation& invocation) {
  const auto user = divert::invoking_user();
  if (!user) return user.error();
  if (::geteuid() == 0 && user->uid != 0) return read_settings(invocation, *user);
  return load_settings(invocation, user->home);
}

Result<> become_caller(const Invocation& invocation) {
  const auto user = divert::invoking_user();
  if (!user) return user.error();
  if (::geteuid() != 0 || user->uid == 0) return {};
  restore_callers_environment(invocation);
  return base::become(*user);
}

Result<> need_root(const Invocation& invocation, std::string_view purpose) {
  if (::geteuid() == 0) return {};
  return base::failure("{} needs root {}; try: {}", invocation.command, purpose,
                       with_sudo(invocation));
}

Result<int> ca_command(const Invocation& invocation) {
  const auto settings = settings_of(invocation);
  if (!settings) return settings.error();
  const std::string& verb = invocation.positional.front();
  if (verb == "create" || verb == "install" || verb == "uninstall") {
    const std::string purpose =
        verb == "create" ? "to keep the key of the CA" : "to change the trust stores";
    if (const auto root = need_root(invocation, purpose); !root) return root.error();
  }
  const auto user = divert::invoking_user();
  if (!user) return user.error();
  const CaCommand command{settings->ca_dir, *user};
  if (verb == "create") return command.create();
  if (verb == "show") return command.show();
  if (verb == "export") return command.print_pem();
  if (verb == "install") return command.install();
  if (verb == "uninstall") return command.uninstall();
  return command.status();
}

/// It is all about what the user wrote.
Result<int> config_command(const Invocation& invocation) {
  const auto user = divert::invoking_user();
  if (!user) return user.error();
  if (const auto became = become_caller(invocation); !became) return became.error();
  const auto settings = load_settings(invocation, user->home);
  if (!settings) return settings.error();
  if (invocation.positional.front() == "show") {
    fmt::print("{}\n", render_config(*settings).dump(2, ' ', false,
                                                     nlohmann::json::error_handler_t::replace));
  } else {
    if (const auto files = check_files(*settings, user->home); !files) return files.error();
    const std::string path = config_path(invocation, user->home);
    const bool exists = ::access(path.c_str(), F_OK) == 0;
    fmt::print("{}\n", base::printable(path + (exists ? " is good"
                                                      : " does not exist: the defaults are used")));
  }
  return 0;
}

Result<int> doctor_command(const Invocation& invocation) {
  const auto settings = settings_of(invocation);
  if (!settings) return settings.error();
  const auto findings = examine(*settings);
  const bool jsonl = settings->format == Format::jsonl;
  fmt::print("{}", jsonl ? render_findings_jsonl(findings) : render_findings_text(findings));
  const auto in_the_way = [](const Finding& finding) {
    return finding.needed && finding.state != Finding::State::ok;
  };
  return std::ranges::any_of(findings, in_the_way) ? 1 : 0;
}

Result<int> cleanup_command(const Invocation& invocation) {
  if (const auto root = need_root(invocation, "to remove packet-filter rules"); !root)
    return root.error();
  std::vector<std::string> done = divert::remove_leftovers();
  const auto removed = pfctl::remove_stale_rules();
  if (!removed) return removed.error();
  done.insert(done.end(), removed->begin(), removed->end());
  for (const auto& line : done) fmt::print("{}\n", base::printable(line));
  if (done.empty()) fmt::print("nothing to clean up\n");
  return 0;
}

}  // namespace mitm::cli
