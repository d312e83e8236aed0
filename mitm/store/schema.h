// What a session file consists of, and its versions.
#pragma once

#include <string>

#include "mitm/store/database.h"

namespace mitm::store {

/// "ospx", in SQLite's header: what file(1) and we know a session by.
inline constexpr std::int64_t kApplicationId = 0x6f737078;

/// The version that is written: the number of migrations.
[[nodiscard]] std::int64_t newest_version();

/// For writing: sets up an empty file as a session, brings an older one to the newest version. An
/// error if it is no session, or was written by a newer osproxy; it is then as it was.
[[nodiscard]] base::Result<> prepare_to_write(Database& database);
/// For reading: checks that it is a session of a version that is known. Changes nothing.
[[nodiscard]] base::Result<> check_readable(Database& database);

/// Flows that a writer has left unfinished are interrupted. The caller must hold the SessionLock.
[[nodiscard]] base::Result<> interrupt_live_flows(Database& database);

}  // namespace mitm::store
