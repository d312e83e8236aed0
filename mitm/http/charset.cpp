// iconv(3) is part of the system everywhere, and knows more charsets than are safe to offer to
// strangers: the table is what it is asked for.
#include "mitm/http/charset.h"

#include <algorithm>
#include <cerrno>

#include <fmt/format.h>
#include <iconv.h>

#include "base/ascii.h"
#include "base/text.h"
#include "mitm/http/fields.h"

namespace mitm::http {
namespace {

struct Label {
  std::string_view label;
  const char* charset;  ///< as iconv_open(3) calls it on glibc, FreeBSD and macOS
};
// As in browsers, Latin 1 and ASCII are windows-1252, and the names of national standards are those
// of the larger sets that have followed them.
constexpr Label kLabels[] = {
    {"us-ascii", "CP1252"},
    {"ascii", "CP1252"},
    {"iso-8859-1", "CP1252"},
    {"iso8859-1", "CP1252"},
    {"iso_8859-1", "CP1252"},
    {"latin1", "CP1252"},
    {"windows-1252", "CP1252"},
    {"cp1252", "CP1252"},
    {"iso-8859-2", "ISO-8859-2"},
    {"latin2", "ISO-8859-2"},
    {"iso-8859-3", "ISO-8859-3"},
    {"iso-8859-4", "ISO-8859-4"},
    {"iso-8859-5", "ISO-8859-5"},
    {"iso-8859-6", "ISO-8859-6"},
    {"iso-8859-7", "ISO-8859-7"},
    {"iso-8859-8", "ISO-8859-8"},
    {"iso-8859-9", "CP1254"},
    {"latin5", "CP1254"},
    {"iso-8859-10", "ISO-8859-10"},
    {"iso-8859-13", "ISO-8859-13"},
    {"iso-8859-14", "ISO-8859-14"},
    {"iso-8859-15", "ISO-8859-15"},
    {"latin9", "ISO-8859-15"},
    {"iso-8859-16", "ISO-8859-16"},
    {"windows-874", "CP874"},
    {"tis-620", "CP874"},
    {"iso-8859-11", "CP874"},
    {"windows-1250", "CP1250"},
    {"cp1250", "CP1250"},
    {"windows-1251", "CP1251"},
    {"cp1251", "CP1251"},
    {"windows-1253", "CP1253"},
    {"windows-1254", "CP1254"},
    {"windows-1255", "CP1255"},
    {"windows-1256", "CP1256"},
    {"windows-1257", "CP1257"},
    {"windows-1258", "CP1258"},
    {"koi8-r", "KOI8-R"},
    {"koi8-u", "KOI8-U"},
    {"ibm866", "CP866"},
    {"cp866", "CP866"},
    {"shift_jis", "CP932"},
    {"shift-jis", "CP932"},
    {"sjis", "CP932"},
    {"x-sjis", "CP932"},
    {"windows-31j", "CP932"},
    {"euc-jp", "EUC-JP"},
    {"x-euc-jp", "EUC-JP"},
    {"gb2312", "GB18030"},
    {"gbk", "GB18030"},
    {"x-gbk", "GB18030"},
    {"gb18030", "GB18030"},
    {"big5", "BIG5"},
    {"big5-hkscs", "BIG5-HKSCS"},
    {"euc-kr", "CP949"},
    {"ks_c_5601-1987", "CP949"},
    {"windows-949", "CP949"},
    {"utf-16", "UTF-16LE"},
    {"utf-16le", "UTF-16LE"},
    {"utf-16be", "UTF-16BE"},
};

constexpr std::string_view kBlanks = " \t\"";

std::string_view charset_named_in(std::string_view content_type) {
  for (auto at = content_type.find(';'); at != content_type.npos; at = content_type.find(';')) {
    content_type.remove_prefix(at + 1);
    const auto parameter = content_type.substr(0, content_type.find(';'));
    const auto equals = parameter.find('=');
    if (equals != parameter.npos &&
        iequals(base::trimmed(parameter.substr(0, equals), kBlanks), "charset"))
      return base::trimmed(parameter.substr(equals + 1), kBlanks);
  }
  return {};
}

/// For iconv_open; null: none.
const char* find_charset(std::string_view label) {
  const auto* const found =
      std::ranges::find_if(kLabels, [&](const Label& one) { return iequals(one.label, label); });
  return found == std::end(kLabels) ? nullptr : found->charset;
}

const char* take_byte_order_mark(std::string_view& bytes) {
  const char* const charset = bytes.starts_with("\xff\xfe")   ? "UTF-16LE"
                              : bytes.starts_with("\xfe\xff") ? "UTF-16BE"
                                                              : nullptr;
  if (charset != nullptr) bytes.remove_prefix(2);
  return charset;
}

std::string escaped(char byte) {
  return fmt::format("\\x{:02x}", static_cast<unsigned char>(byte));
}

std::string convert(iconv_t converter, std::string_view bytes, CutOff last) {
  std::string out;
  auto* in = const_cast<char*>(bytes.data());
  std::size_t left = bytes.size();
  char buffer[4096];
  while (left > 0) {
    char* to = buffer;
    std::size_t room = sizeof buffer;
    const auto result = ::iconv(converter, &in, &left, &to, &room);
    const int code = result == static_cast<std::size_t>(-1) ? errno : 0;
    out.append(buffer, sizeof buffer - room);
    if (code == EINVAL && last == CutOff::left_out) break;
    if (code != EILSEQ && code != EINVAL) continue;
    out += escaped(*in);
    ++in;
    --left;
  }
  return out;
}

std::optional<std::string> converted_from(const char* charset, std::string_view bytes,
                                          CutOff last) {
  const iconv_t converter = ::iconv_open("UTF-8", charset);
  if (converter == reinterpret_cast<iconv_t>(-1)) return std::nullopt;
  std::string text = convert(converter, bytes, last);
  ::iconv_close(converter);
  return text;
}

std::string escaped_utf8(std::string_view bytes) {
  std::string out;
  while (!bytes.empty()) {
    const auto length = base::first_character(bytes).length;
    out += length == 0 ? escaped(bytes.front()) : std::string(bytes.substr(0, length));
    bytes.remove_prefix(std::max<std::size_t>(length, 1));
  }
  return out;
}

/// By the media type (RFC 9110 section 8.3.1), with the usual suffixes of RFC 6839.
bool is_type_of_text(std::string_view content_type) {
  const auto type = base::trimmed(content_type.substr(0, content_type.find(';')), kBlanks);
  constexpr std::string_view kTexts[] = {
      "application/json",         "application/xml",
      "application/javascript",   "application/ecmascript",
      "application/x-javascript", "application/x-ndjson",
      "application/yaml",         "application/x-www-form-urlencoded"};
  const auto ends_with = [&](std::string_view end) {
    return type.size() > end.size() && iequals(type.substr(type.size() - end.size()), end);
  };
  return iequals(type.substr(0, 5), "text/") || ends_with("+json") || ends_with("+xml") ||
         std::ranges::any_of(kTexts, [&](std::string_view one) { return iequals(one, type); });
}

}  // namespace

std::optional<std::string> to_utf8(std::string_view content_type, std::string_view bytes,
                                   CutOff last) {
  const char* charset = take_byte_order_mark(bytes);
  if (charset == nullptr) charset = find_charset(charset_named_in(content_type));
  if (charset == nullptr) return std::nullopt;
  return converted_from(charset, bytes, last);
}

std::optional<std::string> forced_to_utf8(std::string_view content_type, std::string_view bytes) {
  if (!is_type_of_text(content_type)) return std::nullopt;
  const auto named = charset_named_in(content_type);
  if (iequals(named, "utf-8") || iequals(named, "utf8")) return escaped_utf8(bytes);
  return converted_from("CP1252", bytes, CutOff::escaped);
}

}  // namespace mitm::http
