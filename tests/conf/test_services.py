"""The service files, each asked as far as this machine can: a property list parser, sh with a stand-in for FreeBSD's rc.subr, and
systemd's own checker. What the unit leaves osproxy is tried for real by tests/e2e/test_service.py."""
import os
import plistlib
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


# What rc.subr(8) does with a script's variables, as far as ours uses it.
RC_SUBR = r"""
load_rc_config() { [ ! -e "$RC_CONF" ] || . "$RC_CONF"; }
run_rc_command() {
  eval _enabled=\$$rcvar rc_flags=\$${name}_flags
  case $_enabled in
  [Yy][Ee][Ss]) ;;
  *) [ "$1" = cleanup ] || { echo "not enabled"; return 0; } ;;
  esac
  case $1 in
  start)
    for _file in $required_files; do
      [ -r "$_file" ] || { echo "$_file is not readable."; return 1; }
    done
    [ -z "$start_precmd" ] || $start_precmd || return 1
    eval "$command $rc_flags $command_args"
    ;;
  stop)
    echo "stop by $pidfile"
    [ -z "$stop_postcmd" ] || $stop_postcmd
    ;;
  *) eval "_command=\$${1}_cmd"; $_command ;;
  esac
}
"""


class Rc(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp()
        self.addCleanup(run, "rm", "-r", self.directory)
        d = self.directory
        write(f"{d}/rc.subr", RC_SUBR)
        for name in ("daemon", "osproxy"):
            write(f"{d}/{name}", f"#!/bin/sh\necho {name}: \"$@\"\n", 0o755)
        text = read("osproxy.rc")
        for path in ("/etc/rc.subr", "/usr/sbin/daemon", "/usr/local/bin/osproxy"):
            self.assertIn(path, text)
            text = text.replace(path, f"{d}/{os.path.basename(path)}")
        write(f"{d}/script", text, 0o755)

    def rc(self, verb, conf=""):
        write(f"{self.directory}/rc.conf", conf)
        result = run("/bin/sh", f"{self.directory}/script", verb, env={"PATH": "/bin:/usr/bin", "RC_CONF": f"{self.directory}/rc.conf"})
        self.assertEqual(result.stderr, "")
        return result.returncode, result.stdout.replace(self.directory, "DIR")

    def test_script(self):
        self.assertEqual(run("sh", "-n", f"{CONF}/osproxy.rc").stderr, "")
        self.assertTrue(os.stat(f"{CONF}/osproxy.rc").st_mode & stat.S_IXUSR)
        self.assertTrue(read("osproxy.rc").startswith("#!/bin/sh\n"))
        header = [line for line in read("osproxy.rc").split("\n") if line.startswith(("# PROVIDE:", "# REQUIRE:", "# KEYWORD:"))]
        self.assertEqual(header, ["# PROVIDE: osproxy", "# REQUIRE: LOGIN pf", "# KEYWORD: shutdown"])

    def test_off_unless_enabled_and_configured(self):
        self.assertEqual(self.rc("start"), (0, "not enabled\n"))
        self.assertEqual(self.rc("start", "osproxy_enable=YES\n"), (1, "/usr/local/etc/osproxy/config.json is not readable.\n"))

    def test_start(self):
        conf = "osproxy_enable=YES osproxy_config=/etc/passwd osproxy_flags='--detail 2' osproxy_log=/tmp/log\n"
        code, text = self.rc("start", conf)
        self.assertEqual(code, 0)
        self.assertEqual(text.split("\n"), [
            "osproxy: config check --config /etc/passwd",
            "daemon: -R 10 -P /var/run/osproxy.pid -t osproxy -o /tmp/log -m 3 DIR/osproxy run --config /etc/passwd --detail 2", ""])
        words = text.split("\n")[1].split()
        check_arguments(self, ["/usr/local/bin/osproxy", *words[words.index("DIR/osproxy") + 1:]])

    def test_a_bad_configuration_is_not_started(self):
        write(f"{self.directory}/osproxy", "#!/bin/sh\nexit 1\n", 0o755)
        self.assertEqual(self.rc("start", "osproxy_enable=YES osproxy_config=/etc/passwd\n"), (1, ""))

    def test_stop_cleans_up(self):
        self.assertEqual(self.rc("stop", "osproxy_enable=YES\n"), (0, "stop by /var/run/osproxy.pid\nosproxy: cleanup\n"))
        self.assertEqual(self.rc("cleanup"), (0, "osproxy: cleanup\n"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
