// The system's store on Linux and FreeBSD: a file in a directory for local roots, and the program
// that makes from it what programs read: a bundle, or a directory of hashes.
#include <array>
#include <filesystem>

#include <unistd.h>

#include "base/fd.h"
#include "mitm/trust/program.h"
#include "mitm/trust/stores.h"

namespace mitm::trust {
namespace {

namespace fs = std::filesystem;

struct Anchor {
  const char* directory;
  const char* file;
  std::array<const char*, 2> update;
  const char* links;  ///< where the update leaves links to a file that is gone; null: nowhere
  const char*
      hashed;  ///< the directory in which programs find the root; null: they read the bundle
};

constexpr std::array kAnchors = {
    Anchor{"/etc/pki/ca-trust/source/anchors",
           "osproxy-ca.pem",
           {"update-ca-trust", "extract"},
           nullptr,
           nullptr},
    Anchor{"/usr/local/share/ca-certificates",
           "osproxy-ca.crt",
           {"update-ca-certificates", nullptr},
           "/etc/ssl/certs",
           nullptr},
    Anchor{"/etc/ca-certificates/trust-source/anchors",
           "osproxy-ca.pem",
           {"trust", "extract-compat"},
           nullptr,
           nullptr},
    Anchor{"/usr/share/pki/trust/anchors",
           "osproxy-ca.pem",
           {"update-ca-certificates", nullptr},
           nullptr,
           nullptr},
};

/// The directory is not there before a root is added, but certctl(8) looks into it.
constexpr Anchor kFreebsd{
    "/usr/local/etc/ssl/certs", "osproxy-ca.pem", {"certctl", "rehash"}, nullptr, "/etc/ssl/certs"};

/// The last two: macOS, FreeBSD 15 and OpenBSD; FreeBSD with the package ca_root_nss.
constexpr std::array kBundles = {"/etc/ssl/certs/ca-certificates.crt",
                                 "/etc/pki/tls/certs/ca-bundle.crt",
                                 "/etc/ssl/ca-bundle.pem",
                                 "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
                                 "/etc/ssl/cert.pem",
                                 "/usr/local/share/certs/ca-root-nss.crt"};

constexpr PackageNames kPackages{"ca-certificates", "ca-certificates", "ca-certificates-utils",
                                 "ca-certificates", "ca_root_nss",     "ca-certificates"};

/// Debian's update-ca-certificates leaves the links of a removed file (and its hash) dangling, and
/// later ones would then not see a new root of the same name as new.
void remove_links(const Anchor& anchor) {
  if (anchor.links == nullptr) return;
  const fs::path file = fs::path(anchor.directory) / anchor.file;
  const std::string link = fs::path(anchor.file).stem().string() + ".pem";
  std::error_code error;
  std::vector<fs::path> ours;
  for (const auto& entry : fs::directory_iterator(anchor.links, error)) {
    if (!entry.is_symlink(error)) continue;
    const fs::path target = fs::read_symlink(entry.path(), error);
    if (target == file || target == link) ours.push_back(entry.path());
  }
  for (const fs::path& path : ours) fs::remove(path, error);
}

class SystemStore final : public TrustStore {
 public:
  explicit SystemStore(const Anchor* anchor) : anchor_(anchor) {
    if (anchor_ == nullptr) return;
    path_ = fmt::format("{}/{}", anchor_->directory, anchor_->file);
    updater_ = find_program(anchor_->update[0]);
  }

  StoreStatus status(const Root& root) const override {
    using State = StoreStatus::State;
    if (anchor_ == nullptr) {
      return {State::unavailable, "system",
              fmt::format("no directory for local roots: {}", install_command(kPackages))};
    }
    StoreStatus status{State::absent, fmt::format("system ({})", anchor_->directory), {}};
    if (is_trusted(root)) {
      status.state = State::trusted;
    } else if (updater_.empty()) {
      status.state = State::unavailable;
      status.detail = missing_updater().text;
    } else if (const auto file = base::read_file(path_)) {
      status.detail = root.is_in_pem(*file) ? fmt::format("{} has not reached {}; {}", path_,
                                                          destination(), root.advice("install"))
                                            : fmt::format("{} is another osproxy root; {}", path_,
                                                          root.advice("install"));
    }
    return status;
  }

  base::Result<> install(const Root& root) const override {
    if (::geteuid() != 0) return base::failure("needs root; {}", root.advice("install"));
    if (auto cleared = clear(); !cleared) return cleared.error();
    base::Result<> done = make_directory();
    if (done) done = base::replace_file(path_, root.pem, 0644);
    if (done) done = update();
    if (done && status(root).state != StoreStatus::State::trusted) {
      done = base::failure("{} ran, but {} has no osproxy root", anchor_->update[0], destination());
    }
    if (done) return {};
    if (auto undone = clear(); undone) (void)update();
    return done.error();
  }

