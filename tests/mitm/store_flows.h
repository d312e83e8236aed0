// Flows with a value in every member, and every difference between two of them in words: what a
// session or a file loses is named.
#pragma once

#include <string>
#include <vector>

#include "mitm/flow/flow.h"

namespace test {

/// Every member is set, to something that no other has.
[[nodiscard]] mitm::flow::Flow full_http_flow();
[[nodiscard]] mitm::flow::Flow full_websocket_flow();
[[nodiscard]] mitm::flow::Flow full_tcp_flow();
[[nodiscard]] mitm::flow::Flow full_dns_flow();

/// "response.reason: 'OK' is now ''" for each member that differs, ids apart.
[[nodiscard]] std::vector<std::string> differences(const mitm::flow::Flow& a,
                                                   const mitm::flow::Flow& b);

}  // namespace test
