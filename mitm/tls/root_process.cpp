// A reply crosses a pipe: 'y' and the text, or 'n', the errno in decimal, a blank and the error's
// text.
#include "mitm/tls/root_process.h"

#include <array>
#include <cerrno>
#include <charconv>
#include <chrono>

#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fd.h"
#include "divert/process/privilege.h"
#include "mitm/tls/authority.h"

namespace mitm::tls {
namespace {

using base::Result;
using Clock = std::chrono::steady_clock;
using Task = Result<std::string> (*)(const std::string& directory);

/// Two programs that make the root at once wait for each other.
constexpr std::chrono::seconds kLimit{10};
constexpr std::size_t kReplyLimit = 64 << 10;

Result<std::string> create(const std::string& directory) {
  const auto root = create_root(directory);
  if (!root) return root.error();
  return to_pem(root->certificate.get());
}

Result<std::string> ensure(const std::string& directory) {
  const auto root = load_or_create_root(directory);
  if (!root) return root.error();
  return to_pem(root->certificate.get());
}

Result<std::string> issue(const std::string& directory) {
  const auto root = load_root(directory);
  if (!root) return root.error();
  const auto intermediate = issue_intermediate(*root);
  if (!intermediate) return intermediate.error();
  return to_pem(*intermediate);
}

/// No core has the key, and a child whose parent has died does not stay with it.
void protect_child() {
  const rlimit none{0, 0};
  ::setrlimit(RLIMIT_CORE, &none);
  (void)divert::seal();  // Linux: a program that takes cores (core_pattern) does not ask for that
                         // limit
  ::signal(SIGALRM, SIG_DFL);
  sigset_t alarm;
  sigemptyset(&alarm);  // macros on macOS
  sigaddset(&alarm, SIGALRM);
  ::sigprocmask(SIG_UNBLOCK, &alarm, nullptr);
  ::alarm(static_cast<unsigned>(kLimit.count()));
}

/// The pipe is the only descriptor that the child keeps: it must not hold the guard's pipe or a
/// listener open.
[[noreturn]] void run_child(int pipe, Task task, const std::string& directory) {
  protect_child();
  const int out = ::dup2(pipe, STDERR_FILENO + 1);
  base::close_from(STDERR_FILENO + 2);
  const auto done = task(directory);
  std::string reply{"y"};
  if (done) reply += *done;
  if (!done) reply = fmt::format("n{} {}", done.error().os_code, done.error().text);
  ::_exit(base::write_all(out, reply) ? 0 : 1);
}

/// Until the end of file; empty when that does not come in time.
std::string read_reply(int pipe) {
  const auto deadline = Clock::now() + kLimit;
  std::string reply;
  reply.reserve(kReplyLimit);  // no copies of the intermediate's key
  std::array<char, 4096> block;
  while (reply.size() < kReplyLimit) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
    pollfd readable{pipe, POLLIN, 0};
    const int ready = left > 0 ? ::poll(&readable, 1, static_cast<int>(left)) : 0;
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0) return {};
    const ssize_t n = ::read(pipe, block.data(), block.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    reply.append(block.data(), static_cast<std::size_t>(n));
  }
  OPENSSL_cleanse(block.data(), block.size());
  return reply;
}

Result<std::string> parse_reply(std::string_view reply) {
  const char kind = reply.empty() ? '\0' : reply.front();
  if (kind == 'y') return std::string{reply.substr(1)};
  int code = 0;
  const auto blank = reply.find(' ');
  if (kind != 'n' || blank == reply.npos)
    return base::failure("the process that uses the root's key ended without an answer");
  std::from_chars(reply.data() + 1, reply.data() + blank, code);
  return base::Error{std::string{reply.substr(blank + 1)}, code};
}

Result<std::string> in_child(Task task, const std::string& directory) {
  auto pipe = base::make_pipe(base::Blocking::yes);
  if (!pipe) return pipe.error();
  const pid_t child = ::fork();
  if (child < 0) return base::os_error("cannot start a process", errno);
  if (child == 0) run_child(pipe->in.get(), task, directory);
  pipe->in.reset();
  const std::string reply = read_reply(pipe->out.get());
  if (reply.empty()) ::kill(child, SIGKILL);
  while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
  return parse_reply(reply);
}

Result<X509Ptr> certificate_in_child(Task task, const std::string& directory) {
  const auto pem = in_child(task, directory);
  if (!pem) return pem.error();
  return certificate_from_pem(*pem);
}

}  // namespace

Result<X509Ptr> create_root_in_child(const std::string& directory) {
  return certificate_in_child(create, directory);
}

Result<X509Ptr> ensure_root_in_child(const std::string& directory) {
  return certificate_in_child(ensure, directory);
}

Result<std::string> issue_intermediate_in_child(const std::string& directory) {
  return in_child(issue, directory);
}

}  // namespace mitm::tls
