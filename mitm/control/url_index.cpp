#include "mitm/control/url_index.h"

#include <algorithm>
#include <deque>
#include <numeric>

#include <re2/filtered_re2.h>
#include <re2/re2.h>

#include "base/ascii.h"

namespace mitm::control {
namespace {

/// Shorter texts are in most URLs.
constexpr int kShortest = 3;

/// RE2's texts are lower case by Unicode's rules, ours by ASCII's.
bool is_ascii(std::string_view text) {
  return std::ranges::all_of(text,
                             [](char c) { return (static_cast<unsigned char>(c) & 0x80U) == 0; });
}

}  // namespace

TextFinder::TextFinder(const std::vector<std::string>& texts)
    : edges_(1), ends_(1, -1), count_(texts.size()) {
  for (std::size_t i = 0; i < texts.size(); ++i) add(texts[i], static_cast<int>(i));
  link();
}

TextFinder::Node TextFinder::child(Node node, unsigned char byte) const {
  for (const Edge& edge : edges_[node])
    if (edge.byte == byte) return edge.to;
  return kRoot;
}

void TextFinder::add(std::string_view text, int place) {
  Node at = kRoot;
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    Node to = child(at, byte);
    if (to == kRoot) {
      to = static_cast<Node>(edges_.size());
      edges_[at].push_back({byte, to});
      edges_.emplace_back();
      ends_.push_back(-1);
    }
    at = to;
  }
  ends_[at] = place;
}

void TextFinder::link() {
  fallback_.assign(edges_.size(), kRoot);
  found_.assign(edges_.size(), kRoot);
  std::deque<Node> open{kRoot};
  while (!open.empty()) {
    const Node node = open.front();
    open.pop_front();
    for (const auto& [byte, to] : edges_[node]) {
      fallback_[to] = node == kRoot ? kRoot : next(fallback_[node], byte);
      found_[to] = ends_[fallback_[to]] >= 0 ? fallback_[to] : found_[fallback_[to]];
      open.push_back(to);
    }
  }
}

TextFinder::Node TextFinder::next(Node node, unsigned char byte) const {
  for (;;) {
    if (const Node to = child(node, byte); to != kRoot) return to;
    if (node == kRoot) return kRoot;
    node = fallback_[node];
  }
}

std::vector<int> TextFinder::find(std::string_view text) const {
  std::vector<int> found;
  Node at = kRoot;
  for (const char c : text) {
    at = next(at, static_cast<unsigned char>(c));
    for (Node end = ends_[at] >= 0 ? at : found_[at]; end != kRoot; end = found_[end])
      found.push_back(ends_[end]);
  }
  std::ranges::sort(found);
  const auto rest = std::ranges::unique(found);
  found.erase(rest.begin(), rest.end());
  return found;
}

UrlIndex::UrlIndex(const std::vector<std::vector<std::string>>& items)
    : all_(items.size()), expressions_(std::make_unique<re2::FilteredRE2>(kShortest)) {
  std::iota(all_.begin(), all_.end(), 0U);
  RE2::Options options;
  options.set_log_errors(false);
  options.set_never_capture(true);
  for (const std::uint32_t item : all_) {
    bool added = !items[item].empty() && std::ranges::all_of(items[item], is_ascii);
    for (std::size_t i = 0; added && i < items[item].size(); ++i) {
      const std::string& pattern = items[item][i];
      int id = 0;
      added = expressions_->Add(re2::StringPiece(pattern.data(), pattern.size()), options, &id) ==
              RE2::NoError;
      if (added) owners_.push_back(item);
    }
    if (!added) always_.push_back(item);
  }
  std::vector<std::string> texts;
  if (!owners_.empty()) expressions_->Compile(&texts);
  finder_ = std::make_unique<TextFinder>(texts);
}

UrlIndex::~UrlIndex() = default;

std::vector<std::uint32_t> UrlIndex::candidates(std::string_view url, std::string_view host) const {
  if (owners_.empty()) return all_;
  if (!is_ascii(url) || !is_ascii(host)) return all_;
  std::string text = base::lowercase(url);
  // A name that is part of the URL need not be looked at twice.
  if (const std::string name = base::lowercase(host); text.find(name) == text.npos)
    text.append("\n").append(name);
  std::vector<int> potential;
  expressions_->AllPotentials(finder_->find(text), &potential);
  std::vector<std::uint32_t> items = always_;
  for (const int expression : potential)
    items.push_back(owners_[static_cast<std::size_t>(expression)]);
  std::ranges::sort(items);
  const auto rest = std::ranges::unique(items);
  items.erase(rest.begin(), rest.end());
  return items;
}

}  // namespace mitm::control
