// Two bytes tell the protocols apart: who says them, and which. (One does not: a MySQL greeting
// begins with its length, which may be any byte.)
#include "mitm/starttls/recogniser.h"

#include <algorithm>

namespace mitm::starttls {
namespace {

constexpr std::size_t kEnough = 2;

std::unique_ptr<Machine> machine_for(From speaker, std::string_view first) {
  if (speaker == From::program) {
    if (first[0] == '\x30') return make_ldap();
    return first[0] == '\0' ? make_postgresql() : nullptr;
  }
  if (first == "22") return make_reply_codes();
  if (first == "* ") return make_imap();
  if (first == "+O") return make_pop3();
  return first[1] == '\0' ? make_mysql() : nullptr;
}

}  // namespace

Finding Recogniser::feed(From from, std::string_view bytes) {
  if (bytes.empty()) return {};
  seen_ += bytes.size();
  const Finding finding = machine_ ? machine_->feed(from, bytes) : choose(from, bytes);
  const bool too_long = finding.verdict == Finding::Verdict::undecided && seen_ > kMostBytes;
  return too_long ? kNever : finding;
}

Finding Recogniser::choose(From from, std::string_view bytes) {
  if (!first_.empty() && from != speaker_) return kNever;
  speaker_ = from;
  const auto taken = std::min(kEnough - first_.size(), bytes.size());
  first_.append(bytes.substr(0, taken));
  if (first_.size() < kEnough) return {};
  machine_ = machine_for(from, first_);
  if (!machine_) return kNever;
  // No protocol agrees on anything within two bytes.
  Finding finding = machine_->feed(from, first_);
  if (finding.verdict == Finding::Verdict::undecided && taken < bytes.size())
    finding = machine_->feed(from, bytes.substr(taken));
  if (finding.verdict == Finding::Verdict::agreed) finding.bytes += taken;
  return finding;
}

}  // namespace mitm::starttls
