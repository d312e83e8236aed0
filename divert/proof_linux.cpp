// The rules of nftables tell our own connections on the loopback by their marks and groups.
#include "divert/proof.h"

namespace divert {

std::optional<base::Endpoint> proof_destination() {
  return std::nullopt;
}

}  // namespace divert
