// Boost.Beast reads the grammar of a head; what a body's length is, and which heads are too ambiguous to
// pass on, is decided here from the fields. Beast alone takes obsolete line folding, repeated lengths and
// unknown transfer codings, and refuses a few harmless habits of old servers.
#include "mitm/http/http1_head.h"

#include <algorithm>
#include <charconv>

#include <boost/beast/http/basic_parser.hpp>

namespace mitm::http {
namespace {

namespace beast = boost::beast;

constexpr std::uint32_t kNoLimit = 1 << 20;  ///< the reader's own limit comes first

std::string_view view(beast::string_view text) {
  return {text.data(), text.size()};
}

/// Beast judges these fields more strictly than we do ("Connection: keep-alive; timeout=5"), or in another
/// way ("Transfer-Encoding: identity" beside Content-Length): in what is read once more it sees them under
/// another name.
constexpr char kHidden = '!';
constexpr std::string_view kOurs[] = {"connection", "proxy-connection", "transfer-encoding"};

bool is_ours(std::string_view name) {
  return std::ranges::any_of(kOurs, [&](auto one) { return iequals(name, one); });
}

/// The name as it was.
std::string_view revealed(std::string_view name) {
  return name.starts_with(kHidden) && is_ours(name.substr(1)) ? name.substr(1) : name;
}

/// Keeps what Beast reports. Beast's own idea of the body is switched off with skip().
template <bool IsRequest>
class Grammar final : public beast::http::basic_parser<IsRequest> {
 public:
  explicit Grammar(Head& head) : head_(head) {
    this->skip(true);
    this->header_limit(kNoLimit);
  }

 private:
  using Code = beast::error_code;
  void on_request_impl(beast::http::verb, beast::string_view method, beast::string_view target, int version,
                       Code& error) override {
    error = {};
    head_.method.assign(method.data(), method.size());
    head_.target.assign(target.data(), target.size());
    head_.version = version;
  }
  void on_response_impl(int status, beast::string_view, int version, Code& error) override {
    error = {};
    head_.status = status;
    head_.version = version;
  }
  void on_field_impl(beast::http::field, beast::string_view name, beast::string_view value,
                     Code& error) override {
    error = {};
    head_.fields.add(revealed(view(name)), view(value));
  }
  void on_header_impl(Code& error) override { error = {}; }
  void on_finish_impl(Code& error) override { error = {}; }
  void on_body_init_impl(const boost::optional<std::uint64_t>&, Code& error) override { error = {}; }
  std::size_t on_body_impl(beast::string_view body, Code& error) override {
    error = {};
    return body.size();
  }
  void on_chunk_header_impl(std::uint64_t, beast::string_view, Code& error) override { error = {}; }
  std::size_t on_chunk_body_impl(std::uint64_t, beast::string_view body, Code& error) override {
    error = {};
    return body.size();
  }

