// Messages as bytes, from RFC 1035 and from real answers; flows and names made of them.
#include "mitm/dns/message.h"
#include "mitm/dns/names.h"
#include "mitm/dns/stream.h"
#include "mitm/dns/watch.h"
#include "mitm/format/sinks.h"
#include "tests/test.h"

namespace {

using namespace mitm;
using namespace std::chrono_literals;

std::string word(unsigned value) {
  return {static_cast<char>(value >> 8), static_cast<char>(value & 0xff)};
}

std::string labels(std::string_view name) {
  std::string bytes;
  while (!name.empty()) {
    const auto dot = std::min(name.find('.'), name.size());
    bytes += static_cast<char>(dot);
    bytes += name.substr(0, dot);
    name.remove_prefix(std::min(dot + 1, name.size()));
  }
  return bytes + '\0';
}

std::string message(unsigned id, unsigned flags, std::string_view name, unsigned type,
                    unsigned answers = 0, const std::string& records = {}) {
  return word(id) + word(flags) + word(1) + word(answers) + word(0) + word(0) + labels(name) +
         word(type) + word(1) + records;
}

// A record whose name is the question's, by a pointer to offset 12.
std::string record(unsigned type, const std::string& data, unsigned ttl = 300) {
  return "\xc0\x0c" + word(type) + word(1) + word(ttl >> 16) + word(ttl & 0xffff) +
         word(static_cast<unsigned>(data.size())) + data;
}

const std::string kQuestion = message(7, 0x0100, "one.test", 1);
const std::string kAnswer =
    message(7, 0x8180, "one.test", 1, 3,
            record(5, labels("alias.test")) + record(1, std::string("\xc0\0\2\2", 4)) +
                record(1, std::string("\xc0\0\2\3", 4)));

struct Rig {
  std::shared_ptr<dns::Names> names = std::make_shared<dns::Names>();
  dns::Watch watch{names};
  dns::Watch::Time now{};
  divert::Connection connection;

  Rig() {
    connection.client = base::parse_endpoint("192.0.2.1:40000").value();
    connection.server = base::parse_endpoint("192.0.2.53:53").value();
  }
  std::shared_ptr<flow::DnsFlow> hears(const std::string& payload, bool from_server) {
    return watch.on_message(connection, from_server, payload, now, [] {
      auto flow = std::make_shared<flow::DnsFlow>();
      flow->connection = std::make_shared<const flow::ConnectionRecord>();
      return flow;
    });
  }
};

}  // namespace

TEST_CASE("dns: a question and an answer as text") {
  const auto question = dns::parse(kQuestion);
  REQUIRE(question);
  CHECK_FALSE(question->response);
  CHECK(question->id == 7);
  CHECK(question->name == "one.test");
  CHECK(question->type == "A");
  const auto answer = dns::parse(kAnswer);
  REQUIRE(answer);
  CHECK(answer->response);
  CHECK(answer->rcode == "NOERROR");
  REQUIRE(answer->answers.size() == 3);
  CHECK(answer->answers[0].type == "CNAME");
  CHECK(answer->answers[0].data == "alias.test");
  CHECK(answer->answers[0].ttl == 300);
  CHECK(answer->answers[1].data == "192.0.2.2");
}

TEST_CASE("dns: data of many types") {
  const auto data = [](unsigned type, const std::string& bytes) {
    return dns::parse(message(1, 0x8180, "x.test", type, 1, record(type, bytes)))
        .value()
        .answers.at(0)
        .data;
  };
  CHECK(data(28, std::string("\x20\x01\x0d\xb8", 4) + std::string(11, '\0') + "\1") ==
        "2001:db8::1");
  CHECK(data(15, word(10) + labels("mail.test")) == "10 mail.test");
  CHECK(data(33, word(1) + word(2) + word(443) + labels("srv.test")) == "1 2 443 srv.test");
  CHECK(data(16, std::string("\5hello\3you", 10)) == "hello you");
  CHECK(data(65, "\1\2") == "0102");
  CHECK(data(1, "\1\2") == "0102");
  CHECK(dns::parse(message(1, 0x8183, "x.test", 65400)).value().type == "TYPE65400");
  CHECK(dns::parse(message(1, 0x8183, "x.test", 1)).value().rcode == "NXDOMAIN");
}

TEST_CASE("dns: names as master files write them") {
  const auto name = [](const std::string& wire) {
    const auto parsed = dns::parse(word(1) + word(0x0100) + word(1) + word(0) + word(0) + word(0) +
                                   wire + word(1) + word(1));
    return parsed ? parsed->name : "none";
  };
  const std::string longest = "\x3f" + std::string(63, 'a') + "\x3f" + std::string(63, 'b') +
                              "\x3f" + std::string(63, 'c') + "\x3d" + std::string(61, 'd') + '\0';
  CHECK(name(std::string(1, '\0')) == ".");
  CHECK(name("\4a.b\\" + std::string(1, '\0')) == "a\\.b\\\\");
  CHECK(name(std::string("\3\0 \xff", 4) + '\0') == "\\000\\032\\255");
  CHECK(name(longest).size() == 63 + 1 + 63 + 1 + 63 + 1 + 61);
  CHECK(name(longest.substr(0, longest.size() - 1) + "\1e" + '\0') == "none");  // 257 bytes
  CHECK(name("\x40" + std::string(64, 'a') + '\0') == "none");  // no kind of label that there is
  CHECK(name("\x80" + std::string(1, '\0')) == "none");
}

