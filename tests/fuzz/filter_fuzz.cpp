// Whatever is typed as a filter, and whatever the broker is told: no crash, no exception, and the
// copy that goes through CBOR says the same as the original.
#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

#include "divert/policy/program_filter.h"

namespace {

procmap::ProcessFacts some_process() {
  procmap::ProcessFacts facts;
  facts.id = {123, 1};
  facts.exe = "/opt/a,b/curl";
  facts.name = "curl";
  facts.user = "alice";
  facts.group = "staff";
  facts.cgroup = "/user.slice";
  facts.ancestors = {{{1, 1}, "/sbin/init"}};
  return facts;
}

/// Whatever CBOR can say.
nlohmann::json foreign(const std::uint8_t* data, std::size_t size) {
  try {
    return nlohmann::json::from_cbor(std::vector<std::uint8_t>(data, data + size), true, false);
  } catch (const nlohmann::json::exception&) {
    return nullptr;  // thrown for huge arrays, although it was told not to (nlohmann 3.11.2)
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const auto process = some_process();
  if (const auto filter =
          divert::ProgramFilter::parse({reinterpret_cast<const char*>(data), size})) {
    const auto copy = divert::ProgramFilter::from_json(
        nlohmann::json::from_cbor(nlohmann::json::to_cbor(filter->to_json())));
    if (!copy || copy->text() != filter->text() || copy->to_json() != filter->to_json())
      std::abort();
    if (copy->matches(&process) != filter->matches(&process)) std::abort();
    if (copy->matches(nullptr) != filter->matches(nullptr)) std::abort();
  }
  if (const auto filter = divert::ProgramFilter::from_json(foreign(data, size))) {
    if (filter->size() > divert::ProgramFilter::kMaxItems ||
        filter->matches(&process) != filter->matches(&process))
      std::abort();
  }
  return 0;
}
