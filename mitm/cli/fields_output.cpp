#include "mitm/cli/fields_output.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "base/text.h"
#include "mitm/cli/error_codes.h"
#include "mitm/cli/output_stream.h"
#include "mitm/query/column.h"

namespace mitm::cli {
namespace {

using base::Result;
using nlohmann::ordered_json;
using query::Column;
using query::ValueType;

/// Commas within [...] belong to a key.
std::vector<std::string> split(std::string_view names) {
  std::vector<std::string> all(1);
  bool in_key = false;
  for (const char c : names) {
    in_key = c == '[' || (in_key && c != ']');
    if (c == ',' && !in_key)
      all.emplace_back();
    else if (c != ' ' || in_key)
      all.back() += c;
  }
  return all;
}

std::string time_text(double microseconds) {
  return base::rfc3339(std::chrono::system_clock::time_point{
      std::chrono::microseconds{static_cast<std::int64_t>(microseconds)}});
}

std::string number_text(double number) {
  return std::floor(number) == number ? fmt::format("{:.0f}", number) : fmt::format("{}", number);
}

/// Durations in milliseconds, as everywhere in osproxy's JSON.
ordered_json to_json(const query::Value& value, ValueType type) {
  if (const auto* const text = std::get_if<std::string>(&value)) return base::valid_utf8(*text);
  if (const auto* const address = std::get_if<base::Address>(&value)) return address->to_string();
  if (const auto* const flag = std::get_if<bool>(&value)) return *flag;
  const double number = std::get<double>(value);
  if (type == ValueType::time) return time_text(number);
  if (type == ValueType::duration) return number / 1000;
  if (std::floor(number) == number && std::abs(number) < 1e15)
    return static_cast<std::int64_t>(number);
  return number;
}

std::string to_text(const query::Value& value, ValueType type) {
  if (const auto* const text = std::get_if<std::string>(&value)) return *text;
  if (const auto* const address = std::get_if<base::Address>(&value)) return address->to_string();
  if (std::holds_alternative<bool>(value)) return "true";
  const double number = std::get<double>(value);
  if (type == ValueType::time) return time_text(number);
  if (type == ValueType::duration) return fmt::format("{:.3f}ms", number / 1000);
  return number_text(number);
}

/// All values of one field, in one cell.
std::string cell_of(const Column& column, const flow::Flow& flow) {
  const auto values = column.values(flow);
  if (values.empty() && column.type() == ValueType::flag) return "false";
  std::string cell;
  for (const auto& value : values)
    cell.append(cell.empty() ? "" : ", ").append(to_text(value, column.type()));
  return cell;
}

class FieldLines final : public FlowOutput {
 public:
  FieldLines(std::vector<Column> columns, OutputStream out)
      : columns_(std::move(columns)), out_(out) {}
  Result<> write(const flow::Flow& flow) override {
    ordered_json line = ordered_json::object();
    for (const Column& column : columns_) line[column.name()] = of(column, flow);
    return out_.print(line.dump(-1, ' ', false, ordered_json::error_handler_t::replace) + "\n");
  }
  Result<> end() override { return {}; }

 private:
  static ordered_json of(const Column& column, const flow::Flow& flow) {
    const auto values = column.values(flow);
    if (column.type() == ValueType::flag) return !values.empty();
    if (values.empty()) return nullptr;
    if (values.size() == 1) return to_json(values.front(), column.type());
    ordered_json all = ordered_json::array();
    for (const auto& value : values) all.push_back(to_json(value, column.type()));
    return all;
  }

