// macOS: roots are certificates in a keychain, and trust is a setting beside it, kept by another
// program. Both are changed by security(1), which since macOS 11 asks an administrator in a window
// when the setting of the whole machine changes, root or not.
#include <array>

#include <openssl/err.h>
#include <openssl/sha.h>
#include <unistd.h>

#include "base/fd.h"
#include "mitm/tls/authority.h"
#include "mitm/tls/certificate.h"
#include "mitm/tls/openssl.h"
#include "mitm/trust/program.h"
#include "mitm/trust/scratch.h"
#include "mitm/trust/stores.h"

namespace mitm::trust {
namespace {

constexpr const char* kKeychain = "/Library/Keychains/System.keychain";
constexpr std::string_view kNameOfOurs = "osproxy CA ";
constexpr std::chrono::minutes kTimeForPassword{5};

/// By what security(1) says when there is no screen to ask on (SSH, launchd), and when the person
/// said no.
constexpr std::array kNobodyToAsk = {"no user interaction", "User interaction is not allowed",
                                     "errSecInternalComponent", "authorization was denied"};
constexpr std::array kRefused = {"was canceled by the user", "User canceled the operation"};
/// When there is no setting to take away.
constexpr std::array kNoSetting = {"could not be found", "No Trust Settings were found"};

template <std::size_t N>
bool says(const base::Finished& finished, const std::array<const char*, N>& phrases) {
  return std::any_of(phrases.begin(), phrases.end(), [&](const char* phrase) {
    return finished.out.find(phrase) != std::string::npos;
  });
}

base::Error explained(std::string_view verb, const base::Finished& finished) {
  const base::Error error = program_error(fmt::format("security {}", verb), finished);
  constexpr const char* kWindow = "macOS asks for an administrator's password in a window";
  if (says(finished, kRefused)) {
    return base::failure(
        "{}; {}: run it again and give it, or use osproxy exec, which changes no keychain",
        error.text, kWindow);
  }
  if (says(finished, kNobodyToAsk)) {
    return base::failure(
        "{}; {}, which over SSH or from a service it cannot open: run it in a Terminal on the "
        "Mac's own screen, or have device management trust what osproxy ca export prints",
        error.text, kWindow);
  }
  return error;
}

tls::X509Ptr certificate_of(const std::string& der) {
  const auto* at = reinterpret_cast<const unsigned char*>(der.data());
  tls::X509Ptr certificate{d2i_X509(nullptr, &at, static_cast<long>(der.size()))};
  ERR_clear_error();
  return certificate;
}

bool bears_our_name(const std::string& der) {
  const tls::X509Ptr certificate = certificate_of(der);
  return certificate && tls::common_name(certificate.get()).starts_with(kNameOfOurs);
}

/// As security(1) takes it on every macOS: newer ones take SHA-256 as well, older ones do not.
std::string sha1_of(const std::string& der) {
  std::array<unsigned char, SHA_DIGEST_LENGTH> digest{};
  SHA1(reinterpret_cast<const unsigned char*>(der.data()), der.size(), digest.data());
  return fmt::format("{:02X}", fmt::join(digest, ""));
}

class KeychainStore final : public TrustStore {
 public:
  KeychainStore() : security_(find_program("security")) {}

  StoreStatus status(const Root& root) const override {
    using State = StoreStatus::State;
    StoreStatus status{State::absent, fmt::format("system ({})", kKeychain), {}};
    if (is_trusted(root.der)) {
      status.state = State::trusted;
      return status;
    }
    const auto ours = roots_of_ours();
    if (!ours) {
      status.state = State::unavailable;
      status.detail = ours.error().text;
    } else if (std::find(ours->begin(), ours->end(), root.der) != ours->end()) {
      status.detail = "the root is there, but not trusted; " + root.advice("install");
    } else if (!ours->empty()) {
      status.detail = "another osproxy root is there; " + root.advice("install");
    }
    return status;
  }

