// What the user of a program that does not trust osproxy's CA can do about it.
#pragma once

#include <string>
#include <string_view>

#include "mitm/intercept/context/context.h"

namespace mitm::intercept {

/// A clause to follow "the program does not trust osproxy's CA; ". `program`: the path of its
/// executable; empty: not known. Names only files that exist: the bundle that exec has written, or
/// the root certificate.
std::string advice_on_trust(const Settings& settings, std::string_view program);

}  // namespace mitm::intercept
