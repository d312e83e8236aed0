// Hosts, addresses, TLS, certificates, decisions: what is known of the connection.
#include <array>

#include "base/ascii.h"
#include "mitm/query/endpoint_text.h"
#include "mitm/query/field.h"
#include "mitm/query/subject.h"
#include "mitm/query/url_parts.h"

namespace mitm::query {
namespace {

using enum Columns::Table;
using enum ValueType;
using flow::ConnectionRecord;
using flow::TlsFacts;

constexpr std::string_view kHttpUrl = "CASE flow.type WHEN 'http' THEN flow.url END";

template <class Visit>
void visit_hosts(const Subject& it, const Visit& visit) {
  if (it.tcp != nullptr) visit(std::string_view(it.tcp->host));
  if (it.http == nullptr) return;
  visit(std::string_view(it.http->host));
  visit(url_parts(it.http->url).host);
}

void add_domain(std::string_view host, const Test&, Values& values) {
  values.known(domain_of(host));
}

void add_url_host(std::string_view url, const Test&, Values& values) {
  values.known(url_parts(url).host);
}

void add_url_domain(std::string_view url, const Test& test, Values& values) {
  add_domain(url_parts(url).host, test, values);
}

template <auto member>
void known_text(Subject& it, const Test&, Values& values) {
  if (it.connection != nullptr) values.known(it.connection->*member);
}

template <auto endpoint>
void known_address_of(Subject& it, const Test&, Values& values) {
  if (it.connection == nullptr) return;
  if (const auto address = known_address((it.connection->*endpoint).address()))
    values.address(*address);
}

template <auto endpoint>
void known_port_of(Subject& it, const Test&, Values& values) {
  if (it.connection == nullptr) return;
  if (const auto port = (it.connection->*endpoint).port(); port != 0) values.number(port);
}

/// "1.3", "TLS1.3", "tls 1.3": OpenSSL's name of it.
std::string tls_version(std::string_view typed) {
  std::string text = base::lowercase(typed);
  for (const std::string_view prefix : {"tls", "v", " "}) {
    if (text.starts_with(prefix)) text.erase(0, prefix.size());
  }
  if (text == "1" || text == "1.0") return "TLSv1";
  const bool known = text == "1.1" || text == "1.2" || text == "1.3";
  return known ? "TLSv" + text : std::string(typed);
}

template <auto side, auto member>
void known_tls(Subject& it, const Test&, Values& values) {
  if (it.connection == nullptr) return;
  if (const auto& tls = it.connection->*side) values.known((*tls).*member);
}

const flow::CertificateFacts* certificate(const Subject& it) {
  if (it.connection == nullptr || !it.connection->upstream_tls) return nullptr;
  const auto& chain = it.connection->upstream_tls->certificates;
  return chain && !chain->empty() ? &chain->front() : nullptr;
}

template <auto member>
void known_certificate(Subject& it, const Test&, Values& values) {
  if (const auto* const facts = certificate(it)) values.known(facts->*member);
}

void add_lines(std::string_view lines, const Test&, Values& values) {
  while (!lines.empty()) {
    const auto length = std::min(lines.find('\n'), lines.size());
    values.known(lines.substr(0, length));
    lines.remove_prefix(std::min(length + 1, lines.size()));
  }
}

void add_difference(const flow::Offset& later, const flow::Offset& earlier, Values& values) {
  if (later && earlier) values.number(static_cast<double>((*later - *earlier).count()));
}

const std::array kFields{
    Field{.name = "host",
          .letter = "d",
          .kinds = kHttp | kTcp,
          .settled = Settled::at_start,
          .help = "host of the connection or of the URL",
          .example = "~d example\\.org",
          .get =
              [](Subject& it, const Test&, Values& values) {
                visit_hosts(it, [&](std::string_view host) { values.known(host); });
              },
          .columns = {flow, "flow.host", kHttpUrl, nullptr, add_url_host}},
    Field{.name = "domain",
          .kinds = kHttp | kTcp,
          .settled = Settled::at_start,
          .help = "registered domain of the host: its last two labels, three below co.uk and the "
                  "like",
          .example = "domain == example.org",
          .get =
              [](Subject& it, const Test& test, Values& values) {
                visit_hosts(it, [&](std::string_view host) { add_domain(host, test, values); });
              },
          .columns = {flow, "flow.host", kHttpUrl, add_domain, add_url_domain}},
    Field{.name = "ip",
          .aliases = "server.ip",
          .type = address,
          .settled = Settled::at_start,
          .help = "address of the server",
          .example = "ip == 10.0.0.0/8",
          .get = known_address_of<&ConnectionRecord::server>,
          .columns = {conn, "server_ip"}},
    Field{.name = "port",
          .aliases = "server.port",
          .type = number,
          .settled = Settled::at_start,
          .help = "port of the server",
          .example = "port in {80, 8000-8100}",
          .get = known_port_of<&ConnectionRecord::server>,
          .columns = {conn, "nullif(server_port, 0)"},
          .candidates = "80 443 8080"},
    Field{.name = "ipv6",
          .type = flag,
          .settled = Settled::at_start,
          .help = "goes to a server by IPv6",
          .example = "ipv6",
          .get =
              [](Subject& it, const Test&, Values& values) {
                if (it.connection == nullptr) return;
                const auto address = known_address(it.connection->server.address());
                values.flag(address && address->is_v6());
              },
          .columns = {conn, "osproxy_is_ipv6(server_ip)"}},
    Field{.name = "client.ip",
          .type = address,
          .settled = Settled::at_start,
          .help = "address of the program",
          .example = "client.ip == 127.0.0.0/8",
          .get = known_address_of<&ConnectionRecord::client>,
          .columns = {conn, "client_ip"}},
    Field{.name = "client.port",
          .type = number,
          .settled = Settled::at_start,
          .help = "port of the program",
          .example = "client.port == 41000",
          .get = known_port_of<&ConnectionRecord::client>,
          .columns = {conn, "nullif(client_port, 0)"}},
    Field{.name = "source",
          .letter = "src",
          .settled = Settled::at_start,
          .help = "address and port of the program (ADDRESS:PORT)",
          .example = "~src 127.0.0.1:41000",
          .get =
              [](Subject& it, const Test&, Values& values) {
                if (it.connection == nullptr) return;
                const base::Endpoint& client = it.connection->client;
                values.known(endpoint_text(client.address().to_string(), client.port()));
              },
          .columns = {conn, "osproxy_endpoint(client_ip, client_port)"}},
    Field{.name = "destination",
          .letter = "dst",
          .settled = Settled::at_start,
          .help = "name or address, and port, of the server (HOST:PORT)",
          .example = "~dst example.org:443",
          .get =
              [](Subject& it, const Test&, Values& values) {
                if (it.connection == nullptr) return;
                const base::Endpoint& server = it.connection->server;
                values.known(endpoint_text(it.connection->host, server.port()));
                values.known(endpoint_text(server.address().to_string(), server.port()));
              },
          .columns = {conn, "osproxy_endpoint(conn.host, server_port)",
                      "osproxy_endpoint(server_ip, server_port)"}},
    Field{.name = "conn",
          .type = number,
          .settled = Settled::at_start,
          .help = "number of the connection",
          .example = "conn == 7",
          .get =
              [](Subject& it, const Test&, Values& values) {
                if (it.connection != nullptr) values.number(static_cast<double>(it.connection->id));
              },
          .columns = {flow, "flow.conn"}},
    Field{.name = "decision",
          .settled = Settled::at_start,
          .help = "what was decided of the connection",
          .example = "decision == pass",
          .get = known_text<&ConnectionRecord::decision>,
          .columns = {conn, "decision"},
          .candidates = "intercept pass block"},
    Field{.name = "reason",
          .settled = Settled::at_start,
          .help = "reason of that decision",
          .example = "reason contains pinning",
          .get = known_text<&ConnectionRecord::reason>,
          .columns = {conn, "reason"}},
    Field{.name = "starttls",
          .kinds = kTcp,
          .cost = Cost::heads,
          .help = "protocol that went on in TLS",
          .example = "starttls == smtp",
          .get =
              [](Subject& it, const Test&, Values& values) {
                if (it.tcp != nullptr) values.known(it.tcp->starttls);
              },
          .candidates = "smtp imap pop3 ftp ldap postgresql mysql"},
    Field{.name = "tls",
          .type = flag,
          .settled = Settled::at_start,
          .help = "was intercepted in TLS",
          .example = "!tls",
          .get =
              [](Subject& it, const Test&, Values& values) {
                values.flag(it.connection != nullptr && it.connection->tls &&
                            !it.connection->tls->version.empty());
              },
          .columns = {conn, "tls_version <> ''"}},
    Field{.name = "tls.version",
          .spelling = tls_version,
          .settled = Settled::at_start,
          .help = "TLS version between the program and osproxy",
          .example = "tls.version == 1.2",
          .get = known_tls<&ConnectionRecord::tls, &TlsFacts::version>,
          .columns = {conn, "tls_version"},
          .candidates = "TLSv1.2 TLSv1.3"},
    Field{.name = "tls.cipher",
          .settled = Settled::at_start,
          .help = "TLS cipher between the program and osproxy",
          .example = "tls.cipher contains CHACHA20",
          .get = known_tls<&ConnectionRecord::tls, &TlsFacts::cipher>,
          .columns = {conn, "tls_cipher"}},
    Field{.name = "tls.alpn",
          .settled = Settled::at_start,
          .help = "protocol that program and osproxy agreed on",
          .example = "tls.alpn == h2",
          .get = known_tls<&ConnectionRecord::tls, &TlsFacts::alpn>,
          .columns = {conn, "tls_alpn"},
          .candidates = "h2 http/1.1"},
    Field{.name = "tls.sni",
          .aliases = "sni",
          .settled = Settled::at_start,
          .help = "name in the program's TLS ClientHello",
          .example = "tls.sni endswith .example.org",
          .get = known_text<&ConnectionRecord::sni>,
          .columns = {conn, "sni"}},
    Field{.name = "tls.time",
          .type = duration,
          .help = "time that the TLS handshake with the server took",
          .example = "tls.time > 100ms",
          .get =
              [](Subject& it, const Test&, Values& values) {
                if (it.connection == nullptr) return;
                const auto& times = it.connection->times;
                add_difference(times.upstream_tls_done, times.connected, values);
              },
          .columns = {conn, "upstream_tls_done - connected"}},
    Field{.name = "connect.time",
          .type = duration,
          .help = "time that it took to connect to the server",
          .example = "connect.time > 100ms",
          .get =
              [](Subject& it, const Test&, Values& values) {
                if (it.connection == nullptr) return;
                const auto& times = it.connection->times;
                add_difference(times.connected, times.connect_began, values);
              },
          .columns = {conn, "connected - connect_began"}},
    Field{.name = "upstream.tls.version",
          .spelling = tls_version,
          .settled = Settled::at_start,
          .help = "TLS version between osproxy and the server",
          .example = "upstream.tls.version == 1.2",
          .get = known_tls<&ConnectionRecord::upstream_tls, &TlsFacts::version>,
          .columns = {conn, "upstream_version"},
          .candidates = "TLSv1.2 TLSv1.3"},
    Field{.name = "upstream.tls.cipher",
          .settled = Settled::at_start,
          .help = "TLS cipher between osproxy and the server",
          .example = "upstream.tls.cipher contains CBC",
          .get = known_tls<&ConnectionRecord::upstream_tls, &TlsFacts::cipher>,
          .columns = {conn, "upstream_cipher"}},
    Field{.name = "upstream.tls.alpn",
          .settled = Settled::at_start,
          .help = "protocol that osproxy and the server agreed on",
          .example = "upstream.tls.alpn == h2",
          .get = known_tls<&ConnectionRecord::upstream_tls, &TlsFacts::alpn>,
          .columns = {conn, "upstream_alpn"},
          .candidates = "h2 http/1.1"},
    Field{.name = "cert.subject",
          .settled = Settled::at_start,
          .help = "subject of the server's certificate",
          .example = "cert.subject contains \"O = Example\"",
          .get = known_certificate<&flow::CertificateFacts::subject>,
          .columns = {cert, "subject"}},
    Field{.name = "cert.issuer",
          .settled = Settled::at_start,
          .help = "issuer of the server's certificate",
          .example = "cert.issuer contains \"Let's Encrypt\"",
          .get = known_certificate<&flow::CertificateFacts::issuer>,
          .columns = {cert, "issuer"}},
    Field{.name = "cert.san",
          .settled = Settled::at_start,
          .help = "a name in the server's certificate",
          .example = "cert.san == *.example.org",
          .get =
              [](Subject& it, const Test&, Values& values) {
                if (const auto* const facts = certificate(it))
                  for (const std::string& name : facts->names) values.known(name);
              },
          .columns = {cert, "names", {}, add_lines}},
    Field{.name = "cert.expires",
          .type = time,
          .relative = Relative::from_now,
          .settled = Settled::at_start,
          .help = "time at which the server's certificate expires (10d: in 10 days from now)",
          .example = "cert.expires < 10d",
          .get =
              [](Subject& it, const Test&, Values& values) {
                if (const auto* const facts = certificate(it))
                  values.number(
                      static_cast<double>(std::chrono::duration_cast<std::chrono::microseconds>(
                                              facts->not_after.time_since_epoch())
                                              .count()));
              },
          .columns = {cert, "not_after"}},
    Field{.name = "cert.sha256",
          .settled = Settled::at_start,
          .help = "fingerprint of the server's certificate (AB:CD:...)",
          .example = "cert.sha256 startswith AB:CD",
          .get = known_certificate<&flow::CertificateFacts::sha256>,
          .columns = {cert, "sha256"}},
    Field{.name = "client_cert",
          .settled = Settled::at_start,
          .help = "client certificate that the server was shown, or none",
          .example = "client_cert != none",
          .get = known_tls<&ConnectionRecord::upstream_tls, &TlsFacts::client_certificate>,
          .columns = {conn, "client_certificate"}},
};

}  // namespace

std::span<const Field> connection_fields() {
  return kFields;
}

}  // namespace mitm::query
