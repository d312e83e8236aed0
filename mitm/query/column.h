// What flows have in a field, to be shown.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "mitm/flow/flow.h"
#include "mitm/query/field.h"

namespace mitm::query {

/// A field by its name in the filter language: "process.name", "req.header[\"accept\"]".
class Column {
 public:
  /// The error says what is wrong with `name`, and what was probably meant.
  [[nodiscard]] static base::Result<Column> parse(std::string_view name);

  [[nodiscard]] const std::string& name() const { return name_; }
  [[nodiscard]] ValueType type() const;
  /// All values, in no form of their own: sizes in bytes, durations and times in microseconds.
  /// Empty: it is absent; of a flag: false.
  [[nodiscard]] std::vector<Value> values(const flow::Flow& flow) const;

 private:
  Column(std::string name, std::shared_ptr<const Test> test)
      : name_(std::move(name)), test_(std::move(test)) {}

  std::string name_;
  std::shared_ptr<const Test> test_;
};

}  // namespace mitm::query
