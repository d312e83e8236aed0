// Owners of loaded rules that are not known as a process: returned in place of a process id.
#pragma once

namespace pfctl {

inline constexpr long kNoOwner = -1;      ///< the rules or the journal were left behind
inline constexpr long kUnseenOwner = -2;  ///< a process that cannot be seen from here

}  // namespace pfctl
