// Each Java brings a file of roots, `cacerts`, which often is a link to one that the distribution
// makes. We look into it ourselves (starting a Java takes half a second) and let keytool edit a
// copy, which then takes the file's place in one step.
#include <array>
#include <cstdlib>
#include <filesystem>

#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "mitm/tls/authority.h"
#include "mitm/trust/program.h"
#include "mitm/trust/scratch.h"
#include "mitm/trust/stores.h"

namespace mitm::trust {
namespace {

namespace fs = std::filesystem;

/// Ours; and the name under which Debian's hook of update-ca-certificates imports ours, but never
/// removes it.
constexpr std::array kAliases = {kStoreName, "debian:osproxy-ca.pem"};
constexpr std::string_view kJksMagic = "\xfe\xed\xfe\xed";

/// Whether the file, and each directory on the way to it, can be changed by root only.
bool only_root_writes(const fs::path& file) {
  std::error_code error;
  for (fs::path part = fs::canonical(file, error); !error; part = part.parent_path()) {
    struct stat facts {};
    if (::stat(part.c_str(), &facts) != 0 || facts.st_uid != 0 || (facts.st_mode & 022) != 0)
      return false;
    if (part == part.root_path()) return true;
  }
  return false;
}

/// Where each OS has its Javas: a directory, how the names in it begin, and where the home is in
/// each.
struct JavaPlace {
  const char *directory, *prefix, *home;
};
constexpr std::array kJavaPlaces = {
    JavaPlace{"/usr/lib/jvm", "", ""},
    JavaPlace{"/Library/Java/JavaVirtualMachines", "", "/Contents/Home"},
    JavaPlace{"/usr/local", "openjdk", ""},
};

/// $JAVA_HOME, the system's `java`, then all others.
std::vector<std::string> java_homes() {
  std::vector<std::string> homes;
  if (const char* home = std::getenv("JAVA_HOME"); home != nullptr && *home == '/')
    homes.emplace_back(home);
  std::error_code error;
  const fs::path java = fs::canonical(find_program("java"), error);
  if (!error) homes.push_back(java.parent_path().parent_path().string());
  const std::size_t named = homes.size();
  for (const JavaPlace& place : kJavaPlaces) {
    for (const auto& entry : fs::directory_iterator(place.directory, error)) {
      if (entry.path().filename().string().starts_with(place.prefix))
        homes.push_back(entry.path().string() + place.home);
    }
  }
  std::sort(homes.begin() + static_cast<std::ptrdiff_t>(named), homes.end());
  return homes;
}

base::Result<base::Finished> run_keytool(const JavaStore& store, const std::string& file,
                                         std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), store.keytool);
  arguments.insert(arguments.end(),
                   {"-J-Duser.language=en", "-keystore", file, "-storepass", "changeit"});
  return run_tool(std::move(arguments), base::current_user());
}

base::Result<> replace_keeping_mode(const std::string& path, std::string_view bytes) {
  struct stat facts {};
  if (::stat(path.c_str(), &facts) != 0)
    return base::os_error(fmt::format("cannot read {}", path), errno);
  return base::replace_file(path, bytes, facts.st_mode & 07777);
}

class JavaTrust final : public TrustStore {
 public:
  explicit JavaTrust(JavaStore store) : store_(std::move(store)) {}

  StoreStatus status(const Root& root) const override {
    using State = StoreStatus::State;
    StoreStatus status{State::absent, fmt::format("Java ({})", store_.cacerts), {}};
    const auto holds = holds_root(root);
    if (holds && *holds) {
      status.state = State::trusted;
    } else if (auto usable = check_tools(); !usable || !holds) {
      status.state = State::unavailable;
      status.detail = !usable ? usable.error().text : holds.error().text;
    }
    return status;
  }

  base::Result<> install(const Root& root) const override {
    if (::geteuid() != 0) return base::failure("needs root; {}", root.advice("install"));
    if (auto cleared = uninstall({}); !cleared) return cleared.error();
    const auto edited = edited_by_keytool(
        store_, {"-importcert", "-noprompt", "-trustcacerts", "-alias", kStoreName}, root);
    if (!edited) return edited.error();
    return replace_keeping_mode(store_.cacerts, *edited);
  }

