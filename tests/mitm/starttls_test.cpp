// Dialogues of every protocol that can change to TLS: whole, byte by byte and cut at every offset;
// and those that only look like it.
#include <string>
#include <vector>

#include "mitm/starttls/recogniser.h"
#include "tests/test.h"

using mitm::starttls::Finding;
using mitm::starttls::From;
using mitm::starttls::Recogniser;
using Verdict = Finding::Verdict;
using namespace std::string_literals;

namespace {

struct Said {
  From from;
  std::string bytes;
};
using Dialogue = std::vector<Said>;

Said P(std::string bytes) {
  return {From::program, std::move(bytes)};
}
Said S(std::string bytes) {
  return {From::server, std::move(bytes)};
}

/// What became of a dialogue, and how many bytes of it had been plain until then.
struct Outcome {
  Verdict verdict = Verdict::undecided;
  std::size_t plain = 0;
  std::string protocol;
  bool operator==(const Outcome&) const = default;
};

Outcome outcome_of(const Dialogue& dialogue) {
  Recogniser recogniser;
  std::size_t plain = 0;
  for (const auto& said : dialogue) {
    const auto finding = recogniser.feed(said.from, said.bytes);
    if (finding.verdict == Verdict::agreed)
      return {finding.verdict, plain + finding.bytes, std::string(recogniser.protocol())};
    plain += said.bytes.size();
    if (finding.verdict == Verdict::never) return {finding.verdict, 0, ""};
  }
  return {};
}

Dialogue byte_by_byte(const Dialogue& dialogue) {
  Dialogue cut;
  for (const auto& said : dialogue) {
    for (const char c : said.bytes) cut.push_back({said.from, std::string(1, c)});
  }
  return cut;
}

/// With the piece `which` in two.
Dialogue cut_in(const Dialogue& dialogue, std::size_t which, std::size_t at) {
  Dialogue cut = dialogue;
  cut[which].bytes.resize(at);
  cut.insert(cut.begin() + static_cast<long>(which) + 1,
             {dialogue[which].from, dialogue[which].bytes.substr(at)});
  return cut;
}

/// `ends_in_answer`: the last piece is the server's yes, all of which must have come.
void check(const Dialogue& dialogue, Outcome expected) {
  CHECK(outcome_of(dialogue) == expected);
  CHECK(outcome_of(byte_by_byte(dialogue)) == expected);
  for (std::size_t which = 0; which < dialogue.size(); ++which) {
    for (std::size_t at = 0; at <= dialogue[which].bytes.size(); ++at) {
      CAPTURE(which);
      CAPTURE(at);
      CHECK(outcome_of(cut_in(dialogue, which, at)) == expected);
    }
  }
}

std::size_t size_of(const Dialogue& dialogue) {
  std::size_t size = 0;
  for (const auto& said : dialogue) size += said.bytes.size();
  return size;
}

void upgrades(const char* protocol, const Dialogue& dialogue) {
  CAPTURE(protocol);
  check(dialogue, {Verdict::agreed, size_of(dialogue), protocol});
}

void stays_plain(const Dialogue& dialogue, Verdict verdict = Verdict::never) {
  CHECK(outcome_of(dialogue).verdict == verdict);
  CHECK(outcome_of(byte_by_byte(dialogue)).verdict == verdict);
}

const std::string kHello = "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00"s;

// RFC 4511: LDAPMessage { messageID, extendedReq { requestName } }, as ldapsearch -ZZ sends it.
const std::string kLdapRequest = "\x30\x1d\x02\x01\x01\x77\x18\x80\x16"s + "1.3.6.1.4.1.1466.20037";
// As slapd answers: success, no matched DN, no text, and the name of the response.
const std::string kLdapYes =
    "\x30\x24\x02\x01\x01\x78\x1f\x0a\x01\x00\x04\x00\x04\x00\x8a\x16"s + "1.3.6.1.4.1.1466.20037";
const std::string kLdapNo = "\x30\x0c\x02\x01\x01\x78\x07\x0a\x01\x02\x04\x00\x04\x00"s;

const std::string kSslRequest = "\x00\x00\x00\x08\x04\xd2\x16\x2f"s;
const std::string kGssEncRequest = "\x00\x00\x00\x08\x04\xd2\x16\x30"s;

std::string mysql_packet(char sequence, const std::string& payload) {
  return std::string{static_cast<char>(payload.size()), '\0', '\0', sequence} + payload;
}
std::string mysql_greeting(std::uint8_t second_byte_of_flags,
                           const std::string& version = "8.0.36") {
  return mysql_packet(0, "\x0a"s + version + "\0"s + "\x08\x00\x00\x00"s + "12345678" + "\0"s +
                             "\xff"s + static_cast<char>(second_byte_of_flags) +
                             "\xff\x02\x00\xff\xdf\x15"s + std::string(10, '\0') +
                             "123456789012\0"s + "caching_sha2_password\0"s);
}
std::string mysql_ssl_request(std::uint8_t second_byte_of_flags) {
  return mysql_packet(1, "\x85"s + static_cast<char>(second_byte_of_flags) + "\xff\x01"s +
                             "\x00\x00\x00\x01\xff"s + std::string(23, '\0'));
}

}  // namespace

