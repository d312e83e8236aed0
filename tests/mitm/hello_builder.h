// ClientHellos, made of their parts or by OpenSSL.
#pragma once

#include <memory>
#include <string>

#include <openssl/ssl.h>

namespace hello_test {

inline std::string u8(std::size_t n) {
  return {static_cast<char>(n)};
}
inline std::string u16(std::size_t n) {
  return u8(n >> 8) + u8(n & 0xff);
}
inline std::string u24(std::size_t n) {
  return u8(n >> 16) + u16(n & 0xffff);
}
inline std::string sized8(const std::string& bytes) {
  return u8(bytes.size()) + bytes;
}
inline std::string sized16(const std::string& bytes) {
  return u16(bytes.size()) + bytes;
}
inline std::string extension(std::size_t type, const std::string& body) {
  return u16(type) + sized16(body);
}
inline std::string server_name(const std::string& name) {
  return extension(0, sized16(u8(0) + sized16(name)));
}

/// `extensions` with their length, or nothing.
inline std::string hello_body(const std::string& extensions, std::size_t version = 0x0303) {
  return u16(version) + std::string(32, 'r') + sized8("") + sized16(u16(0x1301) + u16(0xc02b)) +
         sized8(u8(0)) + extensions;
}
inline std::string handshake(const std::string& body) {
  return u8(1) + u24(body.size()) + body;
}
inline std::string record(const std::string& payload, std::size_t version = 0x0301) {
  return u8(0x16) + u16(version) + sized16(payload);
}
inline std::string hello(const std::string& extensions) {
  return record(handshake(hello_body(sized16(extensions))));
}

inline std::string records(const std::string& payload, std::size_t piece) {
  std::string out;
  for (std::size_t i = 0; i < payload.size(); i += piece) out += record(payload.substr(i, piece));
  return out;
}

/// What the installed OpenSSL sends first.
inline std::string openssl_hello() {
  const std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context(SSL_CTX_new(TLS_client_method()),
                                                                  SSL_CTX_free);
  const std::unique_ptr<SSL, decltype(&SSL_free)> ssl(SSL_new(context.get()), SSL_free);
  BIO* out = BIO_new(BIO_s_mem());
  SSL_set_bio(ssl.get(), BIO_new(BIO_s_mem()), out);
  SSL_set_tlsext_host_name(ssl.get(), "WWW.Example.org");
  const std::string alpn = sized8("h2") + sized8("http/1.1");
  SSL_set_alpn_protos(ssl.get(), reinterpret_cast<const unsigned char*>(alpn.data()),
                      static_cast<unsigned>(alpn.size()));
  SSL_connect(ssl.get());
  char* data = nullptr;
  const auto size = BIO_get_mem_data(out, &data);
  return {data, static_cast<std::size_t>(size)};
}

}  // namespace hello_test
