#include "tests/pfctl/pf_printed.h"

#include <algorithm>
#include <array>
#include <sstream>

namespace test {
namespace {

struct Service {
  const char* name;
  const char* printed_for;  // a port
  const char* read_as;
};
constexpr std::array<Service, 3> kServices{
    {{"http-alt", "8080", "591"}, {"rap", "256", "38"}, {"https", "443", "443"}}};

std::vector<std::string> words_of(std::string_view line) {
  std::istringstream in{std::string(line)};
  std::vector<std::string> words;
  for (std::string word; in >> word;) words.push_back(word);
  return words;
}

std::string joined(const std::vector<std::string>& words) {
  std::string line;
  for (const auto& each : words) line += (line.empty() ? "" : " ") + each;
  return line;
}

int kind_of(std::string_view line) {
  if (line.starts_with("no ")) line.remove_prefix(3);
  return line.starts_with("nat") ? 0 : line.starts_with("rdr") ? 1 : 2;
}

}  // namespace

std::vector<std::string> rule_lines(std::string_view text) {
  std::istringstream in{std::string(text)};
  std::vector<std::string> lines;
  for (std::string line; std::getline(in, line);) {
    if (line.find_first_not_of(" \t") != std::string::npos && line[0] != '#') lines.push_back(line);
  }
  return lines;
}

bool is_translation(std::string_view line) {
  if (line.starts_with("no ")) line.remove_prefix(3);
  return line.starts_with("nat") || line.starts_with("rdr") || line.starts_with("binat");
}

bool is_table(std::string_view line) {
  return line.starts_with("table ");
}

std::string as_read(std::string line) {
  for (const auto& service : kServices) {
    const std::string name = std::string("= ") + service.name;
    const auto at = line.find(name);
    if (at != std::string::npos) line.replace(at + 2, name.size() - 2, service.read_as);
  }
  return line;
}

std::string as_printed(std::string line, pfctl::Dialect dialect, bool numeric) {
  std::vector<std::string> words;
  bool target = false;  // of a redirection: its port is no condition
  for (auto& word : words_of(line)) {
    const std::string before = words.empty() ? "" : words.back();
    const bool condition = before == "group" || before == "user" || (before == "port" && !target);
    if (condition && word.find_first_not_of("0123456789") == std::string::npos)
      words.emplace_back("=");
    target = target || word == "->";
    words.push_back(before == "os" ? "\"nomatch\"" : std::move(word));
  }
  if (dialect != pfctl::Dialect::freebsd || numeric) return joined(words);
  for (std::size_t i = 0; i + 2 < words.size(); ++i) {
    if (words[i] != "port" || words[i + 1] != "=") continue;
    const auto service = std::ranges::find(kServices, words[i + 2], &Service::printed_for);
    if (service != kServices.end()) words[i + 2] = service->name;
  }
  return joined(words);
}

std::vector<std::string> by_kind(std::vector<std::string> translations) {
  std::ranges::stable_sort(translations, {}, kind_of);
  return translations;
}

bool combineable(std::string_view left, std::string_view right) {
  const auto one = words_of(left);
  const auto other = words_of(right);
  if (one.size() != other.size() || one == other) return false;
  int differences = 0;
  for (std::size_t i = 0; i < one.size(); ++i) {
    if (one[i] == other[i]) continue;
    if (i == 0 || (one[i - 1] != "from" && one[i - 1] != "to")) return false;
    ++differences;
  }
  return differences == 1;
}

}  // namespace test
