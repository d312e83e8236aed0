// The types of DNS records and the codes of answers as flows have them: as text (IANA's "Domain
// Name System (DNS) Parameters").
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace mitm::flow {

/// Those whose data is read.
enum DnsType : std::uint16_t {
  kA = 1,
  kNs = 2,
  kCname = 5,
  kPtr = 12,
  kMx = 15,
  kTxt = 16,
  kAaaa = 28,
  kSrv = 33,
  kDname = 39,
};
/// "A", "AAAA" ...; "TYPE99" for those without a name here.
[[nodiscard]] std::string dns_type_name(std::uint16_t number);
/// The reverse; 0: no such type.
[[nodiscard]] std::uint16_t dns_type_number(std::string_view name);

/// "NOERROR", "NXDOMAIN" ...; "RCODE42".
[[nodiscard]] std::string dns_rcode_name(std::uint16_t number);
/// The reverse; SERVFAIL for what is no code.
[[nodiscard]] std::uint16_t dns_rcode_number(std::string_view name);

}  // namespace mitm::flow
