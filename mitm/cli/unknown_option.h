// What to say of an option that osproxy does not have.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace mitm::cli {

/// `option` as typed ("--cacert", "-s") is unknown to `command`, whose options are `known`; `words`
/// are all that was typed behind the command.
std::string unknown_option(std::string_view option, std::string_view command,
                           const std::vector<std::string_view>& known,
                           std::span<const std::string> words);

}  // namespace mitm::cli