TEST_CASE("starttls: SMTP") {
  upgrades("smtp", {S("220 mail.test ESMTP\r\n"), P("EHLO me\r\n"),
                    S("250-mail.test\r\n250-PIPELINING\r\n250 STARTTLS\r\n"), P("STARTTLS\r\n"),
                    S("220 2.0.0 Ready to start TLS\r\n")});
  upgrades("smtp", {S("220-mail.test\r\n220 waits\r\n"), P("ehlo me\n"), S("250 x\n"),
                    P("starttls \n"), S("220\n")});
  // One after the other without waiting: the third reply is the answer.
  upgrades("smtp", {S("220 x\r\n"), P("EHLO me\r\nSTARTTLS\r\n"), S("250 y\r\n"), S("220 go\r\n")});
  // Refused, asked again.
  upgrades("smtp", {S("220 x\r\n"), P("EHLO me\r\n"), S("250 y\r\n"), P("STARTTLS\r\n"),
                    S("454 4.7.0 TLS not available\r\n"), P("NOOP\r\n"), S("250 ok\r\n"),
                    P("STARTTLS\r\n"), S("220 now\r\n")});
  // A program that learns with MAIL that it has to.
  upgrades("smtp", {S("220 x\r\n"), P("HELO me\r\n"), S("250 y\r\n"), P("MAIL FROM:<a@b>\r\n"),
                    S("530 5.7.0 Must issue a STARTTLS command first\r\n"), P("STARTTLS\r\n"),
                    S("220 go\r\n")});
}

TEST_CASE("starttls: FTP") {
  upgrades("ftp", {S("220 (vsFTPd 3.0.3)\r\n"), P("AUTH TLS\r\n"),
                   S("234 Proceed with negotiation.\r\n")});
  upgrades("ftp",
           {S("220-Welcome\r\n250 bytes are free here\r\n220 you\r\n"), P("FEAT\r\n"),
            S("211-Features:\r\n AUTH TLS\r\n211 End\r\n"), P("auth ssl\r\n"), S("234 go\r\n")});
  upgrades("ftp", {S("220 x\r\n"), P("AUTH TLS\r\n"), S("534 no\r\n"), P("AUTH TLS-C\r\n"),
                   S("234 go\r\n")});
  upgrades("ftp", {S("220 x\r\n"), P("LIST\r\n"), S("150 opening\r\n"), S("226 done\r\n"),
                   P("AUTH TLS\r\n"), S("234 go\r\n")});
}