  Head& head_;
};

const char* reason(const boost::system::error_code& error) {
  switch (static_cast<beast::http::error>(error.value())) {
    case beast::http::error::bad_method:
      return "the request method is malformed";
    case beast::http::error::bad_target:
      return "the request target is malformed";
    case beast::http::error::bad_version:
      return "the HTTP version is malformed or unknown";
    case beast::http::error::bad_status:
      return "the status code is malformed";
    case beast::http::error::bad_reason:
      return "the reason phrase is malformed";
    case beast::http::error::bad_line_ending:
      return "a line does not end in CR LF";
    case beast::http::error::bad_field:
      return "a field name is malformed";
    case beast::http::error::bad_value:
      return "a field value is malformed";
    case beast::http::error::bad_content_length:
      return "Content-Length is malformed or contradicted";
    case beast::http::error::multiple_content_length:
      return "there are several Content-Length fields";
    case beast::http::error::bad_transfer_encoding:
      return "Transfer-Encoding is malformed, repeated or contradicts Content-Length";
    default:
      return "the head is malformed";
  }
}

template <bool IsRequest>
const char* read_grammar(std::string_view text, Head& head) {
  Grammar<IsRequest> grammar{head};
  boost::system::error_code error;
  const std::size_t used = grammar.put({text.data(), text.size()}, error);
  if (error) return reason(error);
  return grammar.is_done() && used == text.size() ? nullptr : "the head is malformed";
}

std::string_view without_blanks_behind(std::string_view text) {
  return text.substr(0, text.find_last_not_of(" \t") + 1);
}

/// CR LF behind every line; in responses a space after a status that has neither space nor reason, and none
/// before a colon (RFC 9112 section 5.1). With our fields hidden.
std::string repaired(Side side, std::string_view text) {
  constexpr std::size_t kStatusEnd = std::string_view("HTTP/1.1 200").size();
  std::string whole;
  whole.reserve(text.size() + 64);
  for (bool first = true; !text.empty(); first = false) {
    const auto end = std::min(text.find('\n'), text.size());
    auto line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (line.ends_with('\r')) line.remove_suffix(1);
    const auto colon = line.find(':');
    if (!first && colon != line.npos && line.front() != ' ' && line.front() != '\t') {
      auto name = line.substr(0, colon);
      if (side == Side::response) name = without_blanks_behind(name);
      if (is_ours(name)) whole += kHidden;
      whole.append(name).append(line.substr(colon));
    } else {
      whole += line;
      if (first && side == Side::response && line.size() == kStatusEnd) whole += ' ';
    }
    whole += "\r\n";
  }
  return whole;
}

/// What the fields say that matters to framing, gathered in one pass.
struct Facts {
  int lengths = 0;
  int hosts = 0;
  bool coded = false;        ///< there is a Transfer-Encoding
  bool only_chunked = true;  ///< and all of it is one "chunked"
  bool ends_chunked = false;
  bool identity = true;
  bool connection_upgrade = false;
  bool has_upgrade = false;
  bool length_is_list = false;
  std::string_view length;
};

std::string_view trimmed(std::string_view text) {
  const auto first = text.find_first_not_of(" \t");
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

template <class Use>
void each_token(std::string_view list, Use use) {
  while (!list.empty()) {
    const auto comma = std::min(list.find(','), list.size());
    if (const auto token = trimmed(list.substr(0, comma)); !token.empty()) use(token);
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
}

void note_coding(std::string_view value, Facts& facts) {
  if (facts.coded || !iequals(value, "chunked")) facts.only_chunked = false;
  facts.coded = true;
  each_token(value, [&](std::string_view token) {
    facts.ends_chunked = iequals(token, "chunked");
    if (!iequals(token, "identity")) facts.identity = false;
  });
}

void note(std::string_view name, std::string_view value, Facts& facts) {
  switch (name.size()) {
    case 4:
      facts.hosts += iequals(name, "host");
      break;
    case 7:
      facts.has_upgrade |= iequals(name, "upgrade");
      break;
    case 10:
      if (iequals(name, "connection")) {
        each_token(value, [&](auto token) { facts.connection_upgrade |= iequals(token, "upgrade"); });
      }
      break;
    case 14:
      if (iequals(name, "content-length")) {
        ++facts.lengths;
        facts.length_is_list |= value.find(',') != value.npos;
        facts.length = value.substr(0, value.find(','));
      }
      break;
    case 17:
      if (iequals(name, "transfer-encoding")) note_coding(value, facts);
      break;
    default:
      break;
  }
}

const char* set_length(const Facts& facts, Head& head) {
  const std::string_view digits = trimmed(facts.length);
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), head.length);
  if (error != std::errc{} || end != digits.data() + digits.size()) return "Content-Length is malformed";
  head.framing = head.length > 0 ? Framing::length : Framing::none;
  return nullptr;
}

const char* frame_request(const Facts& facts, Head& head) {
  if (facts.hosts > 1) return "there are several Host fields";
  if (facts.lengths > 1 || facts.length_is_list) return "there are several Content-Length fields";
  if (facts.coded && facts.lengths > 0) return "there are both Content-Length and Transfer-Encoding";
  if (facts.coded && head.version == 10) return "Transfer-Encoding is not part of HTTP/1.0";
  if (facts.coded && !facts.only_chunked) return "Transfer-Encoding is not just \"chunked\"";
  if (facts.lengths > 0) return set_length(facts, head);
  if (facts.coded) head.framing = Framing::chunked;
  return nullptr;
}

const char* frame_response(const Facts& facts, Answers answers, Head& head) {
  const bool bodiless = head.status < 200 || head.status == 204 || head.status == 304 ||
                        answers == Answers::head || (answers == Answers::connect && head.status / 100 == 2);
  if (bodiless) return nullptr;
  const bool coded = facts.coded && !facts.identity;
  if (coded && facts.lengths > 0) return "there are both Content-Length and Transfer-Encoding";
  if (coded && facts.ends_chunked) {
    head.framing = Framing::chunked;
  } else if (facts.lengths > 0) {
    return set_length(facts, head);
  } else {
    head.framing = Framing::until_close;
  }
  return nullptr;
}

}  // namespace

const char* parse_head(Side side, Answers answers, std::string_view text, Head& head) {
  head = {};
  head.fields.reserve(16, text.size());
  const bool is_request = side == Side::request;
  const char* refused = is_request ? read_grammar<true>(text, head) : read_grammar<false>(text, head);
  if (refused != nullptr) {
    head = {};
    const std::string again = repaired(side, text);
    refused = is_request ? read_grammar<true>(again, head) : read_grammar<false>(again, head);
  }
  if (refused != nullptr) return refused;
  Facts facts;
  for (std::size_t i = 0; i < head.fields.size(); ++i) {
    const auto [name, value] = head.fields[i];
    note(name, value, facts);
  }
  head.upgrade = facts.connection_upgrade && facts.has_upgrade;
  return is_request ? frame_request(facts, head) : frame_response(facts, answers, head);
}

void blank_out(std::span<char> head, std::string_view name) {
  const std::string_view text{head.data(), head.size()};
  // Where the text of the line that ends at `newline` ends.
  const auto end_of_text = [&](std::size_t newline) {
    return newline > 0 && text[newline - 1] == '\r' ? newline - 1 : newline;
  };
  // Lines that begin with a blank continue the field before them.
  const auto end_of_field = [&](std::size_t newline) {
    while (newline + 1 < text.size() && (text[newline + 1] == ' ' || text[newline + 1] == '\t')) {
      const std::size_t next = text.find('\n', newline + 1);
      if (next == text.npos) break;
      newline = next;
    }
    return newline;
  };
  std::size_t before = text.find('\n');
  while (before != text.npos) {
    std::size_t end = text.find('\n', before + 1);
    if (end == text.npos) return;
    end = end_of_field(end);
    const auto line = text.substr(before + 1, end - before - 1);
    const auto colon = line.find(':');
    if (colon != line.npos && iequals(line.substr(0, colon), name))
      std::fill(head.data() + end_of_text(before), head.data() + end_of_text(end), ' ');
    before = end;
  }
}

}  // namespace mitm::http
