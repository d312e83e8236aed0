// Whether a FILTER names anything that exists. A mistyped command is a FILTER like any other word,
// and a mistyped program would be waited for without end.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "divert/policy/program_filter.h"

namespace mitm::cli {

/// An item of a filter for which no file, account or process was found.
struct Unfound {
  std::size_t item = 0;  ///< index into ProgramFilter::items()
  std::string near;  ///< a name of a program or command that is nearly what was typed; empty: none
};

/// Looks for programs in `path` (as PATH has it), in the usual directories, `home`'s too, and in
/// the current directory, and for users, groups and process ids. Opens directories with the
/// caller's rights: not for root on a user's behalf. Blocks for milliseconds, as long as a name
/// service for users.
std::vector<Unfound> not_installed(const divert::ProgramFilter& filter, const std::string& path,
                                   const std::string& home);

/// Those of `unfound` that no process has either; `near` is the nearest of the processes' names as
/// well. `processes` is asked only when there is something to look for.
using Processes = std::vector<std::shared_ptr<const procmap::ProcessFacts>>;
std::vector<Unfound> not_running(const divert::ProgramFilter& filter, std::vector<Unfound> unfound,
                                 const std::function<Processes()>& processes);

/// All processes but this one, as far as the caller may see them; as root, all.
Processes other_processes();

/// One sentence about an item that names nothing: "no program like 'crul' runs or is installed; did
/// you mean curl?".
std::string describe(const divert::FilterItem& item, const Unfound& unfound);

}  // namespace mitm::cli
