#include "mitm/control/text.h"

#include <algorithm>
#include <cerrno>
#include <iterator>

#include <boost/beast/http/status.hpp>
#include <fcntl.h>
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

/// Waits for nothing: a FIFO may take the place of a file at any time.
base::Result<base::UniqueFd> open_regular_file(const std::string& path) {
  base::UniqueFd fd{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)};
  struct stat facts {};
  if (!fd || ::fstat(fd.get(), &facts) != 0) return base::os_error(path, errno);
  if (!S_ISREG(facts.st_mode)) return base::failure("{} is not a regular file", path);
  return fd;
}

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

base::Result<> check_file(const std::string& path) {
  const auto fd = open_regular_file(path);
  return fd ? base::Result<>{} : base::Result<>{fd.error()};
}

base::Result<std::string> read_regular_file(const std::string& path, std::size_t limit) {
  const auto fd = open_regular_file(path);
  if (!fd) return fd.error();
  std::string bytes;
  char block[16384];
  for (;;) {
    const ssize_t n = ::read(fd->get(), block, sizeof block);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return base::os_error(path, errno);
    if (n == 0) return bytes;
    if (bytes.size() + static_cast<std::size_t>(n) > limit)
      return base::failure("{} is longer than {} KiB", path, limit >> 10);
    bytes.append(block, static_cast<std::size_t>(n));
  }
}

base::Result<std::string> read(const Text& text, std::size_t limit) {
  if (text.file.empty()) return text.text;
  return read_regular_file(text.file, limit);
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