TEST_CASE("starttls: IMAP") {
  upgrades("imap", {S("* OK [CAPABILITY IMAP4rev1 STARTTLS] ready\r\n"), P("a001 STARTTLS\r\n"),
                    S("a001 OK Begin TLS negotiation now.\r\n")});
  upgrades("imap", {S("* OK hi\r\n"), P("1 CAPABILITY\r\n2 starttls\r\n"),
                    S("* CAPABILITY IMAP4rev1 STARTTLS\r\n1 OK\r\n"), S("2 ok\r\n")});
  upgrades("imap", {S("* OK hi\r\n"), P("a STARTTLS\r\n"), S("a NO not now\r\n"),
                    P("b STARTTLS\r\n"), S("* OK still here\r\nb OK go\r\n")});
}

TEST_CASE("starttls: POP3") {
  upgrades("pop3", {S("+OK ready\r\n"), P("STLS\r\n"), S("+OK Begin TLS negotiation now.\r\n")});
  upgrades("pop3", {S("+OK ready\r\n"), P("CAPA\r\n"),
                    S("+OK\r\nSTLS\r\n+OK is a word too\r\n.\r\n"), P("STLS\r\n"), S("+OK\r\n")});
  upgrades("pop3", {S("+OK ready\r\n"), P("CAPA\r\n"), S("-ERR what\r\n"), P("USER a\r\nstls\r\n"),
                    S("-ERR TLS first\r\n"), S("+OK go\r\n")});
  upgrades("pop3",
           {S("+OK ready\r\n"), P("STLS\r\n"), S("-ERR no\r\n"), P("STLS\r\n"), S("+OK\r\n")});
}

TEST_CASE("starttls: LDAP") {
  upgrades("ldap", {P(kLdapRequest), S(kLdapYes)});
  // Lengths in the long form, as Active Directory writes them; a search before it.
  const auto search = "\x30\x84\x00\x00\x00\x05\x02\x01\x07\x63\x00"s;
  const auto found = "\x30\x81\x90\x02\x01\x07\x64\x81\x8a"s + std::string(138, 'x');
  const auto done =
      "\x30\x84\x00\x00\x00\x10\x02\x01\x07\x65\x84\x00\x00\x00\x07\x0a\x01\x00\x04\x00\x04\x00"s;
  const auto yes =
      "\x30\x84\x00\x00\x00\x10\x02\x01\x01\x78\x84\x00\x00\x00\x07\x0a\x01\x00\x04\x00\x04\x00"s;
  upgrades("ldap", {P(search), S(found + done), P(kLdapRequest), S(yes)});
  upgrades("ldap", {P(kLdapRequest), S(kLdapNo), P(kLdapRequest), S(kLdapYes)});
}

TEST_CASE("starttls: PostgreSQL") {
  upgrades("postgresql", {P(kSslRequest), S("S")});
  upgrades("postgresql", {P(kGssEncRequest), S("N"), P(kSslRequest), S("S")});
  upgrades("postgresql", {P(kSslRequest), S("N"), P(kSslRequest), S("S")});
}

TEST_CASE("starttls: MySQL, whose program does not wait for an answer") {
  for (const auto* version : {"8.0.36", "5.5.5-10.11.6-MariaDB-0+deb12u1", ""}) {
    upgrades("mysql", {S(mysql_greeting(0xff, version)), P(mysql_ssl_request(0xae))});
    const Dialogue with_hello{S(mysql_greeting(0xff, version)),
                              P(mysql_ssl_request(0xae) + kHello)};
    check(with_hello, {Verdict::agreed, size_of(with_hello) - kHello.size(), "mysql"});
  }
  // Greetings whose length is a letter with which others begin.
  for (const char first : {'2', '*', '+'}) {
    const auto greeting =
        mysql_packet(0, mysql_greeting(0xff, "").substr(4, static_cast<std::size_t>(first)));
    REQUIRE(greeting[0] == first);
    upgrades("mysql", {S(greeting), P(mysql_ssl_request(0xae))});
  }
}

