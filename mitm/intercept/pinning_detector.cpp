// Programs that pin certificates say so by an alert, or leave without a word.
#include "mitm/intercept/pinning_detector.h"

#include "mitm/intercept/wire/program_tls.h"
#include "mitm/intercept/wire/trust_advice.h"

namespace mitm::intercept {

void PinningDetector::apply_bypass(divert::Verdict& verdict, std::string_view host) const {
  const std::string address =
      host.empty() ? recorder_.connection().server.address().to_string() : std::string();
  auto why = cache().reason_to_pass(recorder_.who(), host.empty() ? address : host,
                                    std::chrono::system_clock::now());
  if (why.empty()) return;
  verdict.action = divert::Action::pass;
  verdict.reason = std::move(why);
}

void PinningDetector::accepted() const {
  cache().accepted(recorder_.who(), recorder_.server_name(), std::chrono::system_clock::now());
}

std::string PinningDetector::refused(Refusal how, std::string why) const {
  if (how == Refusal::closed && offers_no_protocol_) how = Refusal::looked;
  const auto follows = cache().refused(recorder_.who(), recorder_.server_name(), how,
                                       std::chrono::system_clock::now());
  if (!follows.empty()) why.append("; ").append(follows);
  return why;
}

bool PinningDetector::left_at_once() const {
  return intercept::left_at_once(client_.stream, server_.stream, agreed_,
                                 cache().settings().at_once);
}

std::optional<std::string> PinningDetector::judge_ending() const {
  if (client_.stream.has_received()) {
    accepted();
    return std::nullopt;
  }
  if (!left_at_once()) return std::nullopt;
  if (wants_no_encrypted_hello(*client_.tls)) {
    const std::string alpn =
        tls::selected_alpn(client_.tls->ssl());  // the other sessions have said so
    if (alpn.empty() || alpn == "h2") return "the program: " + client_.tls->failure().text;
    return std::nullopt;
  }
  if (cache().trusts(recorder_.who(), recorder_.server_name())) return std::nullopt;
  const auto advice = advice_on_trust(recorder_.context().settings, recorder_.who().program);
  return refused(Refusal::closed, left_at_once_text(advice));
}

}  // namespace mitm::intercept
