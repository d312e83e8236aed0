// Parts of the URLs of flows. Foreign text: whatever it is, something is said.
#pragma once

#include <string>
#include <string_view>

namespace mitm::query {

struct UrlParts {
  std::string_view scheme;  ///< empty: it has none (CONNECT host:443)
  std::string_view host;    ///< without port and brackets
  std::string_view path;    ///< "/" if a URL with a scheme has none
  std::string_view query;   ///< behind "?", without fragment
  bool has_query = false;
};
[[nodiscard]] UrlParts url_parts(std::string_view url);

/// The domain that was probably registered: the last two labels of `host`, or three where the last
/// one is a country's and the one before it is of those under which names are registered (co.uk,
/// com.au, ...). Not the Public Suffix List: a.github.io is in github.io. Empty: an address or a
/// name without dot.
[[nodiscard]] std::string_view domain_of(std::string_view host);

/// `text` with %41 and + undone.
[[nodiscard]] std::string form_decoded(std::string_view text);

/// Calls `visit(name, value)` for each parameter of a query string, both decoded.
template <class Visit>
void visit_parameters(std::string_view query, const Visit& visit) {
  while (!query.empty()) {
    const std::string_view one = query.substr(0, query.find('&'));
    query.remove_prefix(one.size() < query.size() ? one.size() + 1 : query.size());
    if (one.empty()) continue;
    const auto equals = one.find('=');
    visit(form_decoded(one.substr(0, equals)),
          equals == one.npos ? std::string() : form_decoded(one.substr(equals + 1)));
  }
}

}  // namespace mitm::query
