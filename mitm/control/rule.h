// Rules that change messages on their way: what they match, and what they do. Plain data; apply.h
// does it, rule_reader.h reads it.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include <nlohmann/json.hpp>

#include "mitm/control/text.h"
#include "mitm/query/filter.h"

namespace re2 {
class RE2;
}

namespace mitm::control {

class CookieJar;
class Credentials;

using Regex = std::shared_ptr<const re2::RE2>;

/// Which messages of a flow an action is for.
enum class Side : std::uint8_t { both, request, response };

/// One field with each value, in place of all of that name.
struct SetField {
  std::string name;
  std::vector<Text> values;
};
struct AddField {
  std::string name;
  Text value;
};
struct RemoveField {
  std::string name;
};
/// Of a request in Cookie, of a response in a Set-Cookie of its own, where the value may have
/// attributes ("1; Path=/").
struct SetCookie {
  std::string name, value;
};
struct RemoveCookie {
  std::string name;
};
struct SetParameter {
  std::string name, value;
};
struct RemoveParameter {
  std::string name;
};
struct SetMethod {
  std::string method;
};
/// Path and query.
struct SetPath {
  std::string path;
};
struct ReplaceInPath {
  Regex regex;
  std::string with;  ///< \1 is the first group
};
struct SetStatus {
  int status = 0;
  std::string reason;
};
struct SetBody {
  Text body;
  std::string type;  ///< Content-Type; empty: as it is
};
struct ReplaceInBody {
  Regex regex;
  Text with;
  bool groups = false;  ///< whether \1 is the first group; else it is two characters
};
/// RFC 6902.
struct PatchJson {
  nlohmann::json operations;
};
/// RFC 7396.
struct MergeJson {
  nlohmann::json patch;
};
/// The program gets this, the server nothing.
struct Respond {
  int status = 200;
  std::string reason{};
  std::vector<std::pair<std::string, std::string>> fields{};
  Text body{};
  std::string type{};  ///< Content-Type, where `fields` has none
};
/// The program gets a file (mitmproxy's map_local).
struct MapLocal {
  Regex regex;       ///< in the URL
  std::string path;  ///< a file, or a directory in which group 1 or what follows is looked for
};
/// The connection, or stream, is reset.
struct Reset {};
/// The server is not asked whether what the program has is still good.
struct DropConditions {};
/// The server is asked not to compress.
struct AcceptIdentity {};
struct Delay {
  std::chrono::milliseconds time{};
};
/// mitmproxy's stickycookie and stickyauth. What they send again is collected from all flows.
struct SendCookiesAgain {
  std::shared_ptr<CookieJar> jar;
};
struct SendCredentialsAgain {
  std::shared_ptr<Credentials> known;
};

using Action =
    std::variant<SetField, AddField, RemoveField, SetCookie, RemoveCookie, SetParameter,
                 RemoveParameter, SetMethod, SetPath, ReplaceInPath, SetStatus, SetBody,
                 ReplaceInBody, PatchJson, MergeJson, Respond, MapLocal, Reset, DropConditions,
                 AcceptIdentity, Delay, SendCookiesAgain, SendCredentialsAgain>;

struct Step {
  Side side = Side::both;
  Action action;

  [[nodiscard]] bool is_for(flow::Direction direction) const {
    return side == Side::both || (side == Side::request) == (direction == flow::Direction::request);
  }
};

struct Rule {
  std::string name;
  bool enabled = true;
  query::Filter match;
  std::vector<Step> steps;               ///< in this order
  std::optional<std::uint64_t> times{};  ///< flows that it matches; then it rests
  double probability = 1;                ///< that it changes a flow that it matches
};

/// Whether it needs the body of the message that it is for.
[[nodiscard]] bool needs_body(const Action& action);
/// Whether nothing behind it changes the request.
[[nodiscard]] bool ends_request(const Action& action);

}  // namespace mitm::control
