// What a run shows of its flows: those that a filter selects.
#pragma once

#include <memory>

#include "mitm/flow/bus.h"
#include "mitm/query/filter.h"

namespace mitm::cli {

/// `subscriber`, which is given the flows that `filter` selects only: a flow that is under way, and
/// its messages, as soon as what is known of it decides; one that is decided at its end only then.
[[nodiscard]] std::unique_ptr<flow::Subscriber> with_view(
    std::unique_ptr<flow::Subscriber> subscriber, query::Filter filter);

/// Bytes of each body and message that the filter looks at: 0 if it looks at none.
[[nodiscard]] std::size_t bytes_looked_at(const query::Filter& filter);

}  // namespace mitm::cli
