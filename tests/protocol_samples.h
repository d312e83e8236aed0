// The first bytes of real protocols, as their clients send them before they have heard anything.
#pragma once

#include <string>
#include <vector>

#include "mitm/sniff/sniffer.h"

namespace protocol_samples {

struct Words {
  const char* name;
  std::string bytes;
  mitm::sniff::Protocol expected;
};

/// TLS: from openssl s_client -tls1 to -tls1_3 with few ciphers, for h.test.
inline const std::vector<Words>& all() {
  using mitm::sniff::Protocol;
  using namespace std::string_literals;
  static const std::vector<Words> words{
      {"SSH", "SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n", Protocol::raw},
      {"SMTP EHLO", "EHLO mail.example.org\r\n", Protocol::raw},
      {"SMTP with a parameter", "EHLO a b\r\n", Protocol::raw},
      {"LMTP", "LHLO localhost\r\n", Protocol::raw},
      {"FTP", "USER anonymous\r\n", Protocol::raw},
      {"FTP AUTH", "AUTH TLS\r\n", Protocol::raw},
      {"POP3", "CAPA\r\n", Protocol::raw},
      {"IMAP", "a001 CAPABILITY\r\n", Protocol::raw},
      {"NNTP", "MODE READER\r\n", Protocol::raw},
      {"Redis", "*1\r\n$4\r\nPING\r\n", Protocol::raw},
      {"Redis inline", "GET key\r\n", Protocol::raw},
      {"MySQL client", "\x20\x00\x00\x01\x85\xae\x7f\x00\x00\x00\x00\x01\x21"s, Protocol::raw},
      {"PostgreSQL SSLRequest", "\x00\x00\x00\x08\x04\xd2\x16\x2f"s, Protocol::raw},
      {"PostgreSQL startup", "\x00\x00\x00\x21\x00\x03\x00\x00user\x00bob\x00"s, Protocol::raw},
      {"MongoDB", "\x3f\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\xd4\x07\x00\x00"s,
       Protocol::raw},
      {"Kafka", "\x00\x00\x00\x23\x00\x12\x00\x03\x00\x00\x00\x01"s, Protocol::raw},
      {"Cassandra", "\x04\x00\x00\x00\x01\x00\x00\x00\x16"s, Protocol::raw},
      {"MQTT CONNECT", "\x10\x10\x00\x04MQTT\x04\x02\x00\x3c\x00\x04test"s, Protocol::raw},
      {"NATS CONNECT", "CONNECT {\"verbose\":false,\"lang\":\"go\"}\r\n", Protocol::raw},
      {"STOMP CONNECT", "CONNECT\naccept-version:1.2\n\n\0"s, Protocol::raw},
      {"LDAP bind", "\x30\x0c\x02\x01\x01\x60\x07\x02\x01\x03\x04\x00\x80\x00"s, Protocol::raw},
      {"RDP", "\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00\x01\x00\x08\x00\x03\x00\x00\x00"s,
       Protocol::raw},
      {"SMB2", "\x00\x00\x00\x66\xfeSMB\x40\x00"s, Protocol::raw},
      {"DNS over TCP",
       "\x00\x1d\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x07"
       "example\x03org\x00\x00\x01\x00\x01"s,
       Protocol::raw},
      {"BitTorrent",
       "\x13"
       "BitTorrent protocol\x00\x00\x00\x00\x00\x10\x00\x05"s,
       Protocol::raw},
      {"memcached get", "get somekey\r\n", Protocol::raw},
      {"memcached set", "set somekey 0 900 4\r\ndata\r\n", Protocol::raw},
      {"memcached version", "version\r\n", Protocol::raw},
      {"IRC", "NICK guest\r\nUSER guest 0 * :x\r\n", Protocol::raw},
      {"IRC capabilities", "CAP LS 302\r\n", Protocol::raw},
      {"XMPP", "<?xml version='1.0'?><stream:stream to='example.org'>", Protocol::raw},
      {"RTMP", "\x03\x00\x00\x00\x00\x00\x00\x00\x00"s, Protocol::raw},
      {"RTSP", "OPTIONS rtsp://192.0.2.1/stream RTSP/1.0\r\nCSeq: 1\r\n\r\n", Protocol::raw},
      {"RTSP describe", "DESCRIBE rtsp://192.0.2.1/stream RTSP/1.0\r\n", Protocol::raw},
      {"RTSP any", "OPTIONS * RTSP/1.0\r\n", Protocol::raw},
      {"SIP", "INVITE sip:bob@example.org SIP/2.0\r\n", Protocol::raw},
      {"SIP options", "OPTIONS sip:bob@example.org SIP/2.0\r\n", Protocol::raw},
      {"ICAP", "REQMOD icap://192.0.2.1/x ICAP/1.0\r\n", Protocol::raw},
      {"VNC", "RFB 003.008\n", Protocol::raw},
      {"git", "0033git-upload-pack /project.git\0host=example.org\0"s, Protocol::raw},
      {"Subversion", "( 2 ( edit-pipeline svndiff1 ) 31:svn://example.org ) ", Protocol::raw},
      {"AMQP", "AMQP\x00\x00\x09\x01"s, Protocol::raw},
      {"SOCKS5", "\x05\x01\x00"s, Protocol::raw},
      {"whois", "example.org\r\n", Protocol::raw},
      {"finger", "bob\r\n", Protocol::raw},
      {"gopher", "\r\n", Protocol::undecided},
      {"telnet", "\xff\xfd\x03\xff\xfb\x18"s, Protocol::raw},
      {"rsync", "@RSYNCD: 31.0\n", Protocol::raw},
      {"Minecraft", "\x10\x00\xf4\x05\x09localhost\x63\xdd\x01"s, Protocol::raw},
      {"SSL 2.0 hello", "\x80\x2e\x01\x03\x01\x00\x15\x00\x00\x00\x10"s, Protocol::raw},
      {"TLS alert", "\x15\x03\x01\x00\x02\x02\x28"s, Protocol::raw},
      {"TLS ServerHello", "\x16\x03\x03\x00\x7a\x02\x00\x00\x76"s, Protocol::raw},
      {"MySQL, TLS request",
       "\x20\x00\x00\x01\x85\xae\xff\x01\x00\x00\x00\x01\x21"s + std::string(23, '\0'),
       Protocol::raw},
      {"PostgreSQL GSSENCRequest", "\x00\x00\x00\x08\x04\xd2\x16\x30"s, Protocol::raw},
      {"LDAP StartTLS", "\x30\x1d\x02\x01\x01\x77\x18\x80\x16"s + "1.3.6.1.4.1.1466.20037",
       Protocol::raw},
      {"SOCKS4", "\x04\x01\x00\x50\xc0\x00\x02\x02user\x00"s, Protocol::raw},
      {"SOCKS4a", "\x04\x01\x01\xbb\x00\x00\x00\x01\x00h.test\x00"s, Protocol::raw},
      {"PROXY protocol 1", "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n", Protocol::proxied},
      {"PROXY protocol 1, nothing known", "PROXY UNKNOWN\r\n", Protocol::proxied},
      {"PROXY protocol 2",
       "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c\xc0\x00\x02\x01\xc0\x00\x02\x02\xdc\x04\x01\xbb"s,
       Protocol::proxied},
      {"gopher with a selector", "/about\r\n", Protocol::raw},
      {"finger, verbose", "/W bob\r\n", Protocol::raw},
      {"Gemini", "gemini://example.org/\r\n", Protocol::raw},
      {"ident", "6193, 23\r\n", Protocol::raw},
      {"X11", "l\x00\x0b\x00\x00\x00\x00\x00\x00\x00\x00\x00"s, Protocol::raw},
      {"X11, big-endian", "B\x00\x00\x0b\x00\x00\x00\x00\x00\x00\x00\x00"s, Protocol::raw},
      {"Redis inline with a path", "GET /a/key\r\n", Protocol::raw},
      {"Redis HELLO", "*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n", Protocol::raw},
      {"AMQP with SASL", "AMQP\x03\x01\x00\x00"s, Protocol::raw},
      {"RDP with a cookie",
       "\x03\x00\x00\x2b\x26\xe0\x00\x00\x00\x00\x00"s +
           "Cookie: mstshash=bob\r\n\x01\x00\x08\x00\x03\x00\x00\x00"s,
       Protocol::raw},
      {"VNC answer", "RFB 003.003\n", Protocol::raw},
      {"Oracle TNS", "\x00\xc8\x00\x00\x01\x00\x00\x00\x01\x3a\x01\x2c"s, Protocol::raw},
      {"TDS prelogin", "\x12\x01\x00\x2f\x00\x00\x00\x00\x00\x00\x1a\x00\x06"s, Protocol::raw},
      {"DB2 DRDA", "\x00\x26\xd0\x41\x00\x01\x00\x20\x10\x41"s, Protocol::raw},
      {"ZooKeeper connect", "\x00\x00\x00\x2d\x00\x00\x00\x00\x00\x00\x00\x00"s, Protocol::raw},
      {"Diameter", "\x01\x00\x00\x54\x80\x00\x01\x01\x00\x00\x00\x00"s, Protocol::raw},
      {"BGP", std::string(16, '\xff') + "\x00\x1d\x01\x04\xfd\xe8\x00\xb4\xc0\x00\x02\x01\x00"s,
       Protocol::raw},
      {"NetBIOS session", "\x81\x00\x00\x44\x20"s + "CKFDENECFDEFFCFGEFFCCACACACACACA\x00"s,
       Protocol::raw},
      {"AFP", "\x00\x04\x00\x01\x00\x00\x00\x00\x00\x00\x00\x02"s, Protocol::raw},
      {"Java RMI", "JRMI\x00\x02\x4b"s, Protocol::raw},
      {"CORBA", "GIOP\x01\x02\x01\x00"s, Protocol::raw},
      {"Zabbix", "ZBXD\x01\x0f\x00\x00\x00\x00\x00\x00\x00"s + "agent.ping", Protocol::raw},
      {"Bitcoin", "\xf9\xbe\xb4\xd9version\x00\x00\x00\x00\x00"s, Protocol::raw},
      {"Beanstalk", "reserve-with-timeout 5\r\n", Protocol::raw},
      {"Graphite", "servers.one.load 0.5 1700000000\n", Protocol::raw},
      {"syslog", "<34>Oct 11 22:14:15 one su: failed\n", Protocol::raw},
      {"syslog, counted", "45 <34>1 2026-11-23T19:00:00Z one su - - - failed", Protocol::raw},
      {"ICY source", "SOURCE /live ICE/1.0\r\n", Protocol::raw},
      {"ManageSieve", "AUTHENTICATE \"PLAIN\"\r\n", Protocol::raw},
      {"clamd, zero-terminated", "zPING\x00"s, Protocol::raw},
      {"X.509 in the wrong place", "\x30\x82\x03\x1f\x30\x82\x02\x07"s, Protocol::raw},
      // Words without an end: nothing says that no HTTP will follow.
      {"JDWP", "JDWP-Handshake", Protocol::undecided},
      {"ZooKeeper, four letters", "ruok", Protocol::undecided},
      {"clamd", "PING", Protocol::undecided},
      {"HTTP/0.9", "GET /\r\n", Protocol::raw},
      {"HTTP/1.0, nothing but the line", "GET / HTTP/1.0\r\n\r\n", Protocol::http1},
      {"HTTP/1.1", "GET / HTTP/1.1\r\nHost: h.test\r\n\r\n", Protocol::http1},
      {"HTTP to a proxy", "GET http://h.test/ HTTP/1.1\r\nHost: h.test\r\n\r\n", Protocol::http1},
      {"WebDAV PROPFIND", "PROPFIND / HTTP/1.1\r\nHost: h.test\r\nDepth: 1\r\n\r\n",
       Protocol::http1},
      {"CalDAV REPORT", "REPORT /cal HTTP/1.1\r\nHost: h.test\r\n\r\n", Protocol::http1},
      {"UPnP SUBSCRIBE", "SUBSCRIBE /event HTTP/1.1\r\nHOST: h.test\r\n\r\n", Protocol::http1},
      {"UPnP NOTIFY", "NOTIFY * HTTP/1.1\r\nHOST: h.test\r\n\r\n", Protocol::http1},
      {"a cache's PURGE", "PURGE /x HTTP/1.1\r\nHost: h.test\r\n\r\n", Protocol::http1},
      {"a method of one's own", "X-FETCH-ALL /x HTTP/1.1\r\nHost: h.test\r\n\r\n", Protocol::raw},
      {"a method of one's own, of letters", "FETCHALL /x HTTP/1.1\r\nHost: h.test\r\n\r\n",
       Protocol::http1},
      {"h2c preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00"s,
       Protocol::http2},
      {"TLS 1.0 hello",
       "\x16\x03\x01\x00\x4c\x01\x00\x00\x48\x03\x01\xcb\xfa\x11\x02\x64\xe6\x41\x69\x02"
       "\x2e\x81\xe3\xad\x99\xb7\x37\xa4\xbb\xcd\x64\x0b\xa5\xf0\x79\x8f\xce\x7a\xc3\x83"
       "\x0f\x40\xf3\x00\x00\x04\x00\x2f\x00\xff\x01\x00\x00\x1b\x00\x00\x00\x0b\x00\x09"
       "\x00\x00\x06\x68\x2e\x74\x65\x73\x74\x00\x23\x00\x00\x00\x16\x00\x00\x00\x17\x00"
       "\x00"s,
       Protocol::tls},
      {"TLS 1.1 hello",
       "\x16\x03\x01\x00\x4c\x01\x00\x00\x48\x03\x02\x6d\xba\x93\x29\xa1\x01\x1c\x30\x6a"
       "\x28\x21\xfb\xd0\x95\x3f\x05\xa3\xa7\x50\x82\xee\xc4\x72\x2b\xff\x4d\xb1\x53\xdf"
       "\x8e\x3f\x84\x00\x00\x04\x00\x2f\x00\xff\x01\x00\x00\x1b\x00\x00\x00\x0b\x00\x09"
       "\x00\x00\x06\x68\x2e\x74\x65\x73\x74\x00\x23\x00\x00\x00\x16\x00\x00\x00\x17\x00"
       "\x00"s,
       Protocol::tls},
      {"TLS 1.2 hello",
       "\x16\x03\x01\x00\x92\x01\x00\x00\x8e\x03\x03\x28\x25\x39\xf4\xff\x60\x31\x27\xa8"
       "\xd6\xe4\xf6\xd8\x33\x8d\xc2\xcd\x21\x14\xd5\xbc\xd6\x2b\x42\x6a\x11\xa4\x24\x7e"
       "\xb8\x51\x52\x00\x00\x04\xc0\x2b\x00\xff\x01\x00\x00\x61\x00\x00\x00\x0b\x00\x09"
       "\x00\x00\x06\x68\x2e\x74\x65\x73\x74\x00\x0b\x00\x04\x03\x00\x01\x02\x00\x0a\x00"
       "\x0c\x00\x0a\x00\x1d\x00\x17\x00\x1e\x00\x19\x00\x18\x00\x23\x00\x00\x00\x16\x00"
       "\x00\x00\x17\x00\x00\x00\x0d\x00\x2a\x00\x28\x04\x03\x05\x03\x06\x03\x08\x07\x08"
       "\x08\x08\x09\x08\x0a\x08\x0b\x08\x04\x08\x05\x08\x06\x04\x01\x05\x01\x06\x01\x03"
       "\x03\x03\x01\x03\x02\x04\x02\x05\x02\x06\x02"s,
       Protocol::tls},
      {"TLS 1.3 hello",
       "\x16\x03\x01\x00\xd5\x01\x00\x00\xd1\x03\x03\xf9\x3b\xe6\x1f\x8d\xb0\x6f\x4d\x3b"
       "\x3f\x3e\xd3\x9d\xf6\xbf\x02\x04\x6c\x7a\xa1\xef\x41\xd1\x46\xc1\xe7\xdf\x22\x2b"
       "\x7c\xb6\xbc\x20\x76\x10\xf3\xec\x3e\x76\x40\xea\x64\x76\x16\x2d\x30\xc6\xfb\x5e"
       "\xbc\xbc\xac\x47\x1f\x12\x6c\xc4\xda\x6a\xe7\x4d\x17\xae\xe6\xa5\x00\x04\x13\x01"
       "\x00\xff\x01\x00\x00\x84\x00\x00\x00\x0b\x00\x09\x00\x00\x06\x68\x2e\x74\x65\x73"
       "\x74\x00\x0b\x00\x04\x03\x00\x01\x02\x00\x0a\x00\x04\x00\x02\x00\x1d\x00\x23\x00"
       "\x00\x00\x16\x00\x00\x00\x17\x00\x00\x00\x0d\x00\x1e\x00\x1c\x04\x03\x05\x03\x06"
       "\x03\x08\x07\x08\x08\x08\x09\x08\x0a\x08\x0b\x08\x04\x08\x05\x08\x06\x04\x01\x05"
       "\x01\x06\x01\x00\x2b\x00\x03\x02\x03\x04\x00\x2d\x00\x02\x01\x01\x00\x33\x00\x26"
       "\x00\x24\x00\x1d\x00\x20\x72\x4e\xd2\x5f\x66\x52\xa2\x73\x63\xbd\xd9\x1a\xbd\x77"
       "\x95\xfa\x47\xff\x98\x74\x88\xa8\x26\xee\x99\x22\x9d\x61\x8f\xab\xda\x53"s,
       Protocol::tls},
  };
  return words;
}

/// The hello in `hello`, one record, as records of `piece` bytes each.
inline std::string in_fragments(const std::string& hello, std::size_t piece) {
  std::string out;
  for (std::size_t at = 5; at < hello.size(); at += piece) {
    const auto part = hello.substr(at, piece);
    out += hello.substr(0, 3) + std::string{'\0', static_cast<char>(part.size())} + part;
  }
  return out;
}

}  // namespace protocol_samples
