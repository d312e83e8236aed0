// From an action to the function for it.
#include "mitm/control/apply.h"

#include <type_traits>

namespace mitm::control {
namespace {

template <class T, class... Types>
constexpr bool kIsOneOf = (std::is_same_v<T, Types> || ...);

}  // namespace

base::Result<> apply(const Action& action, Message& message, Outcome& outcome) {
  return std::visit(
      [&]<class T>(const T& one) -> base::Result<> {
        if constexpr (kIsOneOf<T, Respond, MapLocal>) {
          return apply(one, std::as_const(message), outcome);
        } else if constexpr (kIsOneOf<T, Reset>) {
          outcome.reset = true;
          return {};
        } else if constexpr (kIsOneOf<T, Delay>) {
          outcome.delay += one.time;
          return {};
        } else {
          return apply(one, message);
        }
      },
      action);
}

bool needs_body(const Action& action) {
  return std::visit(
      []<class T>(const T&) { return kIsOneOf<T, SetBody, ReplaceInBody, PatchJson, MergeJson>; },
      action);
}

bool ends_request(const Action& action) {
  return std::visit([]<class T>(const T&) { return kIsOneOf<T, Respond, Reset>; }, action);
}

}  // namespace mitm::control
