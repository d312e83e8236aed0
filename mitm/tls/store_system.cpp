// The system's store: a file in the distribution's directory for local roots, and the program that makes the
// bundles from it.
#include <array>
#include <filesystem>

#include <unistd.h>

#include "base/fd.h"
#include "mitm/tls/program.h"
#include "mitm/tls/stores.h"

namespace mitm::tls {
namespace {

namespace fs = std::filesystem;

struct Anchor {
  const char* directory;
  const char* file;
  std::array<const char*, 2> update;
  const char* links;  ///< where the update leaves links to a file that is gone; null: nowhere
};

constexpr std::array kAnchors = {
    Anchor{"/etc/pki/ca-trust/source/anchors", "osproxy-ca.pem", {"update-ca-trust", "extract"}, nullptr},
    Anchor{"/usr/local/share/ca-certificates",
           "osproxy-ca.crt",
           {"update-ca-certificates", nullptr},
           "/etc/ssl/certs"},
    Anchor{
        "/etc/ca-certificates/trust-source/anchors", "osproxy-ca.pem", {"trust", "extract-compat"}, nullptr},
    Anchor{"/usr/share/pki/trust/anchors", "osproxy-ca.pem", {"update-ca-certificates", nullptr}, nullptr},
};

constexpr std::array kBundles = {"/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt",
                                 "/etc/ssl/ca-bundle.pem",
                                 "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem", "/etc/ssl/cert.pem"};

constexpr PackageNames kPackages{"ca-certificates", "ca-certificates", "ca-certificates-utils",
                                 "ca-certificates"};

/// Debian's update-ca-certificates leaves the links of a removed file (and its hash) dangling, and later ones
/// would then not see a new root of the same name as new.
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
    const auto bundle = base::read_file(system_bundle());
    if (bundle && root.is_in_pem(*bundle)) {
      status.state = State::trusted;
    } else if (updater_.empty()) {
      status.state = State::unavailable;
      status.detail = fmt::format("{} is missing: {}", anchor_->update[0], install_command(kPackages));
    } else if (const auto file = base::read_file(path_)) {
      status.detail =
          root.is_in_pem(*file)
              ? fmt::format("{} has not reached {}; run: sudo osproxy ca install", path_, system_bundle())
              : fmt::format("{} is an older osproxy root; run: sudo osproxy ca install", path_);
    }
    return status;
  }

  base::Result<> install(const Root& root) const override {
    if (::geteuid() != 0) return base::failure("needs root; run: sudo osproxy ca install");
    if (auto cleared = clear(); !cleared) return cleared.error();
    base::Result<> done = base::replace_file(path_, root.pem, 0644);
    if (done) done = update();
    if (done && status(root).state != StoreStatus::State::trusted) {
      done = base::failure("{} ran, but {} has no osproxy root", anchor_->update[0], system_bundle());
    }
    if (done) return {};
    if (auto undone = clear(); undone) (void)update();
    return done.error();
  }

  base::Result<> uninstall(const Root& root) const override {
    const bool trusted = status(root).state == StoreStatus::State::trusted;
    if (!trusted && ::access(path_.c_str(), F_OK) != 0) return {};
    if (::geteuid() != 0) return base::failure("needs root; run: sudo osproxy ca uninstall");
    if (auto cleared = clear(); !cleared) return cleared.error();
    if (auto updated = update(); !updated) return updated.error();
    if (!root.der.empty() && status(root).state == StoreStatus::State::trusted) {
      return base::failure("{} still has the root from another file than {}", system_bundle(), path_);
    }
    return {};
  }

 private:
  base::Result<> clear() const {
    if (::unlink(path_.c_str()) != 0 && errno != ENOENT) {
      return base::os_error(fmt::format("cannot remove {}", path_), errno);
    }
    remove_links(*anchor_);
    return {};
  }

  base::Result<> update() const {
    if (updater_.empty())
      return base::failure("{} is missing: {}", anchor_->update[0], install_command(kPackages));
    Program program{{updater_}, {}};
    if (anchor_->update[1] != nullptr) program.arguments.emplace_back(anchor_->update[1]);
    const auto finished = run(program, nobody_else());
    if (!finished) return finished.error();
    if (finished->status != 0) return program_error(anchor_->update[0], *finished);
    return {};
  }

  const Anchor* anchor_;
  std::string path_;
  std::string updater_;
};

}  // namespace

std::unique_ptr<TrustStore> system_store() {
  std::error_code error;
  for (const Anchor& anchor : kAnchors) {
    if (fs::is_directory(anchor.directory, error)) return std::make_unique<SystemStore>(&anchor);
  }
  return std::make_unique<SystemStore>(nullptr);
}

std::string system_bundle() {
  for (const char* path : kBundles) {
    if (::access(path, R_OK) == 0) return path;
  }
  return {};
}

}  // namespace mitm::tls