  base::Result<> uninstall(const Root& root) const override {
    const bool trusted = status(root).state == StoreStatus::State::trusted;
    if (!trusted && ::access(path_.c_str(), F_OK) != 0) return {};
    if (::geteuid() != 0) return base::failure("needs root; {}", root.advice("uninstall"));
    if (auto cleared = clear(); !cleared) return cleared.error();
    if (auto updated = update(); !updated) return updated.error();
    if (!root.der.empty() && status(root).state == StoreStatus::State::trusted) {
      return base::failure("{} still has the root from another file than {}", destination(), path_);
    }
    return {};
  }

 private:
  [[nodiscard]] std::string destination() const {
    return anchor_->hashed != nullptr ? anchor_->hashed : system_bundle();
  }

  [[nodiscard]] bool is_trusted(const Root& root) const {
    if (anchor_->hashed != nullptr) return root.is_in_hashed(anchor_->hashed);
    const auto bundle = base::read_file(system_bundle());
    return bundle && root.is_in_pem(*bundle);
  }

  [[nodiscard]] base::Error missing_updater() const {
    if (anchor_ == &kFreebsd)
      return base::failure("{} is missing: it belongs to FreeBSD 12.2 and later",
                           anchor_->update[0]);
    return base::failure("{} is missing: {}", anchor_->update[0], install_command(kPackages));
  }

  [[nodiscard]] base::Result<> make_directory() const {
    std::error_code error;
    fs::create_directories(anchor_->directory, error);
    if (error)
      return base::os_error(fmt::format("cannot create {}", anchor_->directory), error.value());
    return {};
  }

  base::Result<> clear() const {
    if (::unlink(path_.c_str()) != 0 && errno != ENOENT) {
      return base::os_error(fmt::format("cannot remove {}", path_), errno);
    }
    remove_links(*anchor_);
    return {};
  }

  base::Result<> update() const {
    if (updater_.empty()) return missing_updater();
    std::vector<std::string> arguments{updater_};
    if (anchor_->update[1] != nullptr) arguments.emplace_back(anchor_->update[1]);
    const auto finished = run_tool(std::move(arguments), base::current_user());
    if (!finished) return finished.error();
    if (finished->status != 0) return program_error(anchor_->update[0], *finished);
    return {};
  }

  const Anchor* anchor_;
  std::string path_;
  std::string updater_;
};

/// OpenBSD's one bundle is part of the system: an upgrade replaces it, and what we put in would be
/// gone or, worse, be another's line to take out.
class OneFileStore final : public TrustStore {
 public:
  StoreStatus status(const Root& root) const override {
    using State = StoreStatus::State;
    const auto bundle = base::read_file(kFile);
    const bool trusted = bundle && root.is_in_pem(*bundle);
    return {trusted ? State::trusted : State::unavailable, fmt::format("system ({})", kFile),
            trusted ? "" : by_hand().text};
  }
  base::Result<> install(const Root&) const override { return by_hand(); }
  base::Result<> uninstall(const Root& root) const override {
    if (status(root).state != StoreStatus::State::trusted) return {};
    return base::failure("the root was put into {} by hand; take it out there", kFile);
  }

 private:
  static constexpr const char* kFile = "/etc/ssl/cert.pem";

  static base::Error by_hand() {
    return base::failure(
        "not changed by osproxy, because every upgrade of the system replaces it; by hand, and "
        "again after each: osproxy ca export | doas tee -a {}; or osproxy exec, which needs no "
        "installation",
        kFile);
  }
};

}  // namespace

std::unique_ptr<TrustStore> linux_store() {
  std::error_code error;
  for (const Anchor& anchor : kAnchors) {
    if (fs::is_directory(anchor.directory, error)) return std::make_unique<SystemStore>(&anchor);
  }
  return std::make_unique<SystemStore>(nullptr);
}

std::unique_ptr<TrustStore> freebsd_store() {
  return std::make_unique<SystemStore>(&kFreebsd);
}

std::unique_ptr<TrustStore> openbsd_store() {
  return std::make_unique<OneFileStore>();
}

std::string system_bundle() {
  for (const char* path : kBundles) {
    if (::access(path, R_OK) == 0) return path;
  }
  return {};
}

base::Result<std::string> system_roots(const std::string& hashed_directory) {
  if (const std::string bundle = system_bundle(); !bundle.empty()) return base::read_file(bundle);
  std::vector<fs::path> files;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(hashed_directory, error)) {
    const std::string extension = entry.path().extension().string();
    const bool is_number =
        extension.size() > 1 && extension.find_first_not_of("0123456789", 1) == extension.npos;
    if (is_number) files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  std::string roots;
  for (const fs::path& path : files) {
    const auto file = base::read_file(path.string(), 1 << 20);
    if (file) roots.append(*file).append("\n");
  }
  return roots;
}

}  // namespace mitm::trust