TEST_CASE("dns: pointers lead backwards, through each other, and never in circles") {
  // "tail" at 12; the record's name points to it, its data to the record's name behind one more
  // label.
  const auto answer = [](const std::string& records) {
    return dns::parse(message(1, 0x8180, "tail", 5, 1, records));
  };
  const std::size_t start = 12 + 6 + 4;
  const std::string data = std::string("\3www\xc0", 5) + static_cast<char>(start);
  const auto parsed = answer(record(5, data));
  REQUIRE(parsed);
  CHECK(parsed->answers.at(0).name == "tail");
  CHECK(parsed->answers.at(0).data == "www.tail");
  // A pointer in the data that points to itself, and one forwards: the name is damaged, the message
  // is not.
  CHECK(answer(record(5, std::string("\xc0", 1) + static_cast<char>(start + 12)))
            .value()
            .answers.at(0)
            .data.empty());
  CHECK(answer(record(5, std::string("\xc0", 1) + static_cast<char>(start + 14) + "\1a" + '\0'))
            .value()
            .answers.at(0)
            .data.empty());
}

TEST_CASE("dns: cut anywhere, or pointing at itself, it is none") {
  for (std::size_t size = 0; size < kAnswer.size(); ++size)
    CHECK_FALSE(dns::parse(kAnswer.substr(0, size)));
  CHECK_FALSE(dns::parse(word(1) + word(0x8180) + word(1) + word(0) + word(0) + word(0) +
                         "\xc0\x0c" + word(1) + word(1)));
  CHECK_FALSE(dns::parse(word(1) + word(0) + word(2) + word(0) + word(0) + word(0) + labels("a") +
                         word(1) + word(1) + labels("b") + word(1) + word(1)));
}

TEST_CASE("dns: what stands behind the answers has to be whole, and is all there is") {
  const auto parsed = [](unsigned authority, unsigned additional, const std::string& records) {
    return dns::parse(word(1) + word(0x8180) + word(1) + word(1) + word(authority) +
                      word(additional) + labels("x") + word(1) + word(1) + record(1, "abcd") +
                      records);
  };
  const std::string soa = record(6, "whatever");
  const std::string opt =
      std::string(1, '\0') + word(41) + word(1232) + word(0) + word(0) + word(0);
  CHECK(parsed(0, 0, ""));
  REQUIRE(parsed(1, 1, soa + opt));
  CHECK(parsed(1, 1, soa + opt)->answers.size() == 1);
  for (std::size_t size = 0; size < soa.size() + opt.size(); ++size)
    CHECK_FALSE(parsed(1, 1, (soa + opt).substr(0, size)));
  CHECK_FALSE(parsed(1, 0, soa + opt));
  CHECK_FALSE(parsed(0, 1, "\x40" + opt));
}

TEST_CASE("dns: question and answer are one flow") {
  Rig rig;
  CHECK_FALSE(rig.hears(kQuestion, false));
  rig.now += 1500us;
  const auto flow = rig.hears(kAnswer, true);
  REQUIRE(flow);
  CHECK(flow->name == "one.test");
  CHECK(flow->answers.size() == 3);
  CHECK(flow->duration == 1500us);
  CHECK(flow->request_bytes == kQuestion.size());
  CHECK(flow->response_bytes == kAnswer.size());
  CHECK_FALSE(rig.hears(kAnswer, true));
  CHECK(rig.names->find(base::parse_endpoint("192.0.2.3:1").value().address()) == "one.test");
  CHECK(rig.names->find(base::parse_endpoint("[::ffff:192.0.2.3]:1").value().address()) ==
        "one.test");
  CHECK(rig.names->find(base::parse_endpoint("192.0.2.4:1").value().address()).empty());
  const auto text = format::render_text(flow::DnsEnd{flow}, {1, false});
  CHECK(text == "00:00:00 ? dns A one.test → 192.0.2.2, 192.0.2.3 1.5ms\n");
}

TEST_CASE("dns: a question without an answer ends after five seconds") {
  Rig rig;
  CHECK_FALSE(rig.hears(kQuestion, false));
  rig.now += 4999ms;
  CHECK(rig.watch.expired(rig.now).empty());
  rig.now += 1ms;
  const auto flows = rig.watch.expired(rig.now);
  REQUIRE(flows.size() == 1);
  CHECK(flows[0]->error == "no answer");
  CHECK(flows[0]->rcode.empty());
  CHECK_FALSE(rig.hears(kAnswer, true));
}

