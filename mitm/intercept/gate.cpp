#include "mitm/intercept/gate.h"

namespace mitm::intercept {
namespace {

class NoGate final : public Gate {
 public:
  Interest interest(const flow::ConnectionRecord&, sniff::Protocol) override {
    return Interest::none;
  }
};

}  // namespace

Gate& Gate::none() {
  static NoGate gate;
  return gate;
}

}  // namespace mitm::intercept
