// What the writer and the reader of mitmproxy's flow state share: times, and the keys that osproxy
// puts into a flow's `metadata`, where mitmproxy shows them and matches them (`~meta`).
#pragma once

#include <cmath>
#include <string_view>

#include "mitm/flow/flow.h"
#include "mitm/format/tnetstring.h"

namespace mitm::format {

/// Since the epoch; exact to the microsecond for centuries.
[[nodiscard]] inline double to_seconds(flow::Time time) {
  const auto micros =
      std::chrono::duration_cast<std::chrono::microseconds>(time.time_since_epoch());
  return static_cast<double>(micros.count()) / 1e6;
}

/// The reverse. What no clock says (before 1970, after 2200) becomes the epoch.
[[nodiscard]] inline flow::Time from_seconds(double seconds) {
  constexpr double kLast = 7.26e9;
  if (!(seconds > 0 && seconds < kLast)) return {};
  return flow::Time(std::chrono::microseconds(std::llround(seconds * 1e6)));
}

namespace meta {
inline constexpr std::string_view kName = "process.name";
inline constexpr std::string_view kPid = "process.pid";
inline constexpr std::string_view kPpid = "process.ppid";
inline constexpr std::string_view kPath = "process.path";
inline constexpr std::string_view kCmdline = "process.cmdline";  ///< quoted for a shell
inline constexpr std::string_view kUser = "process.user";
inline constexpr std::string_view kUid = "process.uid";
inline constexpr std::string_view kGroup = "process.group";
inline constexpr std::string_view kGid = "process.gid";
inline constexpr std::string_view kCgroup = "process.cgroup";
inline constexpr std::string_view kStartTime = "process.start_time";  ///< seconds since the epoch
inline constexpr std::string_view kType = "osproxy.type";
inline constexpr std::string_view kId = "osproxy.id";
inline constexpr std::string_view kConn = "osproxy.conn";
inline constexpr std::string_view kDecision = "osproxy.decision";
inline constexpr std::string_view kReason = "osproxy.reason";
inline constexpr std::string_view kStarttls = "osproxy.starttls";
inline constexpr std::string_view kState = "osproxy.state";        ///< "live", "interrupted"
inline constexpr std::string_view kTags = "osproxy.tags";          ///< parted by commas
inline constexpr std::string_view kDuration = "osproxy.duration";  ///< seconds
inline constexpr std::string_view kRequestBytes = "osproxy.request_bytes";
inline constexpr std::string_view kResponseBytes = "osproxy.response_bytes";
inline constexpr std::string_view kRequestCut = "osproxy.request_body_cut";
inline constexpr std::string_view kResponseCut = "osproxy.response_body_cut";
}  // namespace meta

}  // namespace mitm::format
