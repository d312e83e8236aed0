#include "mitm/intercept/context/gate.h"

namespace mitm::intercept {
namespace {

class NoGate final : public Gate {
 public:
  bool is_interested(const flow::ConnectionRecord&) override { return false; }
  std::optional<Decision> ask(Stage, Transaction&, Resume) override { return Decision::pass; }
  void withdrawn(Transaction&) override {}
};

}  // namespace

Gate& Gate::none() {
  static NoGate gate;
  return gate;
}

}  // namespace mitm::intercept
