// Whatever a main ruleset holds: with our lines in and out again it is what it was, byte for byte;
// putting them in twice is once; and what is between the lines stays one statement a piece.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "pfctl/pf_conf.h"
#include "pfctl/pf_statements.h"

namespace {

void check(bool good) {
  if (!good) std::abort();
}

void edit(std::string_view conf, pfctl::Dialect dialect) {
  const auto plain = pfctl::remove_anchor(conf);
  const auto edited = pfctl::insert_anchor(conf, dialect);
  if (!edited) return check(!edited.error().text.empty());
  check(plain.has_value());
  check(pfctl::remove_anchor(edited->text).value() == *plain);
  check(pfctl::insert_anchor(edited->text, dialect).value().text == edited->text);
  if (*plain == conf) check(edited->text.size() >= conf.size());
  const auto before = pfctl::parse_pf_statements(*plain);
  const auto after = pfctl::parse_pf_statements(edited->text);
  check(after->size() >= before->size() && after->size() <= before->size() + 3);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view conf(reinterpret_cast<const char*>(data), size);
  for (const auto dialect :
       {pfctl::Dialect::darwin, pfctl::Dialect::freebsd, pfctl::Dialect::openbsd}) {
    edit(conf, dialect);
  }
  return 0;
}
