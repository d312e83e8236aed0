// sudo takes most of the user's PATH away, so that the usual places of programs are looked at as
// well. What is missed there (a program in a directory of its own that does not run yet) takes
// --wait-for.
#include "mitm/cli/filter_check.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <filesystem>
#include <set>

#include <fmt/format.h>
#include <glob.h>
#include <grp.h>
#include <pwd.h>
#include <unistd.h>

#include "base/suggestion.h"
#include "mitm/cli/help.h"
#include "mitm/cli/options.h"
#include "procmap/attribution.h"
#include "procmap/process_list.h"
#include "procmap/program_names.h"

namespace mitm::cli {
namespace {

namespace fs = std::filesystem;
using divert::FilterItem;
using divert::ProgramFilter;
using Names = FilterItem::Names;

constexpr std::array kUsualDirectories{"/usr/local/bin",
                                       "/usr/local/sbin",
                                       "/usr/bin",
                                       "/usr/sbin",
                                       "/bin",
                                       "/sbin",
                                       "/snap/bin",
                                       "/usr/games",
                                       "/opt/homebrew/bin",
                                       "/var/lib/flatpak/exports/bin"};
constexpr std::array kHomeDirectories{".local/bin", "bin", ".cargo/bin", "go/bin"};

procmap::ProcessFacts program_at(const std::string& path) {
  procmap::ProcessFacts facts;
  facts.exe = path;
  facts.name = procmap::base_name(path);
  return facts;
}

std::vector<std::string> directories(const std::string& path, const std::string& home) {
  std::vector<std::string> all;
  for_each_part(path, ':', [&](std::string_view part) {
    if (part.starts_with('/')) all.emplace_back(part);
  });
  all.insert(all.end(), kUsualDirectories.begin(), kUsualDirectories.end());
  for (const char* below : kHomeDirectories) all.push_back(home + "/" + below);
  return all;
}

bool is_program(const fs::path& path) {
  std::error_code error;
  return fs::is_regular_file(path, error) && ::access(path.c_str(), X_OK) == 0;
}

/// The programs of the usual places; a link also names what it leads to.
class Programs {
 public:
  Programs(const std::string& path, const std::string& home) {
    std::set<std::string> seen;
    for (const auto& directory : directories(path, home)) {
      std::error_code error;
      const auto real = fs::canonical(directory, error);
      if (error || !seen.insert(real).second) continue;
      each_in(directory, [&](const fs::path& file) { files_.push_back(file); });
    }
    // The apps of macOS.
    for (const auto& apps : {std::string("/Applications"), home + "/Applications"}) {
      each_in(apps, [&](const fs::path& app) {
        each_in(app / "Contents/MacOS", [&](const fs::path& file) { files_.push_back(file); });
      });
    }
  }

  /// Whether item `index` of `filter` means one of them.
  [[nodiscard]] bool have(const ProgramFilter& filter, std::size_t index) const {
    const auto matches = [&](const fs::path& file) {
      return filter.item_matches(index, program_at(file)) && is_program(file);
    };
    return std::ranges::any_of(files_, matches) || behind_links(matches);
  }
  [[nodiscard]] std::vector<std::string> names() const {
    std::vector<std::string> all;
    for (const auto& file : files_) all.push_back(file.filename());
    return all;
  }

 private:
  template <class Use>
  static void each_in(const fs::path& directory, Use use) {
    std::error_code error;
    for (fs::directory_iterator entry{directory, error}, end; !error && entry != end;
         entry.increment(error))
      use(entry->path());
  }

  /// /usr/bin/google-chrome leads to a directory in which the program's own executable lies beside
  /// it.
  template <class Matches>
  [[nodiscard]] bool behind_links(Matches matches) const {
    std::set<fs::path> places;
    for (const auto& file : files_) {
      std::error_code error;
      if (!fs::is_symlink(file, error)) continue;
      const auto target = fs::canonical(file, error);
      if (!error) places.insert(target.parent_path());
    }
    bool found = false;
    for (const auto& place : places)
      each_in(place, [&](const fs::path& file) { found |= matches(file); });
    return found;
  }

