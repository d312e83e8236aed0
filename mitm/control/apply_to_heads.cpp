// Actions on fields, cookies, the request line and the status.
#include <algorithm>

#include <re2/re2.h>

#include "base/ascii.h"
#include "mitm/control/apply.h"
#include "mitm/control/sticky.h"
#include "mitm/control/value_check.h"
#include "mitm/query/url_parts.h"

namespace mitm::control {
namespace {

using base::Result;

constexpr std::size_t kLongestValue = 64 << 10;

/// As RFC 9110 section 5.5 has values: no CR, LF or NUL, which would begin another field or
/// message, and no blanks at the ends.
Result<std::string> value_of(const Text& text) {
  auto bytes = read(text, kLongestValue);
  if (!bytes) return bytes.error();
  std::ranges::replace_if(*bytes, is_control, ' ');
  return std::string(base::trimmed(*bytes));
}

std::string_view name_of_cookie(std::string_view cookie) {
  return base::trimmed(cookie.substr(0, cookie.find('=')));
}

/// `list` ("a=1; b=2") without the cookie `name`; with `value` instead where it is given.
std::string edited_cookies(std::string_view list, std::string_view name, const std::string* value) {
  std::string edited;
  const auto add = [&](std::string_view cookie) {
    edited.append(edited.empty() ? "" : "; ").append(cookie);
  };
  const std::string cookie = value != nullptr ? std::string(name) + "=" + *value : std::string();
  bool found = false;
  while (!list.empty()) {
    const auto length = std::min(list.find(';'), list.size());
    const std::string_view one = base::trimmed(list.substr(0, length));
    list.remove_prefix(std::min(length + 1, list.size()));
    if (one.empty()) continue;
    if (name_of_cookie(one) != name) {
      add(one);
    } else if (value != nullptr && !found) {
      add(cookie);
      found = true;
    }
  }
  if (value != nullptr && !found) add(cookie);
  return edited;
}

/// All Cookie fields become one (HTTP/2 splits them: RFC 9113 section 8.2.3).
void edit_request_cookies(Message& message, std::string_view name, const std::string* value) {
  http::Fields fields = message.fields();
  std::string list;
  bool has_it = false;
  for (std::size_t i = 0; i < fields.size(); ++i) {
    const auto [field, cookies] = fields[i];
    if (!http::iequals(field, "cookie")) continue;
    has_it = true;
    list.append(list.empty() ? "" : "; ").append(cookies);
  }
  if (!has_it && value == nullptr) return;
  const std::string edited = edited_cookies(list, name, value);
  if (edited == list) return;
  if (edited.empty()) {
    fields.remove("cookie");
  } else {
    fields.set("Cookie", edited);
  }
  message.set_fields(std::move(fields));
}

void edit_response_cookies(Message& message, std::string_view name, const std::string* value) {
  http::Fields fields;
  const http::Fields& came = message.fields();
  for (std::size_t i = 0; i < came.size(); ++i) {
    const auto [field, cookie] = came[i];
    if (!http::iequals(field, "set-cookie") || name_of_cookie(cookie) != name)
      fields.add(field, cookie);
  }
  if (value != nullptr) fields.add("Set-Cookie", std::string(name) + "=" + *value);
  message.set_fields(std::move(fields));
}

void edit_cookies(Message& message, std::string_view name, const std::string* value) {
  if (message.is_request()) {
    edit_request_cookies(message, name, value);
  } else {
    edit_response_cookies(message, name, value);
  }
}

/// Where the path begins in a request target: behind the authority of an absolute one.
std::size_t path_begin(std::string_view target) {
  if (target.starts_with('/') || target == "*") return 0;
  const auto colon = target.find("://");
  if (colon == target.npos) return 0;
  return std::min(target.find_first_of("/?", colon + 3), target.size());
}

/// The authority of CONNECT and "*" are no paths.
bool has_path(const flow::Request& request) {
  return !request.target.starts_with('*') && request.method != "CONNECT";
}

bool is_unreserved(char c) {
  return base::is_letter(c) || base::is_digit(c) ||
         std::string_view("-._~").find(c) != std::string_view::npos;
}

std::string percent_encoded(std::string_view text) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  std::string encoded;
  for (const char c : text) {
    if (is_unreserved(c)) {
      encoded += c;
      continue;
    }
    const auto byte = static_cast<unsigned char>(c);
    encoded += {'%', kDigits[byte >> 4U], kDigits[byte & 15U]};
  }
  return encoded;
}

/// No bytes that would end the request line.
std::string as_target(std::string_view text) {
  std::string target;
  for (const char c : text) {
    if (static_cast<unsigned char>(c) <= ' ' || c == '\x7f') {
      target += percent_encoded({&c, 1});
    } else {
      target += c;
    }
  }
  return target;
}

/// The parameter `name` of the query gets `value` or, where that is null, goes.
void edit_parameter(Message& message, const std::string& name, const std::string* value) {
  const std::string& target = message.request().target;
  if (!has_path(message.request())) return;
  const auto question = std::min(target.find('?'), target.size());
  std::string_view rest = std::string_view(target).substr(std::min(question + 1, target.size()));
  std::string edited;
  const auto add = [&](std::string_view one) {
    edited.append(edited.empty() ? "" : "&").append(one);
  };
  const std::string own =
      value != nullptr ? percent_encoded(name) + "=" + percent_encoded(*value) : std::string();
  bool found = false;
  bool has_it = false;
  while (!rest.empty()) {
    const std::string_view one = rest.substr(0, rest.find('&'));
    rest.remove_prefix(std::min(one.size() + 1, rest.size()));
    if (query::form_decoded(one.substr(0, one.find('='))) != name) {
      add(one);
      continue;
    }
    has_it = true;
    if (value != nullptr && !std::exchange(found, true)) add(own);
  }
  if (value == nullptr && !has_it) return;
  if (value != nullptr && !found) add(own);
  message.set_target(target.substr(0, question) + (edited.empty() ? "" : "?" + edited));
}

}  // namespace

