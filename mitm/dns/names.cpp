#include "mitm/dns/names.h"

namespace mitm::dns {

void Names::learn(const Message& response) {
  const std::lock_guard lock{mutex_};
  for (const Record& record : response.answers) {
    if (record.type != "A" && record.type != "AAAA") continue;
    const auto [entry, added] = names_.insert_or_assign(record.data, response.name);
    if (!added) continue;
    order_.push_back(entry->first);
    if (order_.size() <= kMax) continue;
    names_.erase(order_.front());
    order_.pop_front();
  }
}

std::string Names::find(const base::Address& address) const {
  const std::string text = base::unmapped(address).to_string();
  const std::lock_guard lock{mutex_};
  const auto found = names_.find(text);
  return found == names_.end() ? std::string() : found->second;
}

}  // namespace mitm::dns
