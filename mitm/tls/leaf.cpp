// What an intercepted program is shown in place of its server's certificate. It says the same names
// as the real one, because programs look at more than the name they asked for (pinned common names,
// coalesced HTTP/2 connections, certificate viewers).
#include "mitm/tls/leaf.h"

#include <boost/asio/ip/address.hpp>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include "base/ascii.h"
#include "base/text.h"
#include "mitm/tls/certificate.h"

namespace mitm::tls {
namespace {

using std::chrono::hours;
using std::chrono::system_clock;
using GeneralNamesPtr = std::unique_ptr<GENERAL_NAMES, Deleter<GENERAL_NAMES_free>>;
using GeneralNamePtr = std::unique_ptr<GENERAL_NAME, Deleter<GENERAL_NAME_free>>;

constexpr hours kDay{24};
constexpr hours kLeafLife = 197 * kDay;  ///< Chromium warns above 200
constexpr std::size_t kNameLimit = 500;
constexpr std::size_t kNameBytesLimit = 32 << 10;  ///< OpenSSL clients refuse chains above 100 KB
constexpr std::size_t kHostLimit = 253;            ///< RFC 1035, without the final dot

/// One way to write each host: lower case, no brackets, no zone, no final dot.
std::string normalized(std::string_view host) {
  if (host.size() > 2 && host.front() == '[' && host.back() == ']')
    host = host.substr(1, host.size() - 2);
  if (host.find(':') != host.npos) host = host.substr(0, host.find('%'));
  if (host.size() > 1 && host.back() == '.') host.remove_suffix(1);
  return base::lowercase(host);
}

bool fits_dns_name(std::string_view name) {
  return !name.empty() && name.size() <= kHostLimit &&
         std::all_of(name.begin(), name.end(), [](char c) { return c > ' ' && c < 0x7f; });
}

std::string_view bytes_of(const ASN1_STRING* text) {
  return {reinterpret_cast<const char*>(ASN1_STRING_get0_data(text)),
          static_cast<std::size_t>(ASN1_STRING_length(text))};
}

/// An entry for a subject alternative name: `type` GEN_DNS (text) or GEN_IPADD (4 or 16 bytes).
GeneralNamePtr general_name(int type, std::string_view bytes) {
  GeneralNamePtr name{GENERAL_NAME_new()};
  std::unique_ptr<ASN1_STRING, Deleter<ASN1_STRING_free>> value{
      ASN1_STRING_type_new(type == GEN_DNS ? V_ASN1_IA5STRING : V_ASN1_OCTET_STRING)};
  if (!name || !value) return nullptr;
  if (ASN1_STRING_set(value.get(), bytes.data(), static_cast<int>(bytes.size())) != 1)
    return nullptr;
  GENERAL_NAME_set0_value(name.get(), type, value.release());
  return name;
}

/// The names of a leaf, with the limits kept. `add` after the limit does nothing.
class Names {
 public:
  bool add(int type, std::string_view bytes) {
    if (full(bytes.size())) return true;
    GeneralNamePtr name = general_name(type, bytes);
    if (!name || sk_GENERAL_NAME_push(names_.get(), name.get()) <= 0) return false;
    [[maybe_unused]] auto* owned_by_list = name.release();
    size_ += bytes.size();
    return true;
  }
  [[nodiscard]] const GENERAL_NAMES* get() const { return names_.get(); }

 private:
  [[nodiscard]] bool full(std::size_t more) const {
    return !names_ || sk_GENERAL_NAME_num(names_.get()) >= static_cast<int>(kNameLimit) ||
           size_ + more > kNameBytesLimit;
  }
  GeneralNamesPtr names_{sk_GENERAL_NAME_new_null()};
  std::size_t size_ = 0;
};

/// The host as one of the names.
struct HostName {
  int type = GEN_DNS;
  std::string bytes;

