#include "mitm/flow/dns_names.h"

#include <charconv>
#include <optional>

#include <fmt/format.h>

#include "base/ascii.h"

namespace mitm::flow {
namespace {

struct Named {
  std::uint16_t number;
  std::string_view name;
};

constexpr Named kTypes[] = {
    {1, "A"},      {2, "NS"},     {5, "CNAME"}, {6, "SOA"},     {12, "PTR"},   {13, "HINFO"},
    {15, "MX"},    {16, "TXT"},   {28, "AAAA"}, {33, "SRV"},    {35, "NAPTR"}, {39, "DNAME"},
    {43, "DS"},    {46, "RRSIG"}, {47, "NSEC"}, {48, "DNSKEY"}, {52, "TLSA"},  {64, "SVCB"},
    {65, "HTTPS"}, {255, "ANY"},  {257, "CAA"}};
constexpr Named kRcodes[] = {{0, "NOERROR"}, {1, "FORMERR"}, {2, "SERVFAIL"}, {3, "NXDOMAIN"},
                             {4, "NOTIMP"},  {5, "REFUSED"}, {8, "NXRRSET"},  {9, "NOTAUTH"}};
constexpr std::uint16_t kServfail = 2;

template <std::size_t N>
std::string name_of(const Named (&list)[N], std::uint16_t number, std::string_view other) {
  for (const Named& entry : list) {
    if (entry.number == number) return std::string(entry.name);
  }
  return fmt::format("{}{}", other, number);
}

template <std::size_t N>
std::optional<std::uint16_t> number_of(const Named (&list)[N], std::string_view name,
                                       std::string_view other) {
  for (const Named& entry : list) {
    if (base::iequals(entry.name, name)) return entry.number;
  }
  if (!name.starts_with(other)) return std::nullopt;
  name.remove_prefix(other.size());
  std::uint16_t number = 0;
  const auto [stop, error] = std::from_chars(name.data(), name.data() + name.size(), number);
  if (error != std::errc{} || stop != name.data() + name.size()) return std::nullopt;
  return number;
}

}  // namespace

std::string dns_type_name(std::uint16_t number) {
  return name_of(kTypes, number, "TYPE");
}

std::uint16_t dns_type_number(std::string_view name) {
  return number_of(kTypes, name, "TYPE").value_or(0);
}

std::string dns_rcode_name(std::uint16_t number) {
  return name_of(kRcodes, number, "RCODE");
}

std::uint16_t dns_rcode_number(std::string_view name) {
  return number_of(kRcodes, name, "RCODE").value_or(kServfail);
}

}  // namespace mitm::flow
