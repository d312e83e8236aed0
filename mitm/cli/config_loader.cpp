// The answer crosses a socketpair as CBOR of limited size, descriptors beside it (SCM_RIGHTS).
#include "mitm/cli/config_loader.h"

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "mitm/cli/config.h"
#include "mitm/cli/filter_text.h"
#include "mitm/cli/log_line.h"
#include "mitm/cli/message_rules.h"
#include "mitm/cli/output_file.h"
#include "mitm/cli/pinning_file.h"
#include "mitm/cli/policy_options.h"
#include "mitm/cli/session_output.h"
#include "mitm/trust/trust.h"

namespace mitm::cli {
namespace {

constexpr std::size_t kMaxAnswer = 8 << 20;
constexpr std::size_t kMaxFiles = 4;
constexpr std::size_t kMaxPem = 64 << 10;  ///< of a client certificate or its key

/// The files of Prepared in the order in which their descriptors are sent.
using Files = std::array<base::UniqueFd, kMaxFiles>;

/// Of no path: none.
base::Result<base::UniqueFd> open_recording(const std::string& path, std::string_view option) {
  if (path.empty()) return base::UniqueFd{};
  if (path == "-") return base::UniqueFd{::fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3)};
  return open_output_file(path, option, OutputMode::replace);
}

/// Where the secrets go, and what said so: browsers and curl know the variable, too.
struct KeylogName {
  std::string path, said_by;
};
KeylogName keylog_name(const Settings& settings) {
  const char* const variable = std::getenv("SSLKEYLOGFILE");
  if (!settings.keylog.empty() || variable == nullptr) return {settings.keylog, "--keylog"};
  return {variable, "SSLKEYLOGFILE"};
}

/// Of no path: none.
base::Result<std::string> read_cas(const std::string& path, std::string_view option) {
  if (path.empty()) return std::string();
  auto text = base::read_file(path, 2 << 20);
  if (!text)
    return base::Error{fmt::format("{}: {}", option, text.error().text), text.error().os_code};
  if (text->find("CERTIFICATE-----") == text->npos)
    return base::failure("{}: there is no certificate in PEM form in {}", option, path);
  return *text + "\n";
}

base::Result<std::string> read_upstream_ca(const Settings& settings) {
  auto beside = read_cas(settings.upstream_ca, "--upstream-ca");
  if (!beside) return beside;
  auto only = read_cas(settings.upstream_ca_only, "--upstream-ca-only");
  if (!only) return only;
  return *beside + *only;
}

/// What the command of exec would have trusted by itself: exec overwrites those variables.
std::string roots_of_command(const Settings& settings, const Invocation& invocation) {
  if (invocation.command != "exec" || !settings.upstream_ca_only.empty()) return {};
  return trust::roots_of_variables(settings.ca_dir);
}

/// `why`: ".cert: ..." or ".key: ...", keys of the configuration.
base::Error misfit(const ClientCertPaths& paths, std::string_view why) {
  const bool typed = paths.place.starts_with("--");
  const bool is_left_out = why.starts_with(".key: ") && paths.key == paths.cert;
  const std::string_view remedy = !is_left_out ? ""
                                  : typed      ? "; name the file with the key: CERT:KEY"
                                               : "; name the file with the key as \"key\"";
  return base::failure("{}{}{}", paths.place, typed ? why.substr(why.find(": ")) : why, remedy);
}

/// Text for the worker, which is tried out here, so that what is wrong is said at the start.
base::Result<nlohmann::json> read_client_certs(const std::vector<ClientCertPaths>& certs) {
  nlohmann::json list = nlohmann::json::array();
  for (const auto& paths : certs) {
    auto cert = base::read_file(paths.cert, kMaxPem);
    if (!cert) return misfit(paths, ".cert: " + cert.error().text);
    auto key = base::read_file(paths.key, kMaxPem);
    if (!key) return misfit(paths, ".key: " + key.error().text);
    list.push_back({paths.host, paths.cert, *cert, paths.key, *key});
    const auto tried = tls::ClientCertificates::make(
        {{paths.host, paths.cert, std::move(*cert), paths.key, std::move(*key)}});
    if (!tried)
      return misfit(paths,
                    std::string_view(tried.error().text).substr(std::string_view("[0]").size()));
  }
  return list;
}

/// What was typed goes first: the first whose host fits is shown.
std::vector<ClientCertPaths> all_client_certs(const Settings& settings) {
  std::vector<ClientCertPaths> all = settings.client_cert;
  all.insert(all.end(), settings.client_certs.begin(), settings.client_certs.end());
  return all;
}

bool same_file(const base::UniqueFd& a, const base::UniqueFd& b) {
  struct stat first {
  }, second{};
  return a && b && ::fstat(a.get(), &first) == 0 && ::fstat(b.get(), &second) == 0 &&
         S_ISREG(first.st_mode) && first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

bool is_file(const base::UniqueFd& fd, const std::string& path) {
  return fd && !path.empty() &&
         same_file(fd, base::UniqueFd{::open(path.c_str(), O_RDONLY | O_CLOEXEC)});
}

/// A user without a home that can be written (a service) has no list; learning goes on without it.
base::UniqueFd pinning_file(const Settings& settings, const base::User& user) {
  if (settings.passthrough_ttl == std::chrono::seconds{0}) return {};
  auto file = create_pinning_file(pinning_directory(user.home), ::getppid());
  return file ? std::move(*file) : base::UniqueFd{};
}

/// What is done as the user: the whole answer, or what is wrong.
using Task = base::Result<nlohmann::json> (*)(const Invocation& invocation, const base::User& user,
                                              Files& files);

base::Result<nlohmann::json> settings_only(const Invocation& invocation, const base::User& user,
                                           Files& /*files*/) {
  const auto settings = load_settings(invocation, user.home);
  if (!settings) return settings.error();
  return to_wire(*settings);
}

/// The path of the program search as the user typed it; sudo has its own.
std::string search_path() {
  const char* const path = std::getenv("PATH");
  return path ? path : "";
}

base::Result<nlohmann::json> filter_only(const Invocation& invocation, const base::User& user,
                                         Files& /*files*/) {
  const auto settings = load_settings(invocation, user.home);
  if (!settings) return settings.error();
  auto unfound = nlohmann::json::array();
  if (!settings->wait_for) {
    for (const auto& one : not_installed(settings->filter, search_path(), user.home))
      unfound.push_back({one.item, one.near});
  }
  return nlohmann::json{{"filter", settings->filter.to_json()},
                        {"unfound", std::move(unfound)},
                        {"allow_untrusted", settings->allow_untrusted}};
}

/// What the file says and this command does not do.
std::string note_on(const Settings& settings, const Invocation& invocation) {
  const std::string& filter = settings.filter.text();
  if (invocation.command != "exec" || filter.empty()) return {};
  return fmt::format(
      "the config file's filter ('{}') is not used: exec intercepts the command and what it starts",
      filter.substr(0, 80));
}

/// Says what may surprise. Error: what is wrong with rules for messages, or with their files.
base::Result<> check_rules(const control::RuleTexts& texts) {
  const auto rules = control::compile(texts);
  if (!rules) return rules.error();
  if (const auto files = control::check_files(*rules); !files) return files.error();
  for (const std::string& line : control::warnings_of(*rules))
    log_line(line, base::LogLevel::warning);
  return {};
}

/// What a session is named after that has no name.
std::string session_program(const Settings& settings, const Invocation& invocation) {
  return invocation.command == "exec" ? invocation.positional.front() : settings.filter.text();
}

base::Result<nlohmann::json> everything(const Invocation& invocation, const base::User& user,
                                        Files& files) {
  auto settings = load_settings(invocation, user.home);
  if (!settings) return settings.error();
  const auto upstream_ca = read_upstream_ca(*settings);
  if (!upstream_ca) return upstream_ca.error();
  auto output = open_recording(settings->output, "--output");
  if (!output) return output.error();
  auto pcap = open_recording(settings->pcap, "--pcap");
  if (!pcap) return pcap.error();
  const KeylogName secrets = keylog_name(*settings);
  base::Result<base::UniqueFd> keylog = base::UniqueFd{};
  if (!secrets.path.empty())
    keylog = open_output_file(secrets.path, secrets.said_by, OutputMode::append);
  if (!keylog) return keylog.error();
  if (same_file(*output, *pcap))
    return base::failure("--pcap and --output are one file: {}; name two", settings->pcap);
  if (same_file(*output, *keylog) || same_file(*pcap, *keylog))
    return base::failure("{} and --output or --pcap are one file: {}; name two", secrets.said_by,
                         secrets.path);
  settings->keylog = secrets.path;
  // What may be wrong with it has been said; what may surprise is said once.
  if (const auto view = parse_filter_text(settings->view, "--view"); !view) return view.error();
  if (is_file(*output, settings->save) || is_file(*pcap, settings->save))
    return base::failure("--save and --output or --pcap are one file: {}; name two",
                         settings->save);
  const auto client_certs = read_client_certs(all_client_certs(*settings));
  if (!client_certs) return client_certs.error();
  const auto rules = rule_texts_of(*settings, user.home);
  if (const auto good = check_rules(rules); !good) return good.error();
  // Behind all that can be refused: what is refused leaves no session.
  const auto session =
      prepare_session(*settings, user.home, session_program(*settings, invocation));
  if (!session) return session.error();
  files = {std::move(*output), std::move(*pcap), std::move(*keylog), pinning_file(*settings, user)};
  return nlohmann::json{{"settings", to_wire(*settings)},
                        {"policy", policy_of(*settings, invocation.command).to_json()},
                        {"upstream_ca", *upstream_ca + roots_of_command(*settings, invocation)},
                        {"client_certs", *client_certs},
                        {"session_file", static_cast<int>(*session)},
                        {"note", note_on(*settings, invocation)},
                        {"rules", rules.to_json()}};
}

/// One byte per file says whether its descriptor comes along.
void send_files(int socket, const Files& files) {
  std::array<char, kMaxFiles> present{};
  std::array<int, kMaxFiles> handles{};
  std::size_t count = 0;
  for (std::size_t i = 0; i < files.size(); ++i) {
    present[i] = files[i] ? 1 : 0;
    if (files[i]) handles[count++] = files[i].get();
  }
  iovec bytes{present.data(), present.size()};
  alignas(cmsghdr) char room[CMSG_SPACE(sizeof handles)]{};
  msghdr message{};
  message.msg_iov = &bytes;
  message.msg_iovlen = 1;
  if (count > 0) {
    message.msg_control = room;
    message.msg_controllen = CMSG_SPACE(count * sizeof(int));
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(count * sizeof(int));
    std::memcpy(CMSG_DATA(header), handles.data(), count * sizeof(int));
  }
  ::sendmsg(socket, &message, base::kNoSignal);
}

nlohmann::json reply_of(const base::Result<nlohmann::json>& answer) {
  if (answer) return {{"answer", *answer}};
  return {{"error", answer.error().text}, {"code", answer.error().os_code}};
}

[[noreturn]] void run_config_loader(int socket, Task task, const Invocation& invocation,
                                    const base::User& user) {
  Files files;
  const auto became = base::become(user);
  const auto reply = reply_of(became ? task(invocation, user, files)
                                     : base::Result<nlohmann::json>{became.error()});
  send_files(socket, files);
  const auto bytes = nlohmann::json::to_cbor(reply);
  (void)base::write_all(socket, {reinterpret_cast<const char*>(bytes.data()), bytes.size()})
      .has_value();
  ::_exit(0);
}

bool receive_files(int socket, Files& files) {
  std::array<char, kMaxFiles> present{};
  iovec bytes{present.data(), present.size()};
  alignas(cmsghdr) char room[CMSG_SPACE(kMaxFiles * sizeof(int))]{};
  msghdr message{};
  message.msg_iov = &bytes;
  message.msg_iovlen = 1;
  message.msg_control = room;
  message.msg_controllen = sizeof room;
  if (::recvmsg(socket, &message, MSG_WAITALL) != static_cast<ssize_t>(present.size()))
    return false;
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  std::size_t next = 0;
  for (std::size_t i = 0; i < files.size(); ++i) {
    if (present[i] == 0) continue;
    if (!header || header->cmsg_len < CMSG_LEN((next + 1) * sizeof(int))) return false;
    int handle = -1;
    std::memcpy(&handle, CMSG_DATA(header) + next++ * sizeof(int), sizeof handle);
    files[i] = base::UniqueFd{handle};
    if (!base::set_close_on_exec(handle)) return false;
  }
  return true;
}

base::Result<std::string> receive_all(int socket) {
  std::string bytes;
  char block[16384];
  for (;;) {
    const ssize_t n = ::read(socket, block, sizeof block);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return bytes;
    bytes.append(block, static_cast<std::size_t>(n));
    if (bytes.size() > kMaxAnswer)
      return base::failure("the settings are larger than {} bytes", kMaxAnswer);
  }
}

base::Result<std::vector<tls::ClientCertificateText>> client_certs_from(
    const nlohmann::json& list) {
  std::vector<tls::ClientCertificateText> texts;
  const auto is_text = [](const nlohmann::json& item) { return item.is_string(); };
  for (const auto& item : list) {
    const bool good = item.is_array() && item.size() == 5 && std::ranges::all_of(item, is_text);
    if (!good) return base::failure("client certificates that osproxy did not write");
    texts.push_back({item[0], item[1], item[2], item[3], item[4]});
  }
  return texts;
}

base::Result<SessionFile> session_file_from(int number) {
  for (const auto known : {SessionFile::continued, SessionFile::created, SessionFile::named}) {
    if (number == static_cast<int>(known)) return known;
  }
  return base::failure("a session that osproxy did not prepare");
}

base::Error loader_died() {
  return base::failure("the process that reads the settings died");
}

base::Result<nlohmann::json> answer_in(const std::string& bytes) {
  const auto reply = nlohmann::json::from_cbor(bytes, true, false);
  if (!reply.is_object()) return loader_died();
  if (reply.contains("error")) return base::Error{reply.value("error", ""), reply.value("code", 0)};
  const auto answer = reply.find("answer");
  if (answer == reply.end() || !answer->is_object()) return loader_died();
  return *answer;
}

/// What becomes of the descriptors that were open when osproxy was started; the loader has them in
/// any case, for /dev/fd/N.
enum class Inherited : bool { kept, closed };

/// Moves `fd` to the first number behind standard error and closes all others from there on.
base::UniqueFd close_all_but(base::UniqueFd fd) {
  constexpr int kFirst = STDERR_FILENO + 1;
  if (fd.get() != kFirst && ::dup2(fd.get(), kFirst) != kFirst) return fd;
  (void)fd.release();
  base::close_from(kFirst + 1);
  return base::UniqueFd{kFirst};
}

base::Result<nlohmann::json> ask(Task task, const Invocation& invocation, const base::User& user,
                                 Files& files, Inherited inherited) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0)
    return base::os_error("cannot make a socketpair", errno);
  base::UniqueFd ours{ends[0]}, theirs{ends[1]};
  const pid_t loader = ::fork();
  if (loader < 0) return base::os_error("cannot start a process", errno);
  if (loader == 0) {
    ours.reset();
    run_config_loader(theirs.get(), task, invocation, user);
  }
  theirs.reset();
  if (inherited == Inherited::closed) ours = close_all_but(std::move(ours));
  const bool received = receive_files(ours.get(), files);
  const auto bytes = receive_all(ours.get());
  while (::waitpid(loader, nullptr, 0) < 0 && errno == EINTR) {
  }
  if (!bytes) return bytes.error();
  if (!received) return loader_died();
  return answer_in(*bytes);
}

}  // namespace

