// Checks that need nothing but POSIX and our own folders.
#include "mitm/cli/doctor_checks.h"

#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/fd.h"
#include "divert/broker/self_test.h"
#include "divert/process/privilege.h"
#include "mitm/cli/descriptors.h"
#include "mitm/tls/authority.h"
#include "mitm/trust/trust.h"
#include "pfctl/pf_machine.h"

namespace mitm::cli {
namespace {

using State = Finding::State;
constexpr rlim_t kFewDescriptors = 4096;

}  // namespace

bool is_root() {
  return ::geteuid() == 0;
}

Finding good(std::string check, std::string detail) {
  return {State::ok, std::move(check), std::move(detail), {}, true};
}

Finding bad(State state, std::string check, std::string detail, std::string advice, bool needed) {
  return {state, std::move(check), std::move(detail), std::move(advice), needed};
}

Finding needs_root(std::string check) {
  return bad(State::blocked, std::move(check), "cannot be looked at without root",
             "sudo osproxy doctor");
}

Finding check_privileges() {
  if (!is_root()) {
    return bad(State::blocked, "privileges", "not root: nothing can be diverted",
               "sudo osproxy doctor", true);
  }
  const auto gid = divert::choose_exempt_group(std::nullopt);
  if (!gid)
    return bad(State::blocked, "privileges", gid.error().text, "choose one with --group", true);
  return good("privileges",
              fmt::format("root; group {} is free for osproxy's own connections", *gid));
}

Finding check_ipv6(const std::string& cure) {
  const base::UniqueFd socket{::socket(AF_INET6, SOCK_STREAM, 0)};
  sockaddr_in6 address{};
  address.sin6_family = AF_INET6;
  address.sin6_addr = in6addr_loopback;
  if (socket &&
      ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0)
    return good("IPv6", "there is a loopback address for the listener");
  return bad(State::missing, "IPv6", "no loopback address: IPv6 connections are not diverted",
             "nothing, unless programs here use IPv6: " + cure, false);
}

/// Root without CAP_SYS_RESOURCE (containers) cannot raise its limit either.
Finding check_descriptors() {
  const rlimit before = raise_descriptor_limit();
  rlimit raised{};
  ::getrlimit(RLIMIT_NOFILE, &raised);
  ::setrlimit(RLIMIT_NOFILE, &before);
  const std::string text = fmt::format("{} open files at most", raised.rlim_cur);
  if (raised.rlim_cur >= kFewDescriptors) return good("descriptors", text);
  return bad(State::blocked, "descriptors", text, "ulimit -Hn 1048576", false);
}

Finding check_divert(const pfctl::Machine& machine) {
  constexpr const char* kName = "divert(4)";
  const auto loaded = machine.run({pfctl::kKldstat, "-q", "-m", "ipdivert"}, {});
  if (!loaded) return bad(State::missing, kName, loaded.error().text, "", false);
  if (loaded->status != 0) {
    return bad(
        State::missing, kName, "ipdivert is not loaded: connections are sorted at accept",
        "put net.inet.ip.fw.default_to_accept=1 into /boot/loader.conf (ipfw comes with it, and "
        "denies everything by default), then: kldload ipdivert",
        false);
  }
  const auto lenient = machine.run({pfctl::kSysctl, "-n", "net.inet.ip.fw.default_to_accept"}, {});
  const bool accepts = lenient && lenient->status == 0 && lenient->out.starts_with("1");
  if (accepts) return good(kName, "ipdivert is loaded, and ipfw accepts by default");
  return good(kName,
              "ipdivert is loaded; ipfw denies what none of its own rules accepts (ipfw list)");
}

void check_trust(const Settings& settings, Findings& findings) {
  const auto user = divert::invoking_user();
  const std::string root = settings.ca_dir + "/root-ca.pem";
  if (!user || !tls::load_root_certificate(settings.ca_dir)) {
    findings.push_back(bad(State::missing, "CA",
                           fmt::format("not created yet in {}", settings.ca_dir),
                           "the first run makes one", false));
    return;
  }
  for (const auto& store : trust::trust_status(root, *user)) {
    const std::string check = "CA";
    if (store.state == trust::StoreStatus::State::trusted) {
      findings.push_back(good(check, "trusted by " + store.store));
    } else if (store.state == trust::StoreStatus::State::absent) {
      findings.push_back(bad(State::missing, check, "not trusted by " + store.store,
                             fmt::format("sudo osproxy ca install{}, or use osproxy exec",
                                         tls::ca_dir_option(settings.ca_dir)),
                             false));
    } else {
      findings.push_back(bad(State::blocked, check, store.store + ": " + store.detail, "", false));
    }
  }
}

Finding proved(std::string check, divert::EngineChoice engine, bool needed) {
  const auto proof = divert::self_test(engine, divert::self_test_destination());
  if (proof)
    return good(std::move(check),
                "tried just now: of two test programs, the selected one alone was diverted");
  return bad(State::blocked, std::move(check), proof.error().text, "", needed);
}

}  // namespace mitm::cli
