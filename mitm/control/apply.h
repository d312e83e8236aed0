// Does what actions say.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "mitm/control/message.h"
#include "mitm/control/rule.h"

namespace mitm::control {

/// What becomes of the message behind all actions.
struct Outcome {
  /// The program gets this; `body` has no coding.
  struct Answer {
    int status = 200;
    std::string reason;
    http::Fields fields;
    std::string body;
  };
  std::optional<Answer> answer;
  bool reset = false;
  /// A directory of MapLocal has no such file: 404, unless another one has it.
  bool not_found = false;
  std::string not_found_by{};  ///< the rule that says so
  std::chrono::milliseconds delay{};

  [[nodiscard]] bool is_final() const { return answer || reset; }
};

/// With its usual reason, and no body.
[[nodiscard]] Outcome::Answer empty_answer(int status);

/// Does `action`. The error says why it could not be done; then nothing has changed, but what
/// should have been answered is answered with an error: it was not meant for the server.
[[nodiscard]] base::Result<> apply(const Action& action, Message& message, Outcome& outcome);

// By what they work on; for apply().
base::Result<> apply(const SetField& action, Message& message);
base::Result<> apply(const AddField& action, Message& message);
base::Result<> apply(const RemoveField& action, Message& message);
base::Result<> apply(const SetCookie& action, Message& message);
base::Result<> apply(const RemoveCookie& action, Message& message);
base::Result<> apply(const SetParameter& action, Message& message);
base::Result<> apply(const RemoveParameter& action, Message& message);
base::Result<> apply(const SetMethod& action, Message& message);
base::Result<> apply(const SetPath& action, Message& message);
base::Result<> apply(const ReplaceInPath& action, Message& message);
base::Result<> apply(const SetStatus& action, Message& message);
base::Result<> apply(const DropConditions& action, Message& message);
base::Result<> apply(const AcceptIdentity& action, Message& message);
base::Result<> apply(const SetBody& action, Message& message);
base::Result<> apply(const ReplaceInBody& action, Message& message);
base::Result<> apply(const PatchJson& action, Message& message);
base::Result<> apply(const MergeJson& action, Message& message);
base::Result<> apply(const SendCookiesAgain& action, Message& message);
base::Result<> apply(const SendCredentialsAgain& action, Message& message);
base::Result<> apply(const Respond& action, const Message& message, Outcome& outcome);
base::Result<> apply(const MapLocal& action, const Message& message, Outcome& outcome);

/// Files in which MapLocal looks for what belongs to `url`, the first first.
[[nodiscard]] std::vector<std::string> candidates(const MapLocal& action, const std::string& url);
/// Whether the URL is one for it.
[[nodiscard]] bool is_mapped(const MapLocal& action, const std::string& url);

}  // namespace mitm::control