  explicit HostName(const std::string& host) : bytes(host) {
    boost::system::error_code error;
    const auto address = boost::asio::ip::make_address(host, error);
    if (error) return;
    type = GEN_IPADD;
    const auto keep = [&](const auto& raw) { bytes.assign(raw.begin(), raw.end()); };
    if (address.is_v4()) keep(address.to_v4().to_bytes());
    if (address.is_v6()) keep(address.to_v6().to_bytes());
  }
};

/// DNS names and addresses of `upstream` that are well formed; other kinds have no meaning for a
/// server.
bool mirror_names(X509* upstream, const HostName& host, Names& names) {
  if (upstream == nullptr) return true;
  const GeneralNamesPtr theirs{static_cast<GENERAL_NAMES*>(
      X509_get_ext_d2i(upstream, NID_subject_alt_name, nullptr, nullptr))};
  ERR_clear_error();
  for (int at = 0; at < (theirs ? sk_GENERAL_NAME_num(theirs.get()) : 0); ++at) {
    int type = 0;
    const auto* value = static_cast<const ASN1_STRING*>(
        GENERAL_NAME_get0_value(sk_GENERAL_NAME_value(theirs.get(), at), &type));
    if (type != GEN_DNS && type != GEN_IPADD) continue;
    const std::string_view bytes = bytes_of(value);
    if (type == GEN_DNS ? !fits_dns_name(bytes) : bytes.size() != 4 && bytes.size() != 16) continue;
    const bool is_host =
        type == host.type && (type == GEN_DNS ? normalized(bytes) : bytes) == host.bytes;
    if (!is_host && !names.add(type, bytes)) return false;
  }
  return true;
}

bool fits_common_name(std::string_view name) {
  return !name.empty() && name.size() <= kCommonNameLimit && base::is_utf8(name) &&
         base::printable(name) == name;
}

/// The upstream's, else the host's, else none.
std::string subject_for(const LeafRequest& request, const std::string& host) {
  std::string name = request.upstream != nullptr ? common_name(request.upstream) : std::string{};
  ERR_clear_error();
  if (!fits_common_name(name)) name = host;
  return fits_common_name(name) ? name : std::string{};
}

Validity leaf_validity(X509* intermediate) {
  const auto from = system_clock::now() - kBackdated;
  return {from, std::min(from + kLeafLife, not_after(intermediate))};
}

bool add_leaf_extensions(X509* leaf, X509* issuer, KeyType key, const Names& names,
                         bool subject_is_empty) {
  const char* usage = key == KeyType::rsa2048 ? "critical,digitalSignature,keyEncipherment"
                                              : "critical,digitalSignature";
  return add_extension(leaf, issuer, NID_basic_constraints, "critical,CA:FALSE") &&
         add_extension(leaf, issuer, NID_key_usage, usage) &&
         add_extension(leaf, issuer, NID_ext_key_usage, "serverAuth") &&
         add_extension(leaf, issuer, NID_subject_key_identifier, "hash") &&
         add_extension(leaf, issuer, NID_authority_key_identifier, "keyid:always") &&
         // RFC 5280, 4.2.1.6: critical when it is all that names the holder.
         X509_add1_ext_i2d(leaf, NID_subject_alt_name, const_cast<GENERAL_NAMES*>(names.get()),
                           subject_is_empty ? 1 : 0, X509V3_ADD_DEFAULT) == 1;
}

/// Everything but certificate and key.
bool configure(SSL_CTX* context, const LeafCache::Settings& settings, const LeafSigner& signer,
               std::string_view key) {
  // TLS 1.0 and 1.1 sign with SHA-1, which OpenSSL allows at level 0 only.
  if (settings.min_version < TLS1_2_VERSION) SSL_CTX_set_security_level(context, 0);
  SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE);
  SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_read_ahead(context, 1);
  // A session cache per host would grow without bound to no use: tickets carry everything.
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
  unsigned char id[EVP_MAX_MD_SIZE];
  unsigned id_size = 0;
  auto tickets = signer.ticket_keys();
  return SSL_CTX_set_min_proto_version(context, settings.min_version) == 1 &&
         // The hop stays on this machine: the fastest of the strong ciphers goes first.
         SSL_CTX_set_ciphersuites(
             context,
             "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256") == 1 &&
         // The keys are one for all contexts; a ticket of one host must not do for another.
         EVP_Digest(key.data(), key.size(), id, &id_size, EVP_sha256(), nullptr) == 1 &&
         SSL_CTX_set_session_id_context(context, id, id_size) == 1 &&
         SSL_CTX_set_tlsext_ticket_keys(context, const_cast<unsigned char*>(tickets.data()),
                                        static_cast<long>(tickets.size())) == 1 &&
         SSL_CTX_set_num_tickets(context, 1) == 1;
}

}  // namespace

