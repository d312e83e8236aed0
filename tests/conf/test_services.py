"""The service files, each asked as far as this machine can: a property list parser, sh with a stand-in for FreeBSD's rc.subr, and
systemd's own checker. What the unit leaves osproxy is tried for real by tests/e2e/test_service.py."""
import contextlib
import os
import plistlib
import signal
import stat
import subprocess
import tempfile
import unittest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
CONF = os.path.join(TOP, "conf")
OSPROXY = os.environ["OSPROXY"]


def read(name):
    with open(f"{CONF}/{name}") as file:
        return file.read()


def run(*command, **options):
    return subprocess.run(command, text=True, capture_output=True, timeout=60, **options)


def write(path, text, mode=0o644):
    with open(path, "w") as file:
        file.write(text)
    os.chmod(path, mode)


class Launchd(unittest.TestCase):
    def setUp(self):
        self.job = plistlib.loads(read("org.osproxy.plist").encode(), fmt=plistlib.FMT_XML)

    def test_types_are_launchds(self):
        """As launchd.plist(5) has them; launchd ignores what it does not know, so a slip of the pen would not be seen."""
        types = {"Label": str, "ProgramArguments": list, "RunAtLoad": bool, "KeepAlive": dict, "ProcessType": str, "ThrottleInterval": int,
                 "ExitTimeOut": int, "Umask": int, "WorkingDirectory": str, "StandardInPath": str, "StandardOutPath": str,
                 "StandardErrorPath": str, "SoftResourceLimits": dict, "HardResourceLimits": dict}
        self.assertEqual({key: type(value) for key, value in self.job.items()}, types)
        self.assertEqual(set(map(type, self.job["ProgramArguments"])), {str})
        self.assertEqual(self.job["KeepAlive"], {"Crashed": True})
        self.assertFalse(self.job["RunAtLoad"])
        self.assertEqual(self.job["Umask"], 0o077)
        self.assertEqual(self.job["Label"] + ".plist", "org.osproxy.plist")

    def test_osproxy_takes_the_arguments(self):
        check_arguments(self, self.job["ProgramArguments"])


def check_arguments(case, words):
    """That what a service file runs is an osproxy run with a configuration: by osproxy itself, with --help behind it."""
    case.assertEqual(words[0], "/usr/local/bin/osproxy")
    case.assertEqual(words[1:3], ["run", "--config"])
    case.assertTrue(words[3].startswith("/"))
    result = run(OSPROXY, *words[1:], "--help")
    case.assertEqual(result.returncode, 0, result.stderr)


class Systemd(unittest.TestCase):
    def test_verify(self):
        with tempfile.TemporaryDirectory() as directory:
            unit = f"{directory}/osproxy.service"
            write(unit, read("osproxy.service").replace("/usr/local/bin/osproxy", OSPROXY))
            result = run("systemd-analyze", "verify", "--man=no", unit)
            self.assertEqual((result.returncode, result.stdout + result.stderr), (0, ""))
            write(unit, read("osproxy.service").replace("/usr/local/bin/osproxy", OSPROXY).replace("KillMode=mixed", "KillMode=some"))
            self.assertNotEqual(run("systemd-analyze", "verify", "--man=no", unit).stderr, "", "systemd-analyze sees no mistake")

    def test_security(self):
        """systemd's own score, from 0 (closed) to 10."""
        result = run("systemd-analyze", "security", "--offline=true", "--threshold=45", f"{CONF}/osproxy.service")
        self.assertEqual(result.returncode, 0, result.stdout + result.stderr)

    def test_commands(self):
        commands = [line.split("=", 1)[1] for line in read("osproxy.service").split("\n") if line.startswith("ExecStart=")]
        self.assertEqual(len(commands), 1)
        check_arguments(self, commands[0].split())


