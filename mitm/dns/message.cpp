// The walk over the message is the C library's; what it hands out is bounded by the datagram.
#include "mitm/dns/message.h"

#include <array>
#include <cstring>

#include <arpa/nameser.h>
#include <fmt/format.h>
#include <resolv.h>

#include "base/text.h"

namespace mitm::dns {
namespace {

namespace ip = boost::asio::ip;

struct Named {
  unsigned number;
  const char* name;
};

constexpr Named kTypes[] = {
    {1, "A"},     {2, "NS"},      {5, "CNAME"}, {6, "SOA"},    {12, "PTR"},   {13, "HINFO"}, {15, "MX"},
    {16, "TXT"},  {28, "AAAA"},   {33, "SRV"},  {35, "NAPTR"}, {39, "DNAME"}, {43, "DS"},    {46, "RRSIG"},
    {47, "NSEC"}, {48, "DNSKEY"}, {52, "TLSA"}, {64, "SVCB"},  {65, "HTTPS"}, {255, "ANY"},  {257, "CAA"}};
constexpr Named kRcodes[] = {{0, "NOERROR"}, {1, "FORMERR"}, {2, "SERVFAIL"}, {3, "NXDOMAIN"},
                             {4, "NOTIMP"},  {5, "REFUSED"}, {8, "NXRRSET"},  {9, "NOTAUTH"}};

template <std::size_t N>
std::string name_of(const Named (&list)[N], unsigned number, const char* other) {
  for (const auto& entry : list) {
    if (entry.number == number) return entry.name;
  }
  return fmt::format("{}{}", other, number);
}

/// A domain name in the data of a record; empty when it is damaged.
std::string domain_in(const ns_msg& message, const unsigned char* at) {
  std::array<char, NS_MAXDNAME> name{};
  const int used =
      ns_name_uncompress(ns_msg_base(message), ns_msg_end(message), at, name.data(), name.size());
  return used < 0 ? std::string() : std::string(name.data());
}

std::string texts_in(std::string_view data) {
  std::string text;
  while (!data.empty()) {
    const std::size_t size = static_cast<unsigned char>(data.front());
    if (!text.empty()) text += ' ';
    text += base::printable(data.substr(1, size));
    data.remove_prefix(std::min(size + 1, data.size()));
  }
  return text;
}

std::string hexadecimal(std::string_view data) {
  std::string text;
  for (const char c : data) text += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return text;
}

template <class Address>
std::string address_in(std::string_view data) {
  typename Address::bytes_type raw;
  if (data.size() != raw.size()) return hexadecimal(data);
  std::memcpy(raw.data(), data.data(), raw.size());
  return Address{raw}.to_string();
}

std::string data_text(const ns_msg& message, const ns_rr& record) {
  const unsigned char* const at = ns_rr_rdata(record);
  const std::string_view data(reinterpret_cast<const char*>(at), ns_rr_rdlen(record));
  switch (ns_rr_type(record)) {
    case ns_t_a:
      return address_in<ip::address_v4>(data);
    case ns_t_aaaa:
      return address_in<ip::address_v6>(data);
    case ns_t_cname:
    case ns_t_ns:
    case ns_t_ptr:
    case ns_t_dname:
      return domain_in(message, at);
    case ns_t_mx:
      return data.size() < 3 ? hexadecimal(data)
                             : fmt::format("{} {}", ns_get16(at), domain_in(message, at + 2));
    case ns_t_srv:
      if (data.size() < 7) return hexadecimal(data);
      return fmt::format("{} {} {} {}", ns_get16(at), ns_get16(at + 2), ns_get16(at + 4),
                         domain_in(message, at + 6));
    case ns_t_txt:
      return texts_in(data);
    default:
      return hexadecimal(data);
  }
}

}  // namespace

std::optional<Message> parse(std::string_view bytes) {
  ns_msg walk;
  const auto* const start = reinterpret_cast<const unsigned char*>(bytes.data());
  if (bytes.size() > NS_MAXMSG || ns_initparse(start, static_cast<int>(bytes.size()), &walk) != 0)
    return std::nullopt;
  ns_rr record;
  if (ns_msg_count(walk, ns_s_qd) != 1 || ns_parserr(&walk, ns_s_qd, 0, &record) != 0) return std::nullopt;
  Message message;
  message.id = ns_msg_id(walk);
  message.response = ns_msg_getflag(walk, ns_f_qr) != 0;
  message.truncated = ns_msg_getflag(walk, ns_f_tc) != 0;
  message.rcode = name_of(kRcodes, static_cast<unsigned>(ns_msg_getflag(walk, ns_f_rcode)), "RCODE");
  message.name = ns_rr_name(record);
  message.type = name_of(kTypes, ns_rr_type(record), "TYPE");
  const auto count = std::min<std::size_t>(ns_msg_count(walk, ns_s_an), kMaxRecords);
  for (std::size_t i = 0; i < count; ++i) {
    if (ns_parserr(&walk, ns_s_an, static_cast<int>(i), &record) != 0) return std::nullopt;
    message.answers.push_back({ns_rr_name(record), name_of(kTypes, ns_rr_type(record), "TYPE"),
                               ns_rr_ttl(record), data_text(walk, record)});
  }
  return message;
}

}  // namespace mitm::dns
