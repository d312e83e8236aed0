#include "mitm/intercept/session/editing.h"

namespace mitm::intercept {

Editing::~Editing() {
  const bool waits = is_waiting(flow::Direction::request) || is_waiting(flow::Direction::response);
  if (waits) gate_.withdrawn(transaction_);
}

void Editing::account() {
  std::size_t bytes = 0;
  for (const auto direction : {flow::Direction::request, flow::Direction::response}) {
    const Half& held = half(direction);
    bytes += held.raw.capacity() + held.body.capacity() + transaction_.held(direction);
  }
  share_.set(bytes);
}

std::optional<Decision> Editing::ask(Stage stage) {
  half(direction_of(stage)).way = Way::wait;
  return gate_.ask(stage, transaction_, [weak = weak_from_this(), stage](Decision decision) {
    if (const auto self = weak.lock()) self->resume(stage, decision);
  });
}

void Editing::resume(Stage stage, Decision decision) {
  if (is_waiting(direction_of(stage))) resumed_(stage, decision);
}

}  // namespace mitm::intercept
