// Flows with a value in every member: what a session loses shows (flow_description.h).
#pragma once

#include "mitm/flow/flow.h"

namespace test {

/// Every member is set, to something that no other has.
[[nodiscard]] mitm::flow::Flow full_http_flow();
[[nodiscard]] mitm::flow::Flow full_websocket_flow();
[[nodiscard]] mitm::flow::Flow full_tcp_flow();
[[nodiscard]] mitm::flow::Flow full_dns_flow();

}  // namespace test