TEST_CASE("dns: an answer whose copy is faster than its question's") {
  Rig rig;
  CHECK_FALSE(rig.hears(kAnswer, true));
  CHECK(rig.names->find(boost::asio::ip::make_address("192.0.2.2")).empty());
  const auto flow = rig.hears(kQuestion, false);
  REQUIRE(flow);
  CHECK(flow->rcode == "NOERROR");
  CHECK(rig.names->find(boost::asio::ip::make_address("192.0.2.2")) == "one.test");
  CHECK_FALSE(rig.hears(kAnswer, true));
  CHECK(rig.watch.expired(rig.now + 5s).empty());
  CHECK_FALSE(rig.hears(kQuestion, false));
}

TEST_CASE("dns: an answer that repeats no question belongs to the one with its number") {
  const std::string formerr = word(7) + word(0x8181) + word(0) + word(0) + word(0) + word(0);
  REQUIRE(dns::parse(formerr));
  CHECK_FALSE(dns::parse(word(7) + word(0x0100) + word(0) + word(0) + word(0) + word(0)));
  Rig rig;
  CHECK_FALSE(rig.hears(kQuestion, false));
  const auto flow = rig.hears(formerr, true);
  REQUIRE(flow);
  CHECK(flow->rcode == "FORMERR");
  CHECK(flow->name == "one.test");
  CHECK(flow->type == "A");
}

TEST_CASE("dns: a malformed answer is called that, unless a good one follows") {
  const std::string other = message(8, 0x0100, "other.test", 1);
  for (const std::string& bad : {kAnswer.substr(0, kAnswer.size() - 1), kAnswer + "x",
                                 kAnswer.substr(0, 2), kQuestion, word(7) + "no DNS at all"}) {
    CAPTURE(bad.size());
    Rig rig;
    CHECK_FALSE(rig.hears(kQuestion, false));
    CHECK_FALSE(rig.hears(other, false));
    CHECK_FALSE(rig.hears(bad, true));
    const auto flows = rig.watch.expired(rig.now, {});
    REQUIRE(flows.size() == 2);
    CHECK(flows[0]->error == "malformed answer");
    CHECK(flows[0]->rcode.empty());
    CHECK(flows[1]->error == "no answer");
  }
  for (const std::string& bad : {std::string{}, std::string{"\0", 1}}) {
    Rig rig;
    CHECK_FALSE(rig.hears(kQuestion, false));
    CHECK_FALSE(rig.hears(other, false));
    CHECK_FALSE(rig.hears(bad, true));
    for (const auto& flow : rig.watch.expired(rig.now, {}))
      CHECK(flow->error == "malformed answer");
  }
  Rig rig;
  CHECK_FALSE(rig.hears(kQuestion, false));
  CHECK_FALSE(rig.hears(word(7), true));
  const auto flow = rig.hears(kAnswer, true);
  REQUIRE(flow);
  CHECK(flow->error.empty());
}

TEST_CASE("dns: what says that it comes from the other side is not believed") {
  Rig rig;
  CHECK_FALSE(rig.hears(kAnswer, false));
  CHECK_FALSE(rig.hears(kQuestion, true));
  CHECK(rig.watch.expired(rig.now + 1h).empty());
}

TEST_CASE("dns: names are bounded, the oldest go first") {
  dns::Names names;
  for (unsigned i = 0; i <= dns::Names::kMax; ++i) {
    dns::Message response;
    response.name = "n" + std::to_string(i);
    response.answers.push_back({"", "A", 1, fmt::format("10.0.{}.{}", i >> 8, i & 0xff)});
    names.learn(response);
  }
  CHECK(names.find(boost::asio::ip::make_address("10.0.0.0")).empty());
  CHECK(names.find(boost::asio::ip::make_address("10.0.0.1")) == "n1");
}

TEST_CASE("dns stream: messages behind their lengths, however they are cut") {
  const std::string longest(65535, 'x');
  const std::vector<std::string> messages{kQuestion, "", kAnswer, longest, "z"};
  std::string bytes;
  for (const auto& message : messages)
    bytes += word(static_cast<unsigned>(message.size())) + message;
  for (const std::size_t piece :
       {std::size_t{1}, std::size_t{2}, std::size_t{7}, std::size_t{1000}, bytes.size()}) {
    dns::Stream stream;
    std::vector<std::string> heard;
    for (std::size_t at = 0; at < bytes.size(); at += piece)
      stream.feed(std::string_view(bytes).substr(at, piece),
                  [&](std::string_view message) { heard.emplace_back(message); });
    CHECK(heard == messages);
  }
  for (std::size_t cut = 0; cut < 200; ++cut) {
    dns::Stream stream;
    std::vector<std::string> heard;
    const auto take = [&](std::string_view message) { heard.emplace_back(message); };
    stream.feed(std::string_view(bytes).substr(0, cut), take);
    stream.feed(std::string_view(bytes).substr(cut), take);
    CHECK(heard == messages);
  }
}