TEST_CASE("starttls: a refusal leaves the connection plain") {
  const auto undecided = Verdict::undecided;
  for (const auto* no :
       {"454 4.7.0 TLS not available\r\n", "500 what\r\n", "221 bye\r\n", "250 220\r\n"})
    stays_plain({S("220 x\r\n"), P("STARTTLS\r\n"), S(no)}, undecided);
  for (const auto* no : {"502 what\r\n", "534 no\r\n", "220 no\r\n", "334 more\r\n"})
    stays_plain({S("220 x\r\n"), P("AUTH TLS\r\n"), S(no)}, undecided);
  stays_plain({S("* OK\r\n"), P("a STARTTLS\r\n"), S("a BAD what\r\n")}, undecided);
  stays_plain({S("* OK\r\n"), P("a STARTTLS\r\n"), S("b OK of another\r\n* OK\r\n")}, undecided);
  stays_plain({S("+OK\r\n"), P("STLS\r\n"), S("-ERR no\r\n")}, undecided);
  stays_plain({P(kLdapRequest), S(kLdapNo)}, undecided);
  stays_plain({P(kSslRequest), S("N")}, undecided);
  stays_plain(
      {P(kSslRequest), S("N"), P("\x00\x00\x00\x09\x00\x03\x00\x00\x00"s)});  // goes on in plain
  stays_plain({P(kSslRequest), S("E")});  // a server of the last century says so, in words
  stays_plain({P(kGssEncRequest), S("G")});
  stays_plain({S(mysql_greeting(0xff)), P(mysql_ssl_request(0xa6))});  // logs in without TLS
  stays_plain({S(mysql_greeting(0xf7)), P(mysql_ssl_request(0xae))});  // the server cannot
  stays_plain({S(mysql_packet(0, "\xff\x10\x04Too many connections"))});
  stays_plain({S(mysql_greeting(0xff)),
               P(mysql_packet(1, std::string("\x85\xae\xff\x01", 4) + std::string(60, 'a')))});
}

TEST_CASE("starttls: what the program says too early is plain; TLS too early is not ours") {
  // The server hears it before it answers. Whether it keeps it is its own affair.
  upgrades("smtp", {S("220 x\r\n"), P("STARTTLS\r\nRSET\r\n"), S("220 go\r\n")});
  upgrades("imap", {S("* OK\r\n"), P("a STARTTLS\r\nb NOOP\r\n"), S("a OK\r\n")});
  upgrades("pop3", {S("+OK\r\n"), P("STLS\r\nCAPA\r\n"), S("+OK\r\n")});
  upgrades("ldap", {P(kLdapRequest + "\x30\x05\x02\x01\x02\x42\x00"s), S(kLdapYes)});
  upgrades("postgresql", {P(kSslRequest + "\x00\x00\x00\x09\x00\x03\x00\x00\x00"s), S("S")});
  stays_plain({S("220 x\r\n"), P("STARTTLS\r\n" + kHello), S("220 go\r\n")});
  stays_plain({S("220 x\r\n"), P("STARTTLS\r\nRSET\r\n" + kHello), S("220 go\r\n")});
  stays_plain({S("220 x\r\n"), P("AUTH TLS\r\n" + kHello), S("234 go\r\n")});
  stays_plain({S("* OK\r\n"), P("a STARTTLS\r\n" + kHello), S("a OK\r\n")});
  stays_plain({S("+OK\r\n"), P("STLS\r\n" + kHello), S("+OK\r\n")});
  stays_plain({P(kLdapRequest + kHello), S(kLdapYes)});
  stays_plain({P(kSslRequest + kHello), S("S")});
  stays_plain({P(kSslRequest + "x"), S("N")});
}

TEST_CASE("starttls: a server that says more than yes is not understood") {
  const Dialogue cases[] = {
      {S("220 x\r\n"), P("STARTTLS\r\n"), S("220 go\r\n250 injected\r\n")},
      {S("220 x\r\n"), P("AUTH TLS\r\n"), S("234 go\r\n2")},
      {S("* OK\r\n"), P("a STARTTLS\r\n"), S("a OK\r\n* CAPABILITY NONE\r\n")},
      {S("+OK\r\n"), P("STLS\r\n"), S("+OK\r\n+OK\r\n")},
      {P(kLdapRequest), S(kLdapYes + "\x30")},
      {P(kSslRequest), S("SN")},
      {S(mysql_greeting(0xff) + "x"), P(mysql_ssl_request(0xae))},
  };
  for (const auto& dialogue : cases) {
    CAPTURE(&dialogue - cases);
    CHECK(outcome_of(dialogue).verdict == Verdict::never);
  }
}