# FreeBSD 14's rc.subr(8), as far as our script can meet it: which variables it takes and in which order, what it starts, what it says.
# Also what an ordinary script does not want of it: ${name}_program in place of the command, no stop without a process to stop.
RC_SUBR = r"""
warn() { echo "$0: WARNING: $*" >&2; }

load_rc_config() { [ ! -e "$RC_CONF" ] || . "$RC_CONF"; }

checkyesno() {
  eval _value=\$$1
  case $_value in
  [Yy][Ee][Ss] | [Tt][Rr][Uu][Ee] | [Oo][Nn] | 1) return 0 ;;
  [Nn][Oo] | [Ff][Aa][Ll][Ss][Ee] | [Oo][Ff][Ff] | 0) return 1 ;;
  esac
  warn "\$$1 is not set properly - see rc.conf(5)."
  return 1
}

# Prints the number in the pid file if that is a process of the name that is expected.
check_pidfile() {
  [ -r "$1" ] && read -r _pid <"$1" || return 0
  _argv0=$(ps -o args= -p "$_pid")
  _argv0=${_argv0%% *}
  _base=${2##*/}
  case $_argv0 in
  "$2" | "$_base" | "$_base:" | "($_base)" | "[$_base]") echo "$_pid" ;;
  esac
}

before() {
  [ "$rc_arg" != start ] || for _file in $required_files; do
    [ -r "$_file" ] || { warn "$_file is not readable."; return 1; }
  done
  eval _precmd=\$${rc_arg}_precmd
  [ -z "$_precmd" ] || eval "$_precmd"
}

after() {
  eval _postcmd=\$${rc_arg}_postcmd
  [ -z "$_postcmd" ] || eval "$_postcmd"
}

run_rc_command() {
  rc_arg=$1
  case $rc_arg in
  one*) rc_arg=${rc_arg#one}; eval "$rcvar=YES" ;;
  esac
  eval command=\${${name}_program:-\$command} rc_flags=\$${name}_flags _user=\$${name}_user _class=\${${name}_login_class:-daemon}
  rc_pid=$(check_pidfile "$pidfile" "${procname:-$command}")
  case " start stop restart status poll rcvar $extra_commands " in
  *" $rc_arg "*) ;;
  *) echo "$0: unknown directive '$rc_arg'." >&2; return 1 ;;
  esac
  if [ "$rc_arg" != status ] && { [ "$rc_arg" != stop ] || [ -z "$rc_pid" ]; } && ! checkyesno "$rcvar"; then
    echo "Cannot '$rc_arg' $name. Set $rcvar to YES in /etc/rc.conf or use 'one$rc_arg' instead of '$rc_arg'."
    return 0
  fi
  if [ "$rc_arg" = start ] && [ -n "$rc_pid" ]; then
    echo "$name already running?  (pid=$rc_pid)." >&2
    return 1
  fi
  eval _cmd=\$${rc_arg}_cmd
  if [ -n "$_cmd" ]; then
    before && eval "$_cmd" && after
    return
  fi
  case $rc_arg in
  status)
    [ -n "$rc_pid" ] || { echo "$name is not running."; return 1; }
    echo "$name is running as pid $rc_pid."
    ;;
  start)
    [ -x "$command" ] || { warn "run_rc_command: cannot run $command"; return 1; }
    before || { warn "failed precmd routine for $name"; return 1; }
    echo "Starting $name."
    _doit="$command $rc_flags $command_args"
    [ -z "$_user" ] || _doit="su -m $_user -c 'sh -c \"$_doit\"'"
    eval "limits -C $_class $_doit" || { warn "failed to start $name"; return 1; }
    after
    ;;
  stop)
    [ -n "$rc_pid" ] || { echo "$name not running? (check $pidfile)." >&2; return 1; }
    before || return 1
    echo "Stopping $name."
    kill -TERM "$rc_pid" || return 1
    while kill -0 "$rc_pid" 2>/dev/null; do sleep 0.05; done
    after
    ;;
  restart)
    (run_rc_command stop)
    (run_rc_command start)
    ;;
  esac
}
"""
# daemon(8): takes its own options, writes its process number and calls itself `daemon: TITLE[PID]`.
DAEMON = r"""#!/bin/bash
while getopts R:P:t:o:m: option; do
  case $option in
    P) pidfile=$OPTARG ;;
    t) title=$OPTARG ;;
  esac
done
[ $# -ge $OPTIND ] || { echo "usage: daemon [options] command arguments ..." >&2; exit 1; }
echo daemon: "$@"
(exec -a "daemon: ${title}[1]" sleep 300) >/dev/null 2>&1 &
echo $! >"$pidfile"
# Until the new process is called so.
while [[ $(ps -o args= -p $!) != "daemon: "* ]]; do sleep 0.01; done
"""


