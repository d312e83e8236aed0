// Certificates, settings and rules with which interception is tested.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "divert/policy/policy.h"
#include "mitm/intercept/context/context.h"
#include "mitm/tls/leaf.h"
#include "mitm/tls/openssl.h"
#include "tests/mitm/flat_flow.h"

namespace rig {

/// How a direction ended, as the one who reads sees it.
enum class End { none, fin, notify, truncated, reset };

/// `url` as flows have it, when its requests name no port: with that of the server.
inline std::string with_port(std::string url, const test::FlatFlow& flow) {
  const auto path = url.find('/', url.find("://") + 3);
  return url.insert(path, ':' + std::to_string(flow.server.port()));
}

inline constexpr std::string_view kGet = "GET /a HTTP/1.1\r\nHost: h.test\r\n\r\n";
inline constexpr std::string_view kOk = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

/// One rule: connections to `host`.
divert::Policy policy_for(std::string host, divert::Action action);
/// The verdict while that rule waits for a host.
divert::Verdict by_host(divert::Action otherwise, divert::Action action);

/// A CA of the test's own, and what servers and programs make of it.
struct Authority {
  std::string pem;  ///< the root
  std::shared_ptr<const mitm::tls::LeafSigner> signer;

  /// Server-side context with a certificate for `host`.
  [[nodiscard]] mitm::tls::SslCtxPtr server(const std::string& host) const;
  /// Client-side context that trusts the root.
  [[nodiscard]] mitm::tls::SslCtxPtr client() const;
};
const Authority& ours();    ///< osproxy's own CA
const Authority& theirs();  ///< the CA of the servers
const Authority& strangers();

/// As in a hello.
std::string wire_names(const std::vector<std::string>& names);

/// Engine settings that trust theirs().
mitm::intercept::Settings trusting();
/// trusting(), and every program gets a page that says why its server cannot be trusted.
mitm::intercept::Settings with_pages();

}  // namespace rig
