// Candidates for what is being typed. What stands before it need not be a whole filter.
#include <algorithm>
#include <array>

#include "base/ascii.h"
#include "mitm/query/filter.h"
#include "mitm/query/reader.h"

namespace mitm::query {
namespace {

constexpr std::string_view kJoints = "()!&|{},";
constexpr std::array<std::string_view, 12> kComparisons{
    "==", "!=", "<", "<=", ">", ">=", "contains", "startswith", "endswith", "matches", "~=", "in"};

/// The words up to the cursor; the last one is being typed, and may be empty.
struct Words {
  std::vector<std::string_view> all;
  std::size_t begin = 0;  ///< of the last one
  bool in_quotes = false;
};

Words words_before(std::string_view text) {
  Words words;
  std::size_t at = 0;
  while (true) {
    while (at < text.size() && (is_blank(text[at]) || kJoints.find(text[at]) != kJoints.npos) &&
           text.substr(at, 2) != "!=")
      ++at;
    words.begin = at;
    const char quote = at < text.size() && (text[at] == '"' || text[at] == '\'') ? text[at] : '\0';
    if (quote != '\0') {
      ++at;
      while (at < text.size() && text[at] != quote) at += text[at] == '\\' ? 2 : 1;
      words.in_quotes = at >= text.size();
      at = std::min(at + 1, text.size());
    }
    while (at < text.size() && !is_blank(text[at]) &&
           (kJoints.find(text[at]) == kJoints.npos || text.substr(at, 2) == "!="))
      ++at;
    words.all.push_back(text.substr(words.begin, at - words.begin));
    if (at == text.size()) return words;
  }
}

/// The field that `word` names, with or without key, or as an operator.
const Field* field_of(std::string_view word) {
  if (word.starts_with('~')) return find_operator(word.substr(1));
  return find_field(base::lowercase(word.substr(0, word.find('['))));
}

bool is_comparison(std::string_view word) {
  return std::ranges::find(kComparisons, base::lowercase(word)) != kComparisons.end();
}

class Candidates {
 public:
  Candidates(std::string_view typed, Completion& out) : typed_(base::lowercase(typed)), out_(out) {}

  void add(std::string text, std::string_view help) {
    if (base::lowercase(text).starts_with(typed_))
      out_.candidates.push_back({std::move(text), help});
  }
  void add_words(std::string_view words) {
    while (!words.empty()) {
      const auto length = std::min(words.find(' '), words.size());
      add(std::string(words.substr(0, length)), {});
      words.remove_prefix(std::min(length + 1, words.size()));
    }
  }

 private:
  std::string typed_;
  Completion& out_;
};

void add_comparisons(const Field& field, Candidates& candidates) {
  const bool text = field.type == ValueType::text, json = field.type == ValueType::json;
  candidates.add_words("== !=");
  if (!text && field.type != ValueType::address) candidates.add_words("< <= > >=");
  if (text || json) candidates.add_words("contains startswith endswith matches");
  candidates.add("in", "in {a, b}");
}

void add_filters(std::string_view typed, bool after_filter, Candidates& candidates) {
  if (after_filter) candidates.add_words("and or");
  for (const Field* const field : all_fields()) {
    if (!typed.starts_with('~') && field->never.empty()) {
      const std::string_view key = field->keyed == Keyed::required ? "[\"" : "";
      candidates.add(std::string(field->name).append(key), field->help);
    }
  }
  if (!typed.starts_with('~')) candidates.add("not", {});
  for (const Field* const field : all_fields())
    if (!field->letter.empty()) candidates.add("~" + std::string(field->letter), field->help);
}

/// The field whose values are being listed, between { and the cursor; null: none are.
const Field* field_of_set(std::string_view text, const std::vector<std::string_view>& words) {
  const auto open = text.rfind('{');
  if (open == text.npos || text.find('}', open) != text.npos) return nullptr;
  for (std::size_t i = words.size(); i-- > 1;)
    if (base::iequals(words[i], "in")) return field_of(words[i - 1]);
  return nullptr;
}

}  // namespace

Completion complete(std::string_view text, std::size_t cursor) {
  cursor = std::min(cursor, text.size());
  const auto before = text.substr(0, cursor);
  const Words words = words_before(before);
  Completion completion;
  completion.begin = words.begin;
  completion.end = cursor;
  while (completion.end < text.size() && !is_blank(text[completion.end]) &&
         kJoints.find(text[completion.end]) == kJoints.npos)
    ++completion.end;
  if (words.in_quotes) return completion;
  const auto typed = words.all.back();
  const std::size_t count = words.all.size();
  const auto previous = count > 1 ? words.all[count - 2] : std::string_view();
  Candidates candidates(typed, completion);
  const Field* const field = field_of(previous);
  if (const Field* const listed = field_of_set(before, words.all)) {
    candidates.add_words(listed->candidates);
  } else if (count > 2 && is_comparison(previous) && field_of(words.all[count - 3]) != nullptr) {
    candidates.add_words(field_of(words.all[count - 3])->candidates);
  } else if (field != nullptr && previous.starts_with('~') && field->type != ValueType::flag) {
    candidates.add_words(field->candidates);
  } else if (field != nullptr && !previous.starts_with('~') && field->type != ValueType::flag &&
             is_blank(before[words.begin - 1])) {
    add_comparisons(*field, candidates);
  } else {
    const bool joined = words.begin > 0 && is_blank(before[words.begin - 1]);
    const bool word = base::iequals(previous, "and") || base::iequals(previous, "or") ||
                      base::iequals(previous, "not");
    const auto last = before.substr(0, words.begin).find_last_not_of(" \t\r\n\f\v");
    const bool open = last == before.npos ||
                      std::string_view("(!&|").find(before[last]) != std::string_view::npos;
    add_filters(typed, joined && !word && !open, candidates);
  }
  return completion;
}

}  // namespace mitm::query