Result<> apply(const SetField& action, Message& message) {
  http::Fields fields = message.fields();
  for (std::size_t i = 0; i < action.values.size(); ++i) {
    const auto value = value_of(action.values[i]);
    if (!value) return value.error();
    if (i == 0) {
      fields.set(action.name, *value);
    } else {
      fields.add(action.name, *value);
    }
  }
  message.set_fields(std::move(fields));
  return {};
}

Result<> apply(const AddField& action, Message& message) {
  const auto value = value_of(action.value);
  if (!value) return value.error();
  if (value->empty() && !action.value.file.empty()) return {};  // as in mitmproxy
  http::Fields fields = message.fields();
  fields.add(action.name, *value);
  message.set_fields(std::move(fields));
  return {};
}

Result<> apply(const RemoveField& action, Message& message) {
  http::Fields fields = message.fields();
  fields.remove(action.name);
  message.set_fields(std::move(fields));
  return {};
}

Result<> apply(const SetCookie& action, Message& message) {
  edit_cookies(message, action.name, &action.value);
  return {};
}

Result<> apply(const RemoveCookie& action, Message& message) {
  edit_cookies(message, action.name, nullptr);
  return {};
}

Result<> apply(const SetParameter& action, Message& message) {
  edit_parameter(message, action.name, &action.value);
  return {};
}

Result<> apply(const RemoveParameter& action, Message& message) {
  edit_parameter(message, action.name, nullptr);
  return {};
}

Result<> apply(const SetMethod& action, Message& message) {
  const std::string& method = message.request().method;
  if (method == "HEAD")
    return base::failure("the program waits for an answer to HEAD, which has no body");
  if (method != "CONNECT") message.set_method(action.method);
  return {};
}

Result<> apply(const SetPath& action, Message& message) {
  if (!has_path(message.request())) return {};
  const std::string& target = message.request().target;
  message.set_target(target.substr(0, path_begin(target)) + as_target(action.path));
  return {};
}

Result<> apply(const ReplaceInPath& action, Message& message) {
  if (!has_path(message.request())) return {};
  const std::string& target = message.request().target;
  const auto begin = path_begin(target);
  std::string path = target.substr(begin);
  if (RE2::GlobalReplace(&path, *action.regex, action.with) == 0) return {};
  if (!path.starts_with('/')) path.insert(0, "/");
  message.set_target(target.substr(0, begin) + as_target(path));
  return {};
}

Result<> apply(const SetStatus& action, Message& message) {
  message.set_status(action.status,
                     action.reason.empty() ? reason_of(action.status) : action.reason);
  return {};
}

Result<> apply(const DropConditions& /*action*/, Message& message) {
  http::Fields fields = message.fields();
  fields.remove("if-modified-since");
  fields.remove("if-none-match");
  message.set_fields(std::move(fields));
  return {};
}

Result<> apply(const AcceptIdentity& /*action*/, Message& message) {
  http::Fields fields = message.fields();
  fields.set("Accept-Encoding", "identity");
  message.set_fields(std::move(fields));
  return {};
}

Result<> apply(const SendCookiesAgain& action, Message& message) {
  const std::string cookies = action.jar->cookies_for(message.flow());
  if (cookies.empty()) return {};
  http::Fields fields = message.fields();
  fields.set("Cookie", cookies);
  message.set_fields(std::move(fields));
  return {};
}

Result<> apply(const SendCredentialsAgain& action, Message& message) {
  if (!message.flow().request.fields.find("authorization").empty()) return {};
  const std::string credentials = action.known->credentials_for(host_of(message.flow()));
  if (credentials.empty()) return {};
  http::Fields fields = message.fields();
  fields.set("Authorization", credentials);
  message.set_fields(std::move(fields));
  return {};
}

}  // namespace mitm::control
