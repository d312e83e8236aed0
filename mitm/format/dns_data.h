// The data of DNS records as text and back (RFC 1035): files hold bytes where flows hold text.
// Agrees with mitm/dns, to which a test holds it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace mitm::format {

/// Data of a record as on the wire, names uncompressed. Text records come as one text, cut at 255
/// bytes. Where the text is not in the form of its type, it is taken as hexadecimal, else as
/// bytes.
[[nodiscard]] std::string dns_data_bytes(std::uint16_t type, std::string_view text);
/// The reverse; hexadecimal for what is not in the form of its type.
[[nodiscard]] std::string dns_data_text(std::uint16_t type, std::string_view bytes);

}  // namespace mitm::format