base::Result<Settings> read_settings(const Invocation& invocation, const base::User& user) {
  Files none;
  const auto answer = ask(settings_only, invocation, user, none, Inherited::kept);
  if (!answer) return answer.error();
  return from_wire(*answer);
}

base::Result<Chosen> read_filter(const Invocation& invocation, const base::User& user) {
  Files none;
  const auto answer = ask(filter_only, invocation, user, none, Inherited::kept);
  if (!answer) return answer.error();
  auto filter = divert::ProgramFilter::from_json(answer->value("filter", nlohmann::json{}));
  if (!filter) return filter.error();
  Chosen chosen{std::move(*filter), {}, answer->value("allow_untrusted", false)};
  for (const auto& one : answer->value("unfound", nlohmann::json::array())) {
    const bool good =
        one.is_array() && one.size() == 2 && one[0].is_number_unsigned() && one[1].is_string();
    if (!good) return base::failure("a filter's items that osproxy did not write");
    chosen.unfound.push_back({one[0], one[1]});
  }
  return chosen;
}

base::Result<> check_files(const Settings& settings, const std::string& home) {
  if (const auto good = check_rules(rule_texts_of(settings, home)); !good) return good;
  if (const auto ca = read_upstream_ca(settings); !ca) return ca.error();
  if (const auto certs = read_client_certs(all_client_certs(settings)); !certs)
    return certs.error();
  return {};
}

base::Result<Prepared> prepare(const Invocation& invocation, const base::User& user) {
  Files files;
  const auto answer = ask(everything, invocation, user, files, Inherited::closed);
  if (!answer) return answer.error();
  auto settings = from_wire(answer->value("settings", nlohmann::json{}));
  if (!settings) return settings.error();
  auto policy = divert::Policy::from_json(answer->value("policy", nlohmann::json{}));
  if (!policy) return policy.error();
  auto client_certs = client_certs_from(answer->value("client_certs", nlohmann::json{}));
  if (!client_certs) return client_certs.error();
  const auto session_file = session_file_from(answer->value("session_file", -1));
  if (!session_file) return session_file.error();
  auto rules = control::RuleTexts::from_json(answer->value("rules", nlohmann::json{}));
  if (!rules) return rules.error();
  return Prepared{std::move(*settings),      std::move(*policy),  answer->value("upstream_ca", ""),
                  std::move(files[0]),       std::move(files[1]), std::move(files[2]),
                  std::move(*client_certs),  std::move(files[3]), *session_file,
                  answer->value("note", ""), std::move(*rules)};
}

}  // namespace mitm::cli