  base::Result<> uninstall(const Root& root) const override {
    if (auto usable = check_tools(); !usable) return usable.error();
    for (const char* alias : kAliases) {
      const auto present = has_alias(alias);
      if (!present) return present.error();
      if (!*present) continue;
      if (::geteuid() != 0) return base::failure("needs root; {}", root.advice("uninstall"));
      const auto edited = edited_by_keytool(store_, {"-delete", "-alias", alias}, {});
      if (!edited) return edited.error();
      if (auto replaced = replace_keeping_mode(store_.cacerts, *edited); !replaced)
        return replaced.error();
    }
    if (const auto holds = holds_root(root); holds && *holds) {
      return base::failure("{} still has the root under an alias that is not ours", store_.cacerts);
    }
    return {};
  }

 private:
  /// Certificates are stored as they are in JKS and in today's PKCS #12 trust stores; in older PKCS
  /// #12 ones they are encrypted.
  base::Result<bool> holds_root(const Root& root) const {
    if (root.der.empty()) return false;
    const auto bytes = base::read_file(store_.cacerts);
    if (!bytes) return bytes.error();
    if (root.is_in_bytes(*bytes)) return true;
    if (bytes->substr(0, kJksMagic.size()) == kJksMagic || !check_tools()) return false;
    const auto listed = run_keytool(store_, store_.cacerts, {"-list", "-rfc"});
    if (!listed) return listed.error();
    if (listed->status != 0) return program_error("keytool", *listed);
    return root.is_in_pem(listed->out);
  }

  base::Result<bool> has_alias(const char* alias) const {
    const auto listed = run_keytool(store_, store_.cacerts, {"-list", "-alias", alias});
    if (!listed) return listed.error();
    if (listed->status == 0) return true;
    if (listed->out.find("does not exist") != std::string::npos) return false;
    return program_error("keytool", *listed);
  }

  /// Root runs no program and trusts no file that a user could have put there.
  base::Result<> check_tools() const {
    if (store_.keytool.empty())
      return base::failure("keytool is missing from this Java: install a JDK or JRE that has it");
    if (::geteuid() == 0 && !store_.of_root) {
      return base::failure(
          "it belongs to a user, who can import the root there: keytool -importcert -alias {} "
          "-file {}/root-ca.pem -keystore {} -storepass changeit",
          kStoreName, tls::kStateDirectory, store_.cacerts);
    }
    return {};
  }

  JavaStore store_;
};

}  // namespace

std::vector<JavaStore> find_java() {
  std::vector<JavaStore> found;
  std::error_code error;
  const auto keep = [&](const fs::path& file, std::string keytool) {
    const std::string cacerts = fs::canonical(file, error).string();
    const auto known = [&](const JavaStore& store) { return store.cacerts == cacerts; };
    if (error || std::any_of(found.begin(), found.end(), known)) return;
    if (!fs::exists(keytool, error)) keytool = find_program("keytool");
    // Resolved, so that what is checked is what runs.
    keytool = fs::canonical(keytool, error).string();
    const bool of_root = only_root_writes(keytool) && only_root_writes(cacerts);
    found.push_back({cacerts, std::move(keytool), of_root});
  };
  for (const std::string& home : java_homes()) {
    keep(fs::path(home) / "lib/security/cacerts", home + "/bin/keytool");
    keep(fs::path(home) / "jre/lib/security/cacerts", home + "/jre/bin/keytool");
  }
  keep("/etc/ssl/certs/java/cacerts", {});
  return found;
}

base::Result<std::string> edited_by_keytool(const JavaStore& store,
                                            const std::vector<std::string>& arguments,
                                            const Root& root) {
  const auto bytes = base::read_file(store.cacerts);
  if (!bytes) return bytes.error();
  const auto scratch = Scratch::make();
  if (!scratch) return scratch.error();
  const std::string copy = **scratch / "cacerts", pem = **scratch / "root.pem";
  std::vector<std::string> all = arguments;
  base::Result<> ready = base::replace_file(copy, *bytes, 0600);
  if (ready && !root.pem.empty()) {
    ready = base::replace_file(pem, root.pem, 0600);
    all.insert(all.end(), {"-file", pem});
  }
  if (!ready) return ready.error();
  const auto finished = run_keytool(store, copy, std::move(all));
  if (!finished) return finished.error();
  if (finished->status != 0) return program_error("keytool", *finished);
  return base::read_file(copy);
}

TrustStores java_stores() {
  TrustStores stores;
  for (JavaStore& store : find_java())
    stores.push_back(std::make_unique<JavaTrust>(std::move(store)));
  return stores;
}

}  // namespace mitm::trust
