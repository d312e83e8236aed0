// What the worker gives up before it reads the first byte of a stranger's.
#pragma once

#include <string>
#include <vector>

#include "base/error.h"

namespace divert {

/// What a kernel can promise of a confined process.
struct Confinement {
  bool system_calls = false;  ///< Linux: seccomp(2)
  bool files = false;         ///< Linux: Landlock
};

/// For good, for the calling process and before it has threads; it must have the promise not to
/// gain rights (seal()). It starts no process and executes no program, looks into no other one and
/// signals none, opens no file to write to it, makes no memory executable but of files, no sockets
/// but of IPv4 and IPv6, and types nothing into its terminal. It reads files only beneath
/// `readable` (what does not exist there does not matter) and where the C library has its own.
/// Descriptors that are open stay as they are. What a kernel does not have is left out, see the
/// result; an error is a call that should have worked.
[[nodiscard]] base::Result<Confinement> confine(const std::vector<std::string>& readable);

/// What confine() would find here, without doing it.
[[nodiscard]] Confinement possible_confinement();

}  // namespace divert
