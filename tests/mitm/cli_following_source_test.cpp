// `query --follow`: another process reads what this one writes.
#include <cstdio>

#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "mitm/cli/following_source.h"
#include "tests/mitm/store_recording.h"
#include "tests/test.h"

namespace mitm::cli {
namespace {

/// A process that follows a session. Forked before this one opens it: SQLite's state must not cross
/// a fork.
class Follower {
 public:
  explicit Follower(const std::string& path) {
    int go[2], told[2];
    REQUIRE(::pipe(go) == 0);
    REQUIRE(::pipe(told) == 0);
    child_ = ::fork();
    if (child_ == 0) {
      ::close(go[1]);
      static_cast<void>(std::freopen("/dev/null", "w", stderr));
      char byte = 0;
      if (::read(go[0], &byte, 1) == 1) follow(path, told[1]);
      ::_exit(0);
    }
    ::close(go[0]);
    ::close(told[1]);
    go_.reset(go[1]);
    told_.reset(told[0]);
  }
  Follower(const Follower&) = delete;
  Follower& operator=(const Follower&) = delete;
  ~Follower() {
    go_.reset();
    told_.reset();
    ::waitpid(child_, nullptr, 0);
  }

  void begin() { REQUIRE(::write(go_.get(), "x", 1) == 1); }
  /// What it says until it waits again.
  std::string heard() {
    std::string text;
    for (char byte = 0; text.empty() || byte != '.';) {
      if (::read(told_.get(), &byte, 1) != 1) break;
      if (byte != '.') text += byte;
    }
    return text;
  }
  std::string heard_to_end() {
    std::string text;
    for (std::string more = heard(); !more.empty(); more = heard()) text += more;
    return text;
  }

 private:
  /// The ids of its flows; a point when it waits for more.
  static void follow(const std::string& path, int out) {
    const auto tell = [&](const std::string& text) {
      return ::write(out, text.data(), text.size()) == static_cast<ssize_t>(text.size());
    };
    const auto filter = query::Filter::parse("~b end | ~m POST");
    const auto source = open_following_source(path, *filter, [&] { tell("."); });
    if (!source) {
      tell(source.error().text);
      return;
    }
    for (;;) {
      const auto flow = (*source)->next();
      if (!flow || !*flow) {
        tell(flow ? "end" : flow.error().text);
        return;
      }
      if (!tell(fmt::format("{} ", (*flow)->facts().id))) return;
    }
  }

  pid_t child_ = 0;
  base::UniqueFd go_, told_;
};

}  // namespace

TEST_CASE("follow: what has ended comes at once, then each flow when it ends") {
  const test::TemporaryDirectory directory;
  const std::string path = directory.path() + "/s.osp";
  Follower follower{path};
  test::Recording session{{}, {}, path};
  session.tell(test::part(7, flow::Direction::response, 0, "a long body"));
  session.tell(flow::HttpEnd{test::http_flow(8)});
  session.tell(flow::HttpUnderWay{test::http_flow(9)});
  session.tell(flow::HttpEnd{test::http_flow(10)});
  session.commit();
  follower.begin();
  CHECK(follower.heard() == "1 3 ");
  session.tell(flow::HttpEnd{test::http_flow(7)});
  session.commit();
  CHECK(follower.heard() == "4 ");
  session.tell(flow::HttpEnd{test::http_flow(9)});
  session.tell(flow::HttpEnd{test::http_flow(11)});
  session.tell(flow::HttpUnderWay{test::http_flow(12)});
  session.recorder.reset();
  // What had not ended was interrupted.
  CHECK(follower.heard_to_end() == "2 5 6 end");
}

}  // namespace mitm::cli