class Rc(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp()
        self.addCleanup(run, "rm", "-r", self.directory)
        d = self.directory
        write(f"{d}/rc.subr", RC_SUBR)
        write(f"{d}/osproxy", "#!/bin/sh\necho osproxy: \"$@\"\n", 0o755)
        write(f"{d}/daemon", DAEMON, 0o755)
        write(f"{d}/limits", "#!/bin/sh\necho limits: \"$1\" \"$2\"\nshift 2\nexec \"$@\"\n", 0o755)
        text = read("osproxy.rc")
        for path in ("/etc/rc.subr", "/usr/sbin/daemon", "/usr/local/bin/osproxy", "/var/run/"):
            self.assertIn(path, text)
            text = text.replace(path, f"{d}/{os.path.basename(path)}")
        write(f"{d}/script", text, 0o755)
        self.addCleanup(self.kill_daemon)

    def kill_daemon(self):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError), open(f"{self.directory}/osproxy.pid") as file:
            os.kill(int(file.read()), signal.SIGKILL)

    def rc(self, verb, conf="osproxy_enable=YES osproxy_config=/etc/passwd"):
        """Exit status, standard output and standard error of `service osproxy VERB` with CONF in rc.conf."""
        write(f"{self.directory}/rc.conf", conf + "\n")
        result = run("/bin/sh", f"{self.directory}/script", verb,
                     env={"PATH": f"{self.directory}:/bin:/usr/bin", "RC_CONF": f"{self.directory}/rc.conf"})
        return (result.returncode, *(text.replace(self.directory, "DIR") for text in (result.stdout, result.stderr)))

    def test_script(self):
        self.assertEqual(run("sh", "-n", f"{CONF}/osproxy.rc").stderr, "")
        self.assertTrue(os.stat(f"{CONF}/osproxy.rc").st_mode & stat.S_IXUSR)
        self.assertTrue(read("osproxy.rc").startswith("#!/bin/sh\n"))
        header = [line for line in read("osproxy.rc").split("\n") if line.startswith(("# PROVIDE:", "# REQUIRE:", "# KEYWORD:"))]
        self.assertEqual(header, ["# PROVIDE: osproxy", "# REQUIRE: LOGIN pf", "# KEYWORD: shutdown"])

    def test_off_unless_enabled_and_configured(self):
        code, text, said = self.rc("start", "")
        self.assertEqual((code, said), (0, ""))
        self.assertIn("Set osproxy_enable to YES", text)
        code, text, said = self.rc("start", "osproxy_enable=YES")
        self.assertEqual((code, text), (1, ""))
        self.assertIn("/usr/local/etc/osproxy/config.json is not readable.", said)

    def test_start(self):
        code, text, said = self.rc("start", "osproxy_enable=YES osproxy_config=/etc/passwd osproxy_flags='--detail 2' osproxy_log=/tmp/log")
        self.assertEqual((code, said), (0, ""))
        self.assertEqual(text.split("\n"), [
            "osproxy: config check --config /etc/passwd", "Starting osproxy.", "limits: -C daemon",
            "daemon: -R 10 -P DIR/osproxy.pid -t osproxy -o /tmp/log -m 3 DIR/osproxy run --config /etc/passwd --detail 2", ""])
        words = text.split("\n")[3].split()
        check_arguments(self, ["/usr/local/bin/osproxy", *words[words.index("DIR/osproxy") + 1:]])
        code, text, said = self.rc("start")
        self.assertEqual((code, text), (1, ""))
        self.assertIn("osproxy already running?", said)

    def test_another_program(self):
        """rc.subr(8) has ${name}_program for it, and would start that instead of daemon(8)."""
        code, text, said = self.rc("start", "osproxy_enable=YES osproxy_config=/etc/passwd osproxy_program=/bin/echo")
        self.assertEqual((code, said), (0, ""))
        self.assertEqual(text.split("\n"), [
            "config check --config /etc/passwd", "Starting osproxy.", "limits: -C daemon",
            "daemon: -R 10 -P DIR/osproxy.pid -t osproxy -o /var/log/osproxy.log -m 3 /bin/echo run --config /etc/passwd", ""])

    def test_a_bad_configuration_is_not_started(self):
        write(f"{self.directory}/osproxy", "#!/bin/sh\nexit 1\n", 0o755)
        self.assertEqual(self.rc("start")[:2], (1, ""))

    def test_stop_cleans_up(self):
        self.assertEqual(self.rc("start")[0], 0)
        code, text, said = self.rc("status")
        self.assertEqual((code, said), (0, ""))
        self.assertRegex(text, r"^osproxy is running as pid \d+\.\n$")
        self.assertEqual(self.rc("stop"), (0, "Stopping osproxy.\nosproxy: cleanup\n", ""))
        self.assertEqual(self.rc("stop")[0], 1)
        self.assertEqual(self.rc("status"), (1, "osproxy is not running.\n", ""))

    def test_restart(self):
        self.assertEqual(self.rc("start")[0], 0)
        code, text, said = self.rc("restart")
        self.assertEqual((code, said), (0, ""))
        self.assertEqual([line.split()[0] for line in text.splitlines()], ["Stopping", "osproxy:", "osproxy:", "Starting", "limits:", "daemon:"])

    def test_cleanup(self):
        self.assertEqual(self.rc("cleanup"), (0, "osproxy: cleanup\n", ""))
        self.assertEqual(self.rc("onecleanup", ""), (0, "osproxy: cleanup\n", ""))


if __name__ == "__main__":
    unittest.main(verbosity=2)