TEST_CASE("starttls: others are given up at once, and these when it is too late") {
  stays_plain({S("SSH-2.0-OpenSSH_9.2\r\n")});
  stays_plain({S("RFB 003.008\n")});
  stays_plain({S("554 go away\r\n")});
  stays_plain({P("*1\r\n$4\r\nPING\r\n")});
  stays_plain({P("EHLO too early\r\n")});
  stays_plain({P("\x16\x03"s)});
  stays_plain({P("\x00\x00\x00\x08\x04\xd2\x16\x2e"s)});  // PostgreSQL: a cancel request's code
  stays_plain({P("0"), S("2")});
  stays_plain({S("220 x\r\n250 nobody asked\r\n")});
  stays_plain({S("220 x\r\n"), P("AUTH PLAIN AGEAYg==\r\n")});
  stays_plain({S("220 x\r\n"), P("DATA\r\n")});
  stays_plain({S("220 x\r\n"), P("BDAT 5 LAST\r\n")});
  stays_plain({S("220 x\r\n"), P("PASS secret\r\n")});
  stays_plain({S("* OK\r\n"), P("a LOGIN a b\r\n")});
  stays_plain({S("* OK\r\n"), P("a authenticate PLAIN\r\n")});
  stays_plain({S("+OK\r\n"), P("PASS b\r\n")});
  stays_plain({S("+OK\r\n+OK twice\r\n")});
  stays_plain({P("\x30\x80\x02\x01"s)});              // BER without a length
  stays_plain({P("\x30\x85\x01\x00\x00\x00\x00"s)});  // more than 4 GiB
  stays_plain({P("\x30\x03\x02\x01\x01"s)});          // an id and nothing else
  stays_plain({P("\x30\x00"s)});
  stays_plain({P("\x30\x05\x04\x01\x01\x77\x00"s)});  // no number as id
}

TEST_CASE("starttls: who talks for long without it is given up") {
  Recogniser recogniser;
  CHECK(recogniser.feed(From::server, "220 x\r\n").verdict == Verdict::undecided);
  std::size_t fed = 7;
  while (recogniser.feed(From::program, std::string(1000, 'x')).verdict == Verdict::undecided)
    fed += 1000;
  CHECK(fed + 1000 > Recogniser::kMostBytes);
  CHECK(fed <= Recogniser::kMostBytes);
}

TEST_CASE("starttls: words of the request elsewhere are none") {
  const auto undecided = Verdict::undecided;
  for (const auto* said :
       {"NOOP STARTTLS\r\n", "STARTTLS now\r\n", "XSTARTTLS\r\n", "STARTTL\r\n", "AUTHTLS\r\n"})
    stays_plain({S("220 x\r\n"), P(said), S("220 go\r\n")}, undecided);
  for (const auto* said : {"STARTTLS\r\n", "a NOOP STARTTLS\r\n", "a STARTTLS x\r\n"})
    stays_plain({S("* OK\r\n"), P(said), S("a OK\r\n")}, undecided);
  stays_plain({S("+OK\r\n"), P("STLS x\r\n"), S("+OK\r\n")}, undecided);
  const auto other = "\x30\x1d\x02\x01\x01\x77\x18\x80\x16"s + "1.3.6.1.4.1.1466.20036";
  stays_plain({P(other), S(kLdapYes)}, undecided);
  const auto of_another = "\x30\x0c\x02\x01\x02\x78\x07\x0a\x01\x00\x04\x00\x04\x00"s;
  stays_plain({P(kLdapRequest), S(of_another)}, undecided);
}