  base::Result<> install(const Root& root) const override {
    if (::geteuid() != 0) return base::failure("needs root; {}", root.advice("install"));
    if (auto cleared = uninstall({}); !cleared) return cleared.error();
    base::Result<> done = with_file(root.der, [&](const std::string& file) -> base::Result<> {
      return done_by("add-trusted-cert",
                     {"-d", "-r", "trustRoot", "-p", "ssl", "-p", "basic", "-k", kKeychain, file});
    });
    if (done && !is_trusted(root.der)) {
      done = base::failure(
          "security add-trusted-cert ran, but the root is not trusted: something else decides, "
          "look for it in Keychain Access");
    }
    if (done) return {};
    // The certificate goes in before the question for the password, and stays when the answer is
    // no.
    (void)uninstall({});
    return done.error();
  }

  base::Result<> uninstall(const Root& root) const override {
    auto ours = roots_of_ours();
    if (!ours) return ours.error();
    // A setting can be left without its certificate.
    const bool in_keychain = std::find(ours->begin(), ours->end(), root.der) != ours->end();
    if (!in_keychain && is_trusted(root.der)) ours->push_back(root.der);
    if (ours->empty()) return {};
    if (::geteuid() != 0) return base::failure("needs root; {}", root.advice("uninstall"));
    for (const std::string& der : *ours) {
      if (auto taken = take_out(der, in_keychain || der != root.der); !taken) return taken.error();
    }
    if (is_trusted(root.der)) {
      return base::failure(
          "the root is still trusted, by a keychain or a profile that is not the system's: look "
          "for it in Keychain Access");
    }
    return {};
  }

 private:
  /// The setting first: without the certificate it could no longer be named.
  base::Result<> take_out(const std::string& der, bool in_keychain) const {
    auto untrusted = with_file(der, [&](const std::string& file) -> base::Result<> {
      const auto finished = security("remove-trusted-cert", {"-d", file});
      if (!finished) return finished.error();
      if (finished->status == 0 || says(*finished, kNoSetting)) return {};
      return explained("remove-trusted-cert", *finished);
    });
    if (!untrusted || !in_keychain) return untrusted;
    return done_by("delete-certificate", {"-Z", sha1_of(der), kKeychain});
  }

  /// Asked of macOS itself, however the root got in. As a CA (-l), and without the network (-L).
  /// Not with the policy `ssl`: a server's certificate may not be valid as long as a root.
  [[nodiscard]] bool is_trusted(const std::string& der) const {
    if (der.empty()) return false;
    return with_file(der,
                     [&](const std::string& file) -> base::Result<> {
                       return done_by("verify-cert", {"-c", file, "-p", "basic", "-l", "-L", "-q"});
                     })
        .has_value();
  }

  /// DER of what bears our name in the system's keychain.
  base::Result<std::vector<std::string>> roots_of_ours() const {
    const auto listed = security("find-certificate", {"-a", "-p", kKeychain});
    if (!listed) return listed.error();
    if (listed->status != 0 && !says(*listed, kNoSetting))
      return explained("find-certificate", *listed);
    std::vector<std::string> all = certificates_as_der(listed->out);
    std::erase_if(all, [](const std::string& der) { return !bears_our_name(der); });
    return all;
  }

  template <class Use>
  base::Result<> with_file(const std::string& der, Use use) const {
    const auto scratch = Scratch::make();
    if (!scratch) return scratch.error();
    const tls::X509Ptr certificate = certificate_of(der);
    if (!certificate) return base::failure("not a certificate: {} bytes", der.size());
    const std::string file = **scratch / "root.pem";
    if (auto written = base::replace_file(file, tls::to_pem(certificate.get()), 0600); !written)
      return written.error();
    return use(file);
  }

  base::Result<> done_by(const char* verb, std::vector<std::string> arguments) const {
    const auto finished = security(verb, std::move(arguments));
    if (!finished) return finished.error();
    if (finished->status != 0) return explained(verb, *finished);
    return {};
  }

  base::Result<base::Finished> security(const char* verb,
                                        std::vector<std::string> arguments) const {
    if (security_.empty())
      return base::failure("the program security is missing, which is part of macOS");
    arguments.insert(arguments.begin(), {security_, verb});
    return run_tool(std::move(arguments), base::current_user(), {}, kTimeForPassword);
  }

  std::string security_;
};

}  // namespace

std::unique_ptr<TrustStore> keychain_store() {
  return std::make_unique<KeychainStore>();
}

}  // namespace mitm::trust