base::Result<std::shared_ptr<const LeafSigner>> LeafSigner::make(Identity intermediate) {
  auto key = generate_p256();
  if (!key) return key.error();
  auto signer = std::make_shared<LeafSigner>();
  signer->intermediate_ = std::move(intermediate);
  signer->p256_ = std::move(*key);
  if (RAND_bytes(signer->ticket_keys_.data(), static_cast<int>(signer->ticket_keys_.size())) != 1) {
    return openssl_error("cannot make keys for session tickets");
  }
  return std::shared_ptr<const LeafSigner>{std::move(signer)};
}

EVP_PKEY* LeafSigner::key(KeyType type) const {
  if (type == KeyType::p256) return p256_.get();
  std::call_once(rsa_made_, [this] {
    if (auto made = generate_rsa2048()) rsa_ = std::move(*made);
  });
  return rsa_.get();
}

base::Result<X509Ptr> issue_leaf(const LeafSigner& signer, const LeafRequest& request) {
  const std::string host = normalized(request.host);
  const HostName host_name{host};
  if (host_name.type == GEN_DNS && !fits_dns_name(host)) {
    return base::failure("no certificate can be made for the name {:?}",
                         base::printable(request.host));
  }
  Names names;
  const std::string subject = subject_for(request, host);
  X509* const issuer = signer.intermediate().certificate.get();
  EVP_PKEY* const key = signer.key(request.key);
  if (key == nullptr) return base::failure("cannot make an RSA key for {}", host);
  auto leaf = draft_certificate(subject, issuer, key, leaf_validity(issuer));
  if (!leaf) return leaf.error();
  const bool made = names.add(host_name.type, host_name.bytes) &&
                    mirror_names(request.upstream, host_name, names) &&
                    add_leaf_extensions(leaf->get(), issuer, request.key, names, subject.empty()) &&
                    sign(leaf->get(), signer.intermediate().key.get());
  if (!made) return openssl_error(fmt::format("cannot make a certificate for {}", host));
  return leaf;
}

LeafCache::LeafCache(std::shared_ptr<const LeafSigner> signer, Settings settings)
    : signer_(std::move(signer)), settings_(std::move(settings)), contexts_(settings_.limit) {}

base::Result<std::shared_ptr<SSL_CTX>> LeafCache::context_for(const LeafRequest& request) {
  unsigned char digest[EVP_MAX_MD_SIZE] = {};
  unsigned size = 0;
  if (request.upstream != nullptr &&
      X509_digest(request.upstream, EVP_sha256(), digest, &size) != 1) {
    return openssl_error(
        fmt::format("cannot read the certificate of {}", base::printable(request.host)));
  }
  wanted_.assign(1, static_cast<char>(request.key));
  wanted_.append(reinterpret_cast<const char*>(digest), size).append(normalized(request.host));
  if (const auto* hit = contexts_.find(wanted_)) return *hit;
  auto context = make_context(request, wanted_);
  if (!context) return context.error();
  return contexts_.put(wanted_, std::move(*context));
}

base::Result<std::shared_ptr<SSL_CTX>> LeafCache::make_context(const LeafRequest& request,
                                                               std::string_view key) const {
  auto leaf = issue_leaf(*signer_, request);
  if (!leaf) return leaf.error();
  SslCtxPtr context{SSL_CTX_new(TLS_server_method())};
  const bool ready =
      context && configure(context.get(), settings_, *signer_, key) &&
      SSL_CTX_use_certificate(context.get(), leaf->get()) == 1 &&
      SSL_CTX_use_PrivateKey(context.get(), signer_->key(request.key)) == 1 &&
      SSL_CTX_add1_chain_cert(context.get(), signer_->intermediate().certificate.get()) == 1;
  if (!ready)
    return openssl_error(fmt::format("cannot set up TLS for {}", base::printable(request.host)));
  if (settings_.keylog) settings_.keylog->attach(context.get());
  return std::shared_ptr<SSL_CTX>{std::move(context)};
}

bool LeafCache::expires_within(std::chrono::seconds span) const {
  return not_after(signer_->intermediate().certificate.get()) <= settings_.now() + span;
}

void LeafCache::renew(std::shared_ptr<const LeafSigner> signer) {
  contexts_.clear();
  signer_ = std::move(signer);
}

}  // namespace mitm::tls