  std::vector<Column> columns_;
  OutputStream out_;
};

/// `encode` makes the text of a cell.
template <class Encode>
std::string joined(const std::vector<std::string>& cells, char separator, std::string_view end,
                   Encode encode) {
  std::string row;
  for (const auto& cell : cells) {
    if (&cell != &cells.front()) row += separator;
    row += encode(cell);
  }
  return row.append(end);
}

/// RFC 4180.
std::string quoted(const std::string& cell) {
  if (cell.find_first_of(",\"\r\n") == cell.npos) return cell;
  std::string text = "\"";
  for (const char c : cell) text.append(c == '"' ? "\"\"" : std::string(1, c));
  return text + "\"";
}

/// Rows of text, made of cells.
class Rows : public FlowOutput {
 public:
  Rows(std::vector<Column> columns, OutputStream out) : columns_(std::move(columns)), out_(out) {}
  Result<> write(const flow::Flow& flow) override {
    if (auto begun = begin(); !begun) return begun;
    std::vector<std::string> cells;
    for (const Column& column : columns_) cells.push_back(cell_of(column, flow));
    return out_.print(row_of(cells));
  }
  Result<> end() override { return begin(); }

 protected:
  [[nodiscard]] virtual std::string row_of(const std::vector<std::string>& cells) const = 0;
  [[nodiscard]] const std::vector<Column>& columns() const { return columns_; }

 private:
  Result<> begin() {
    if (begun_) return {};
    begun_ = true;
    std::vector<std::string> names;
    for (const Column& column : columns_) names.push_back(column.name());
    return out_.print(row_of(names));
  }

  std::vector<Column> columns_;
  OutputStream out_;
  bool begun_ = false;
};

class TabbedRows final : public Rows {
 public:
  using Rows::Rows;

 private:
  [[nodiscard]] std::string row_of(const std::vector<std::string>& cells) const override {
    return joined(cells, '\t', "\n", [](const auto& cell) { return base::printable(cell); });
  }
};

/// The width is what values of the type have, as rows are shown when they come.
class AlignedRows final : public Rows {
 public:
  using Rows::Rows;

 private:
  static std::size_t width_of(const Column& column) {
    switch (column.type()) {
      case ValueType::time:
        return 27;
      case ValueType::text:
      case ValueType::json:
        return column.name().ends_with("url") || column.name() == "path" ? 48 : 16;
      case ValueType::address:
        return 15;
      case ValueType::duration:
        return 12;
      default:
        return 6;
    }
  }
  [[nodiscard]] std::string row_of(const std::vector<std::string>& cells) const override {
    std::string row;
    for (std::size_t i = 0; i < cells.size(); ++i) {
      const std::size_t width = std::max(width_of(columns()[i]), columns()[i].name().size());
      row += i + 1 == cells.size() ? base::printable(cells[i])
                                   : fmt::format("{:<{}}  ", base::printable(cells[i]), width);
    }
    return row + "\n";
  }
};

class CsvRows final : public Rows {
 public:
  using Rows::Rows;

 private:
  [[nodiscard]] std::string row_of(const std::vector<std::string>& cells) const override {
    return joined(cells, ',', "\r\n", quoted);
  }
};

}  // namespace

Result<std::unique_ptr<FlowOutput>> make_fields_output(std::string_view names,
                                                       const Settings& settings, std::FILE* out,
                                                       Progress& progress) {
  std::vector<Column> columns;
  for (const std::string& name : split(names)) {
    auto column = Column::parse(name);
    if (!column)
      return base::Error{
          fmt::format("--fields: {}; osproxy query --list-fields lists all", column.error().text),
          kUsageError};
    columns.push_back(std::move(*column));
  }
  const OutputStream stream{out, progress};
  switch (settings.file_format) {
    case FileFormat::text:
      if (stream.is_terminal()) return std::make_unique<AlignedRows>(std::move(columns), stream);
      return std::make_unique<TabbedRows>(std::move(columns), stream);
    case FileFormat::jsonl:
      return std::make_unique<FieldLines>(std::move(columns), stream);
    case FileFormat::csv:
      return std::make_unique<CsvRows>(std::move(columns), stream);
    default:
      return base::Error{"--fields goes with --format text, jsonl or csv", kUsageError};
  }
}

}  // namespace mitm::cli
