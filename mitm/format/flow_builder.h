// What readers of all formats do to make records of what a file tells.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "mitm/flow/event.h"
#include "mitm/flow/flow.h"

namespace mitm::format {

/// `address` with `port`; the unspecified address if it is none.
[[nodiscard]] base::Endpoint endpoint_of(std::string_view address, std::uint16_t port);

/// A body of which there was more when `cut`.
[[nodiscard]] flow::Body body_of(std::string_view bytes, bool cut);

/// A number for `name` that is always the same, below 2^53.
[[nodiscard]] std::uint64_t number_for(std::string_view name);

/// A message of `flow`, with what all messages of a flow have in common.
[[nodiscard]] std::shared_ptr<flow::StreamMessage> make_message(const flow::HttpFlow& flow,
                                                                flow::StreamMessage::Kind kind,
                                                                flow::Direction direction,
                                                                flow::Time time);
[[nodiscard]] std::shared_ptr<flow::StreamMessage> make_message(const flow::TcpFlow& flow,
                                                                flow::Direction direction,
                                                                flow::Time time);

}  // namespace mitm::format
