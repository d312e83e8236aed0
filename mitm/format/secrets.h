// What gives access to somebody's account, masked in files that are passed on.
#pragma once

#include <string>
#include <string_view>

namespace mitm::format {

inline constexpr std::string_view kMasked = "[masked]";

/// The value of a header field as it may be shown: of cookies the names and attributes stay, of
/// credentials the scheme, of URLs all but their secrets.
[[nodiscard]] std::string mask_field(std::string_view name, std::string_view value);

/// `url` without its password and without the values of parameters that are secret by their names.
[[nodiscard]] std::string mask_url(std::string_view url);

/// "a=1&token=[masked]": a query, or a form.
[[nodiscard]] std::string mask_parameters(std::string_view text);

/// Whether a parameter, cookie or field of this name is a secret: "access_token", "X-Api-Key" ...
[[nodiscard]] bool is_secret_name(std::string_view name);

}  // namespace mitm::format
