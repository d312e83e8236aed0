#include "mitm/control/text.h"

#include <algorithm>
#include <cerrno>
#include <iterator>

#include <boost/beast/http/status.hpp>
#include <sys/stat.h>
#include <unistd.h>

#include "base/ascii.h"
#include "base/fd.h"

namespace mitm::control {
namespace {

struct Type {
  std::string_view ending;
  std::string_view type;
};
/// As IANA has them. Sorted.
constexpr Type kTypes[] = {
    {"aac", "audio/aac"},
    {"apng", "image/apng"},
    {"avif", "image/avif"},
    {"bin", "application/octet-stream"},
    {"bmp", "image/bmp"},
    {"css", "text/css"},
    {"csv", "text/csv"},
    {"eot", "application/vnd.ms-fontobject"},
    {"flac", "audio/flac"},
    {"gif", "image/gif"},
    {"gz", "application/gzip"},
    {"htm", "text/html"},
    {"html", "text/html"},
    {"ico", "image/vnd.microsoft.icon"},
    {"jpeg", "image/jpeg"},
    {"jpg", "image/jpeg"},
    {"js", "text/javascript"},
    {"json", "application/json"},
    {"jsonld", "application/ld+json"},
    {"map", "application/json"},
    {"md", "text/markdown"},
    {"mjs", "text/javascript"},
    {"mp3", "audio/mpeg"},
    {"mp4", "video/mp4"},
    {"mpeg", "video/mpeg"},
    {"oga", "audio/ogg"},
    {"ogg", "audio/ogg"},
    {"ogv", "video/ogg"},
    {"otf", "font/otf"},
    {"pdf", "application/pdf"},
    {"png", "image/png"},
    {"svg", "image/svg+xml"},
    {"tar", "application/x-tar"},
    {"tif", "image/tiff"},
    {"tiff", "image/tiff"},
    {"ttf", "font/ttf"},
    {"txt", "text/plain"},
    {"wasm", "application/wasm"},
    {"wav", "audio/wav"},
    {"weba", "audio/webm"},
    {"webm", "video/webm"},
    {"webmanifest", "application/manifest+json"},
    {"webp", "image/webp"},
    {"woff", "font/woff"},
    {"woff2", "font/woff2"},
    {"xhtml", "application/xhtml+xml"},
    {"xml", "text/xml"},
    {"yaml", "application/yaml"},
    {"yml", "application/yaml"},
    {"zip", "application/zip"},
};
static_assert(std::ranges::is_sorted(kTypes, {}, &Type::ending));

}  // namespace

bool is_regular_file(const std::string& path) {
  struct stat facts {};
  return ::stat(path.c_str(), &facts) == 0 && S_ISREG(facts.st_mode);
}

std::string Places::absolute(std::string_view path) const {
  if (path.starts_with("~/") && !home.empty()) return home + std::string(path.substr(1));
  if (path.starts_with('/') || directory.empty()) return std::string(path);
  return directory + "/" + std::string(path);
}

base::Result<> check_mapped(const std::string& path) {
  struct stat facts {};
  if (::stat(path.c_str(), &facts) != 0) return base::os_error(path, errno);
  if (!S_ISREG(facts.st_mode) && !S_ISDIR(facts.st_mode))
    return base::failure("{} is neither a file nor a directory", path);
  const int needed = S_ISDIR(facts.st_mode) ? R_OK | X_OK : R_OK;
  if (::access(path.c_str(), needed) != 0) return base::os_error(path, errno);
  return {};
}

base::Result<std::string> read_regular_file(const std::string& path) {
  struct stat facts {};
  if (::stat(path.c_str(), &facts) != 0) return base::os_error(path, errno);
  if (!S_ISREG(facts.st_mode)) return base::failure("{} is not a regular file", path);
  return base::read_file(path, kLargestBody);
}

base::Result<std::string> read(const Text& text) {
  if (text.file.empty()) return text.text;
  return read_regular_file(text.file);
}

std::string_view content_type_of(std::string_view path) {
  const auto name = path.substr(path.rfind('/') + 1);
  const auto dot = name.rfind('.');
  if (dot == name.npos) return {};
  const std::string ending = base::lowercase(name.substr(dot + 1));
  const auto found = std::ranges::lower_bound(kTypes, std::string_view(ending), {}, &Type::ending);
  return found != std::end(kTypes) && found->ending == ending ? found->type : std::string_view();
}

std::string reason_of(int status) {
  namespace beast_http = boost::beast::http;
  const auto known = beast_http::int_to_status(static_cast<unsigned>(status));
  return known == beast_http::status::unknown ? std::string()
                                              : std::string(beast_http::obsolete_reason(known));
}

}  // namespace mitm::control
