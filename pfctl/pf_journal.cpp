// The journal names addresses, rules and modules that root's tools are then given as arguments.
// Only root can write it; still each value must be what its kind says, so that a damaged file does
// no damage.
#include "pfctl/pf_journal.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <optional>

#include <boost/asio/ip/address.hpp>
#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pfctl/rules_owner.h"

namespace pfctl {
namespace {

using Json = nlohmann::json;
using Kind = Undo::Kind;

constexpr int kVersion = 1;
constexpr std::size_t kMostBytes = 8 << 20;
constexpr std::size_t kMostSteps = 64;

struct Name {
  Kind kind;
  const char* text;
};
constexpr std::array<Name, 8> kNames{{{Kind::flush_anchor, "flush_anchor"},
                                      {Kind::release_token, "release_token"},
                                      {Kind::restore_main, "restore_main"},
                                      {Kind::disable_pf, "disable_pf"},
                                      {Kind::remove_alias, "remove_alias"},
                                      {Kind::destroy_loopback, "destroy_loopback"},
                                      {Kind::set_mtu, "set_mtu"},
                                      {Kind::unload_module, "unload_module"}}};

bool only(std::string_view text, std::string_view characters, std::size_t most) {
  return text.size() <= most && text.find_first_not_of(characters) == std::string_view::npos;
}

bool is_mtu(std::string_view text) {
  unsigned mtu = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), mtu);
  return error == std::errc{} && end == text.data() + text.size() && mtu >= 576 && mtu <= 65535;
}

bool is_address(const std::string& text) {
  boost::system::error_code error;
  const auto address = boost::asio::ip::make_address(text, error);
  return !error && !address.is_unspecified() && text.find('%') == std::string::npos;
}

/// lo0 is shared, and small numbers are those of jails.
bool is_loopback_of_ours(std::string_view name) {
  return name.size() == 7 && name.starts_with("lo") && only(name.substr(2), "0123456789", 5);
}

bool fits(const Undo& undo) {
  switch (undo.kind) {
    case Kind::flush_anchor:
    case Kind::disable_pf:
      return undo.value.empty();
    case Kind::release_token:
      return only(undo.value, "0123456789", 20);
    case Kind::restore_main:
      return undo.value.find('\0') == std::string::npos;
    case Kind::remove_alias:
      return is_address(undo.value);
    case Kind::destroy_loopback:
      return is_loopback_of_ours(undo.value);
    case Kind::set_mtu:
      return is_mtu(undo.value);
    case Kind::unload_module:
      return !undo.value.empty() && only(undo.value, "abcdefghijklmnopqrstuvwxyz0123456789_", 32);
  }
  return false;
}

std::optional<Undo> undo_from(const Json& entry) {
  if (!entry.is_object() || entry.size() != 2) return {};
  const auto kind = entry.find("undo");
  const auto value = entry.find("value");
  if (kind == entry.end() || value == entry.end() || !kind->is_string() || !value->is_string())
    return {};
  const auto& text = kind->get_ref<const std::string&>();
  const auto name =
      std::ranges::find_if(kNames, [&](const Name& each) { return each.text == text; });
  if (name == kNames.end()) return {};
  Undo undo{name->kind, value->get<std::string>()};
  if (!fits(undo)) return {};
  return undo;
}

std::string folder_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : path.substr(0, std::max<std::size_t>(slash, 1));
}

std::string lock_of(const std::string& path) {
  return path + ".lock";
}

}  // namespace

std::string render_journal(const Journal& journal) {
  Json steps = Json::array();
  for (const auto& undo : journal.undo) {
    const auto name = std::ranges::find(kNames, undo.kind, &Name::kind);
    steps.push_back({{"undo", name->text}, {"value", undo.value}});
  }
  const Json whole{{"version", kVersion}, {"pid", journal.pid}, {"steps", std::move(steps)}};
  return whole.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

base::Result<Journal> parse_journal(std::string_view text) {
  const Json whole = Json::parse(text, nullptr, false);
  if (!whole.is_object())
    return base::failure("the journal of changes to pf is damaged: not a JSON object");
  const auto version = whole.find("version");
  if (version == whole.end() || *version != kVersion) {
    return base::failure("the journal of changes to pf is of another version of osproxy");
  }
  const auto pid = whole.find("pid");
  const auto steps = whole.find("steps");
  if (pid == whole.end() || !pid->is_number_unsigned() || *pid > 0x7fffffff ||
      steps == whole.end() || !steps->is_array() || steps->size() > kMostSteps) {
    return base::failure("the journal of changes to pf is damaged: no pid or no steps");
  }
  Journal journal{.pid = pid->get<long>(), .undo = {}};
  for (const auto& entry : *steps) {
    auto undo = undo_from(entry);
    if (!undo)
      return base::failure("the journal of changes to pf is damaged at step {}",
                           journal.undo.size() + 1);
    journal.undo.push_back(std::move(*undo));
  }
  return journal;
}

base::Result<Journal> read_journal(const std::string& path) {
  const auto text = base::read_file(path, kMostBytes);
  if (!text && text.error().os_code == ENOENT) return Journal{};
  if (!text) return text.error();
  auto journal = parse_journal(*text);
  if (journal) return journal;
  return base::failure(
      "{}: {}; look at pf by hand (pfctl -s Anchors, ifconfig lo0), then remove the file", path,
      journal.error().text);
}

base::Result<JournalFile> JournalFile::open(std::string path) {
  const std::string folder = folder_of(path);
  if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST)
    return base::os_error("cannot make " + folder, errno);
  base::UniqueFd lock(
      ::open(lock_of(path).c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!lock) return base::os_error("cannot open " + lock_of(path), errno);
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) == 0)
    return JournalFile(std::move(path), std::move(lock));
  if (errno != EWOULDBLOCK) return base::os_error("cannot lock " + lock_of(path), errno);
  const auto journal = read_journal(path);
  const std::string who =
      journal && journal->pid > 0 ? fmt::format("pid {}", journal->pid) : "just starting";
  return base::Error{fmt::format("another osproxy ({}) has rules in pf; end it first", who),
                     EWOULDBLOCK};
}

base::Result<> JournalFile::write(const Journal& journal) const {
  if (!journal.undo.empty()) return base::replace_file(path_, render_journal(journal), 0600);
  if (::unlink(path_.c_str()) == 0 || errno == ENOENT) return {};
  return base::os_error("cannot remove " + path_, errno);
}

base::Result<long> journal_owner(const std::string& path) {
  const base::UniqueFd lock(::open(lock_of(path).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!lock && errno != ENOENT) return base::os_error("cannot open " + lock_of(path), errno);
  const bool owned = lock && ::flock(lock.get(), LOCK_SH | LOCK_NB) != 0;
  const auto journal = read_journal(path);
  if (owned) return journal && journal->pid > 0 ? journal->pid : kUnseenOwner;
  if (!journal) return journal.error();
  return journal->undo.empty() ? 0 : kNoOwner;
}

}  // namespace pfctl
