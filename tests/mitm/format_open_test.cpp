#include <zlib.h>
#include <zstd.h>

#include "mitm/format/content_coder.h"
#include "mitm/format/har.h"
#include "mitm/format/mitm_file.h"
#include "mitm/format/sinks.h"
#include "tests/mitm/sample_flow_files.h"
#include "tests/test.h"

namespace mitm::format {
namespace {

struct File {
  FileFormat format;
  std::string bytes;
};

std::vector<File> files() {
  const flow::Flow flow = sample_flow("full");
  std::string line;
  render_json(flow::HttpEnd{std::make_shared<flow::HttpFlow>(*flow.http())}, true, line);
  return {{FileFormat::mitm, write_all(*make_mitm_writer(MitmVersion::v21), {flow, flow})},
          {FileFormat::har, write_all(*make_har_writer({}), {flow, flow})},
          {FileFormat::jsonl, line + "\n" + line + "\n"}};
}

}  // namespace

TEST_CASE("open_flow_file: each format is known by its beginning, compressed or not") {
  for (const File& file : files()) {
    const std::string gzip = *encode_content("gzip", file.bytes);
    const std::string two_members = *encode_content("gzip", file.bytes.substr(0, 700)) +
                                    *encode_content("gzip", file.bytes.substr(700));
    for (const std::string& bytes :
         {file.bytes, gzip, two_members, *encode_content("zstd", file.bytes)}) {
      for (const bool slow : {false, true}) {
        auto opened = open_flow_file(slow ? slow_source(bytes) : source_of(bytes));
        REQUIRE(opened);
        CHECK(opened->format == file.format);
        const ReadFlows read = read_all(*opened->reader);
        CHECK(read.errors.empty());
        REQUIRE(read.flows.size() == 2);
        CHECK(read.flows[1].http()->url == "https://example.org/path?q=1");
      }
    }
  }
}

TEST_CASE("open_flow_file: a compressed file that is cut off or damaged is an error") {
  std::string text;
  for (int i = 0; i < 20; ++i)
    text += write_all(*make_mitm_writer(MitmVersion::v21), {sample_flow("full")});
  for (const char* coding : {"gzip", "zstd"}) {
    const std::string bytes = *encode_content(coding, text);
    auto opened = open_flow_file(source_of(std::string_view(bytes).substr(0, bytes.size() - 9)));
    if (!opened) continue;  // zstd gives whole blocks only
    const ReadFlows read = read_all(*opened->reader);
    REQUIRE(read.errors.size() == 1);
    CHECK(read.errors[0].find("the compressed file ends too early") != std::string::npos);
  }
  CHECK_FALSE(open_flow_file(source_of("\x1f\x8b nonsense")));
  CHECK_FALSE(open_flow_file(source_of("\x28\xb5\x2f\xfd nonsense")));
  CHECK_FALSE(open_flow_file(source_of("")));
}

TEST_CASE("open_flow_file: an error of the source is told") {
  auto opened = open_flow_file(
      [](std::span<char>) -> base::Result<std::size_t> { return base::failure("disk on fire"); });
  REQUIRE_FALSE(opened);
  CHECK(opened.error().text == "disk on fire");
}

}  // namespace mitm::format
