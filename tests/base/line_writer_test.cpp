// Lines into pipes that the test reads when it wants to.
#include "base/line_writer.h"

#include <algorithm>
#include <array>

#include <fcntl.h>
#include <unistd.h>

#include "base/fd.h"
#include "tests/test.h"

using namespace std::chrono_literals;

namespace {

std::string dropped(std::size_t count) {
  return "dropped " + std::to_string(count) + "\n";
}

std::string read_all(base::UniqueFd& fd) {
  std::string text;
  std::array<char, 4096> buffer{};
  for (ssize_t n = 0; (n = ::read(fd.get(), buffer.data(), buffer.size())) > 0;)
    text.append(buffer.data(), static_cast<std::size_t>(n));
  return text;
}

}  // namespace

TEST_CASE("line_writer: writes lines in order") {
  auto pipe = base::make_pipe(base::Blocking::yes);
  REQUIRE(pipe);
  base::LineWriter writer{pipe->in.get(), dropped};
  std::string wanted;
  for (int i = 0; i < 100; ++i) {
    writer.put(std::to_string(i) + "\n");
    wanted += std::to_string(i) + "\n";
  }
  REQUIRE(writer.wait(10s));
  pipe->in.reset();
  CHECK(read_all(pipe->out) == wanted);
}

TEST_CASE("line_writer: a reader that takes nothing holds nobody up; what has no room is counted") {
  auto pipe = base::make_pipe(base::Blocking::yes);
  REQUIRE(pipe);
  // Never closed here: a thread may still hang in write(2) when a test has failed.
  const int in = pipe->in.release();
  REQUIRE(base::set_non_blocking(in));
  const std::string page(4096, 'x');
  while (::write(in, page.data(), page.size()) > 0) {
  }
  REQUIRE(::fcntl(in, F_SETFL, O_WRONLY) == 0);
  base::LineWriter writer{in, dropped, {.lines = 10, .bytes = 1000}};
  for (int i = 0; i < 50; ++i) writer.put("a line\n");
  writer.put(std::string(2000, 'y') + "\n");
  CHECK_FALSE(writer.wait(50ms));
  std::string text;
  std::array<char, 4096> buffer{};
  while (text.find("dropped ") == std::string::npos || text.back() != '\n') {
    const ssize_t n = ::read(pipe->out.get(), buffer.data(), buffer.size());
    REQUIRE(n > 0);
    text.append(buffer.data(), static_cast<std::size_t>(n));
  }
  text.erase(0, text.find_first_not_of('x'));
  CHECK(writer.wait(10s));
  // The thread may have taken one line before it met the full pipe.
  const auto written = static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n')) - 1;
  CHECK((written == 10 || written == 11));
  CHECK(text.ends_with(dropped(51 - written)));
}

TEST_CASE("line_writer: what is missing is said in its place") {
  auto pipe = base::make_pipe(base::Blocking::yes);
  REQUIRE(pipe);
  base::LineWriter writer{pipe->in.get(), dropped, {.lines = 10, .bytes = 1000}};
  const std::string too_long = std::string(2000, 'y') + "\n";
  writer.put("first\n");
  writer.put(too_long);
  writer.put(too_long);
  writer.put("second\n");
  writer.put(too_long);
  REQUIRE(writer.wait(10s));
  pipe->in.reset();
  CHECK(read_all(pipe->out) == "first\n" + dropped(2) + "second\n" + dropped(1));
}
