// What a GraphQL request asks for, by the text of its document.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace mitm::query {

struct GraphqlOperation {
  std::string_view kind;  ///< "query", "mutation", "subscription"
  std::string_view name;  ///< empty: it has none
};

/// The operations of a document, which is empty if it is not GraphQL's. Views of `document`.
[[nodiscard]] std::vector<GraphqlOperation> graphql_operations(std::string_view document);

}  // namespace mitm::query
