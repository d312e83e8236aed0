// RFC 1035. A walk of our own: the C libraries' differ, and are not everywhere in the C library.
#include "mitm/dns/message.h"

#include <algorithm>
#include <cstring>

#include <fmt/format.h>

#include "base/text.h"
#include "mitm/flow/dns_names.h"

namespace mitm::dns {
namespace {

namespace ip = boost::asio::ip;
using enum flow::DnsType;

constexpr std::size_t kMaxMessage = 65535;

std::string texts_in(std::string_view data) {
  std::string text;
  while (!data.empty()) {
    const std::size_t size = static_cast<unsigned char>(data.front());
    if (!text.empty()) text += ' ';
    text += base::printable(data.substr(1, size));
    data.remove_prefix(std::min(size + 1, data.size()));
  }
  return text;
}

std::string hexadecimal(std::string_view data) {
  std::string text;
  for (const char c : data) text += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return text;
}

template <class Address>
std::string address_in(std::string_view data) {
  typename Address::bytes_type raw;
  if (data.size() != raw.size()) return hexadecimal(data);
  std::memcpy(raw.data(), data.data(), raw.size());
  return Address{raw}.to_string();
}

std::uint32_t number_at(std::string_view bytes, std::size_t at, std::size_t size) {
  std::uint32_t value = 0;
  for (const char c : bytes.substr(at, size)) value = value << 8 | static_cast<unsigned char>(c);
  return value;
}

/// A letter of a name as master files write it (RFC 1035, 5.1).
void append_letter(std::string& text, unsigned char letter) {
  constexpr std::string_view kSpecial = ".;\\@$\"()";
  if (letter <= 0x20 || letter >= 0x7f) {
    text += fmt::format("\\{:03}", letter);
    return;
  }
  if (kSpecial.find(static_cast<char>(letter)) != kSpecial.npos) text += '\\';
  text += static_cast<char>(letter);
}

/// Reads a message from its beginning to its end. Once something is damaged or cut short, nothing
/// more comes.
class Walk {
 public:
  explicit Walk(std::string_view message, std::size_t at = 0) : message_(message), at_(at) {}

  [[nodiscard]] bool good() const { return good_; }
  [[nodiscard]] std::size_t at() const { return at_; }

  std::uint32_t number(std::size_t size) {
    if (!has(size)) return 0;
    at_ += size;
    return number_at(message_, at_ - size, size);
  }

  std::string_view bytes(std::size_t size) {
    if (!has(size)) return {};
    at_ += size;
    return message_.substr(at_ - size, size);
  }

  /// With its pointers followed: each of them backwards, as encoders write them, so that it ends.
  std::string name() {
    std::string text;
    std::size_t length = 0;
    std::size_t at = at_;
    std::size_t end = 0;  // behind the first pointer
    for (std::size_t limit = message_.size(); good_;) {
      good_ = at < limit;
      if (!good_) break;
      const unsigned size = static_cast<unsigned char>(message_[at]);
      if (size >= kPointer) {
        good_ = at + 2 <= message_.size();
        if (!good_) break;
        if (end == 0) end = at + 2;
        const std::size_t target = number_at(message_, at, 2) & 0x3fff;
        good_ = target < at;
        limit = at;
        at = target;
        continue;
      }
      length += size + 1;
      good_ = size <= kMaxLabel && length <= kMaxName && at + 1 + size <= message_.size();
      if (!good_) break;
      if (size == 0) {
        at_ = end != 0 ? end : at + 1;
        return text.empty() ? "." : text;
      }
      if (!text.empty()) text += '.';
      for (const char c : message_.substr(at + 1, size))
        append_letter(text, static_cast<unsigned char>(c));
      at += 1 + size;
    }
    return {};
  }

  void skip_record() {
    skip_name();
    number(8);  // type, class, time to live
    bytes(number(2));
  }

 private:
  static constexpr unsigned kPointer = 0xc0, kMaxLabel = 63;
  static constexpr std::size_t kMaxName = 255;

  void skip_name() {
    while (good_) {
      const unsigned size = number(1);
      if (size >= kPointer) number(1);
      if (size == 0 || size >= kPointer) return;
      good_ = good_ && size <= kMaxLabel;
      bytes(size);
    }
  }

  bool has(std::size_t size) {
    good_ = good_ && size <= message_.size() - at_;
    return good_;
  }

  std::string_view message_;
  std::size_t at_;
  bool good_ = true;
};

/// A domain name in the data of a record; empty when it is damaged.
std::string domain_at(std::string_view message, std::size_t at) {
  return Walk{message, at}.name();
}

/// `data` is at `at` in the message, which its names may point into.
std::string data_text(std::string_view message, std::size_t at, unsigned type,
                      std::string_view data) {
  switch (type) {
    case kA:
      return address_in<ip::address_v4>(data);
    case kAaaa:
      return address_in<ip::address_v6>(data);
    case kCname:
    case kNs:
    case kPtr:
    case kDname:
      return domain_at(message, at);
    case kMx:
      return data.size() < 3
                 ? hexadecimal(data)
                 : fmt::format("{} {}", number_at(data, 0, 2), domain_at(message, at + 2));
    case kSrv:
      if (data.size() < 7) return hexadecimal(data);
      return fmt::format("{} {} {} {}", number_at(data, 0, 2), number_at(data, 2, 2),
                         number_at(data, 4, 2), domain_at(message, at + 6));
    case kTxt:
      return texts_in(data);
    default:
      return hexadecimal(data);
  }
}

}  // namespace

std::optional<Message> parse(std::string_view bytes) {
  if (bytes.size() > kMaxMessage) return std::nullopt;
  Walk walk{bytes};
  Message message;
  message.id = static_cast<std::uint16_t>(walk.number(2));
  const unsigned flags = walk.number(2);
  const unsigned questions = walk.number(2), answers = walk.number(2);
  const unsigned further = walk.number(2) + walk.number(2);  // authority, additional
  message.response = (flags & 0x8000) != 0;
  message.truncated = (flags & 0x0200) != 0;
  message.rcode = flow::dns_rcode_name(flags & 0x000f);
  if (questions > 1 || (questions == 0 && !message.response)) return std::nullopt;
  if (questions == 1) {
    message.name = walk.name();
    message.type = flow::dns_type_name(static_cast<std::uint16_t>(walk.number(2)));
    walk.number(2);  // class
  }
  if (!walk.good()) return std::nullopt;
  for (std::size_t i = 0; i < std::min<std::size_t>(answers, kMaxRecords); ++i) {
    Record record;
    record.name = walk.name();
    const unsigned type = walk.number(2);
    walk.number(2);
    record.ttl = walk.number(4);
    const std::size_t size = walk.number(2);
    const std::size_t at = walk.at();
    const std::string_view data = walk.bytes(size);
    if (!walk.good()) return std::nullopt;
    record.type = flow::dns_type_name(static_cast<std::uint16_t>(type));
    record.data = data_text(bytes, at, type, data);
    message.answers.push_back(std::move(record));
  }
  const unsigned shown = std::min<unsigned>(answers, kMaxRecords);
  for (unsigned i = shown; i < answers + further && walk.good(); ++i) walk.skip_record();
  if (!walk.good() || walk.at() != bytes.size()) return std::nullopt;
  return message;
}

}  // namespace mitm::dns
