// A session to which events are told by hand.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include <fcntl.h>

#include "mitm/store/recorder.h"
#include "mitm/store/session_reader.h"
#include "tests/mitm/store_flows.h"
#include "tests/mitm/temporary_directory.h"
#include "tests/test.h"

namespace test {

namespace flow = mitm::flow;
namespace store = mitm::store;

/// A recorder that is given events by hand.
struct Recording {
  explicit Recording(store::Limits limits = {}, store::Recorder::Reserve reserve = {},
                     const std::string& file = {})
      : path(file.empty() ? directory.path() + "/s.osp" : file) {
    auto writer = store::SessionWriter::open(path);
    REQUIRE(writer);
    recorder = std::make_unique<store::Recorder>(
        std::move(*writer), "--save",
        base::UniqueFd{::open(directory.path().c_str(), O_RDONLY | O_DIRECTORY)}, limits, reserve,
        [this](const std::string& line) { said.push_back(line); });
  }

  void tell(const flow::Event& event) {
    REQUIRE(recorder->wants().has(event.index()));
    CHECK(recorder->write(event));
  }
  /// What was told so far.
  void commit() const {
    std::this_thread::sleep_for(store::Recorder::kCommitAfter);
    REQUIRE(recorder->flush());
  }
  /// As it is once all has been committed.
  [[nodiscard]] std::unique_ptr<store::SessionReader> ended() {
    recorder.reset();
    auto reader = store::SessionReader::open(path);
    REQUIRE(reader);
    return std::move(*reader);
  }
  [[nodiscard]] std::int64_t number(std::string_view sql) const {
    auto database = store::Database::open(path, store::Database::Access::read);
    REQUIRE(database);
    return database->number(sql)->value_or(-1);
  }

  const test::TemporaryDirectory directory;
  const std::string path;
  std::vector<std::string> said;
  std::unique_ptr<store::Recorder> recorder;
};

inline std::shared_ptr<flow::HttpFlow> http_flow(std::uint64_t id) {
  auto record = std::make_shared<flow::HttpFlow>(*full_http_flow().http());
  record->id = id;
  return record;
}

inline flow::BodyPart part(std::uint64_t id, flow::Direction direction, std::uint64_t offset,
                           std::string_view bytes) {
  return {id, direction, offset, flow::Body{bytes}};
}

}  // namespace test
