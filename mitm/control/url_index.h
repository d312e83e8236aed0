// Many regular expressions, and one text: which of them may match. The texts that each expression
// must contain (RE2's prefilter) are looked for together, so that the time hardly depends on how
// many expressions there are.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace re2 {
class FilteredRE2;
}

namespace mitm::control {

/// Looks for many texts at once (Aho and Corasick, 1975). Immutable once it is built.
class TextFinder {
 public:
  explicit TextFinder(const std::vector<std::string>& texts);
  /// Positions of those that are in `text`, each once.
  [[nodiscard]] std::vector<int> find(std::string_view text) const;

 private:
  using Node = std::uint32_t;
  static constexpr Node kRoot = 0;
  struct Edge {
    unsigned char byte;
    Node to;
  };
  [[nodiscard]] Node child(Node node, unsigned char byte) const;
  [[nodiscard]] Node next(Node node, unsigned char byte) const;
  void add(std::string_view text, int place);
  void link();

  std::vector<std::vector<Edge>> edges_;
  std::vector<Node> fallback_;  ///< the longest proper suffix that is a node
  std::vector<Node> found_;     ///< likewise, at which a text ends; kRoot: none
  std::vector<int> ends_;       ///< the text that ends here; -1: none
  std::size_t count_;
};

class UrlIndex {
 public:
  /// A list of RE2's expressions for each item, one of which is in its texts, if case does not
  /// count; empty: it may match any.
  explicit UrlIndex(const std::vector<std::vector<std::string>>& items);
  ~UrlIndex();

  /// Positions of items that may match, in their order.
  [[nodiscard]] std::vector<std::uint32_t> candidates(std::string_view url,
                                                      std::string_view host) const;

 private:
  std::vector<std::uint32_t> all_;
  std::vector<std::uint32_t> always_;  ///< items of which nothing is required
  std::vector<std::uint32_t> owners_;  ///< the item of each expression
  std::unique_ptr<re2::FilteredRE2> expressions_;
  std::unique_ptr<TextFinder> finder_;
};

}  // namespace mitm::control