  std::vector<fs::path> files_;
};

bool is_number(std::string_view text) {
  return !text.empty() && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

/// Something whose path begins with `text`, which begins with a slash.
bool path_begins(const std::string& text) {
  std::error_code error;
  if (fs::exists(text, error)) return true;
  const auto slash = text.rfind('/');
  const auto leaf = text.substr(slash + 1);
  for (fs::directory_iterator entry{text.substr(0, slash + 1), error}, end; !error && entry != end;
       entry.increment(error)) {
    if (entry->path().filename().string().starts_with(leaf)) return true;
  }
  return false;
}

bool glob_finds(const std::string& pattern) {
  glob_t found{};
  const bool any = ::glob(pattern.c_str(), GLOB_NOSORT, nullptr, &found) == 0 && found.gl_pathc > 0;
  ::globfree(&found);
  return any;
}

/// A file that is named from the current directory: a script, a program that was just built.
bool is_file_here(const std::string& text) {
  std::error_code error;
  return text.find('/') == text.npos && fs::is_regular_file(text, error);
}

bool is_program_somewhere(const ProgramFilter& filter, std::size_t index, const FilterItem& item,
                          const Programs& programs) {
  if (item.text.starts_with('/') && !item.is_pattern && path_begins(item.text)) return true;
  if (item.text.starts_with('/') && item.is_pattern && glob_finds(item.text)) return true;
  return is_file_here(item.text) || programs.have(filter, index);
}

bool is_process(const std::string& text) {
  pid_t pid = 0;
  const auto* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, pid);
  if (error != std::errc{} || stop != end || pid <= 0) return false;
  return ::kill(pid, 0) == 0 || errno == EPERM;
}

std::string nearest(const std::string& typed, const std::vector<std::string>& names) {
  // Of two or three letters everything is near.
  if (typed.size() < 4) return {};
  return base::nearest_word(typed, {names.begin(), names.end()});
}

/// "./app" is no part of a full path, though there is such a file.
std::string full_path(const std::string& text) {
  std::error_code error;
  if (text.find('/') == text.npos || text.starts_with('/')) return {};
  const auto path = fs::canonical(text, error);
  return error ? std::string() : path.string();
}

}  // namespace

std::vector<Unfound> not_installed(const ProgramFilter& filter, const std::string& path,
                                   const std::string& home) {
  const auto items = filter.items();
  const Programs programs{path, home};
  std::vector<Unfound> unfound;
  for (std::size_t i = 0; i < items.size(); ++i) {
    const FilterItem& item = items[i];
    switch (item.names) {
      case Names::program:
        if (is_program_somewhere(filter, i, item, programs)) continue;
        break;
      case Names::process:
        if (is_process(item.text)) continue;
        break;
      case Names::user:
        if (is_number(item.text) || ::getpwnam(item.text.c_str()) != nullptr) continue;
        break;
      case Names::group:
        if (is_number(item.text) || ::getgrnam(item.text.c_str()) != nullptr) continue;
        break;
      case Names::cgroup:
        break;
      case Names::unknown:
        continue;
    }
    Unfound one{i, {}};
    if (item.names == Names::program && !item.is_pattern) {
      one.near = full_path(item.text);
      auto names = programs.names();
      for (const HelpPage& page : help_pages())
        names.insert(names.begin(), std::string(page.command));
      if (one.near.empty()) one.near = nearest(item.text, names);
    }
    unfound.push_back(std::move(one));
  }
  return unfound;
}

std::vector<Unfound> not_running(const ProgramFilter& filter, std::vector<Unfound> unfound,
                                 const std::function<Processes()>& processes) {
  if (unfound.empty()) return unfound;
  const auto running = processes();
  const auto items = filter.items();
  std::erase_if(unfound, [&](const Unfound& one) {
    return one.item >= items.size() || std::ranges::any_of(running, [&](const auto& facts) {
             return filter.item_matches(one.item, *facts);
           });
  });
  for (Unfound& one : unfound) {
    const FilterItem& item = items[one.item];
    if (item.names != Names::program || item.is_pattern || one.near.starts_with('/')) continue;
    std::vector<std::string> names;
    for (const auto& facts : running) names.push_back(facts->name);
    if (!one.near.empty()) names.push_back(one.near);
    one.near = nearest(item.text, names);
  }
  return unfound;
}

Processes other_processes() {
  Processes all;
  auto attributor = procmap::Attributor::open();
  if (!attributor) return all;
  for (const pid_t pid : procmap::live_processes()) {
    if (pid == ::getpid()) continue;
    if (auto facts = attributor->facts_of(pid)) all.push_back(std::move(facts));
  }
  return all;
}

std::string describe(const FilterItem& item, const Unfound& unfound) {
  constexpr std::size_t kLongest = 80;
  const bool is_long = item.text.size() > kLongest;
  const auto text = fmt::format("'{}{}'", item.text.substr(0, kLongest), is_long ? "..." : "");
  switch (item.names) {
    case Names::program:
      return fmt::format(
          "no program like {} runs or is installed{}", text,
          unfound.near.empty() ? "" : fmt::format("; did you mean {}?", unfound.near));
    case Names::process:
      return fmt::format("there is no process {}", item.text);
    case Names::user:
      return fmt::format("there is no user {}", text);
    case Names::group:
      return fmt::format("there is no group {}", text);
    case Names::cgroup:
      return fmt::format("no process is in the cgroup {}", text);
    case Names::unknown:
      break;
  }
  return {};
}

}  // namespace mitm::cli
