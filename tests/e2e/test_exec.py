"""`osproxy exec -- CMD`: CMD is the user's own process, intercepted with everything it starts, and nothing else is."""
import json
import os
import pty
import re
import resource
import shutil
import signal
import subprocess
import unittest

from harness import HOSTS, OSPROXY, PATIENCE, TemporaryUser, World, children_of, main, run, status_of, wait_briefly, wait_for

world = None
ONE = HOSTS["one.test"][0]


def setUpModule():
    global world
    world = World()


def tearDownModule():
    world.close()


def command(*words, options=()):
    return world.inside([OSPROXY, "exec", "--ca-dir", world.ca_dir, "--upstream-ca", f"{world.dir}/ca.pem", *options, "--", *words])


def execute(*words, options=(), **more):
    return run(*command(*words, options=options), check=False, **more)


def left_behind():
    """Control groups whose osproxy has ended; somebody else's may be running."""
    mounted = "/sys/fs/cgroup/unified" if os.path.isdir("/sys/fs/cgroup/unified") else "/sys/fs/cgroup"
    return [name for name in os.listdir(mounted) if re.match(r"osproxy-\d+$", name) and not os.path.exists(f"/proc/{name.split('-')[1]}")]


class Exec(unittest.TestCase):
    def setUp(self):
        self.path = f"{world.dir}/{self.id()}.jsonl"

    def tearDown(self):
        self.assertEqual(world.tables(), "")
        wait_briefly(lambda: not left_behind(), "the end of the cgroups", 1)

    def flows(self):
        with open(self.path) as file:
            return [json.loads(line) for line in file]

    def record(self, *words, options=(), **more):
        return execute(*words, options=["-f", "jsonl", "-o", self.path, *options], **more)

    def urls(self):
        return [flow["url"] for flow in self.flows() if flow["type"] == "http" and flow["event"] == "end"]

    def test_exit_status_is_the_commands(self):
        cases = [(["true"], 0), (["sh", "-c", "exit 7"], 7), (["sh", "-c", "kill -TERM $$"], 128 + 15), (["sh", "-c", "kill -KILL $$"], 128 + 9)]
        for words, status in cases:
            self.assertEqual(execute(*words).returncode, status, words)

    def test_command_that_cannot_run(self):
        missing = execute("osproxy-no-such-command", env={**os.environ, "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
        self.assertEqual(missing.returncode, 127)
        self.assertIn("osproxy: cannot run 'osproxy-no-such-command': No such file or directory\n", missing.stderr)
        forbidden = execute("/etc/passwd")
        self.assertEqual(forbidden.returncode, 126)
        self.assertIn("osproxy: cannot run '/etc/passwd': Permission denied\n", forbidden.stderr)

    def test_standard_input_and_output_pass(self):
        self.assertEqual(execute("tr", "a-z", "A-Z", input="hello\n").stdout, "HELLO\n")

    def test_curl_trusts_it_and_its_flow_goes_to_stderr(self):
        result = execute("curl", "-sS", f"https://{ONE}/shown")
        self.assertEqual(result.stdout, f"hello from {ONE}\n", result.stderr)
        self.assertRegex(result.stderr, rf"curl\[\d+\] GET https://{ONE}/shown → 200 OK")

    def test_runtimes_trust_it(self):
        python = "import urllib.request as r; print(r.urlopen('https://%s/python').status)" % ONE
        programs = {"python": ["/usr/bin/python3", "-c", python], "wget": ["wget", "-qO-", f"https://{ONE}/wget"]}
        if shutil.which("node"):
            programs["node"] = ["node", "-e", "require('https').get('https://%s/node', r => r.resume())" % ONE]
        if shutil.which("git"):
            programs["git"] = ["sh", "-c", f"git ls-remote https://{ONE}/git; true"]
        for name, words in programs.items():
            result = self.record(*words)
            self.assertEqual(result.returncode, 0, f"{name}: {result.stderr}")
            self.assertTrue(any(f"/{name}" in url for url in self.urls()), f"{name}: {self.flows()} {result.stderr}")

    def test_descendants_and_daemons_are_captured_others_are_not(self):
        curl = " ".join(["curl", "-sS", "-o", "/dev/null"])
        ended = f"{world.dir}/daemon-ended"
        daemon = f"sleep 0.3; {curl} https://{ONE}/daemon; touch {ended}"
        script = f"(setsid sh -c '{daemon}' &) ; {curl} https://{ONE}/child; while [ ! -e {ended} ]; do sleep 0.1; done"
        other = world.spawn(["sh", "-c", "while :; do curl -sS -m 60 -o /dev/null --cacert %s https://%s/other || exit 1; done" % (world.trusting("origin"), ONE)])
        result = self.record("sh", "-c", script)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIsNone(other.poll(), "the other program was disturbed")
        other.kill()
        other.wait()
        self.assertEqual(sorted(self.urls()), [f"https://{ONE}/child", f"https://{ONE}/daemon"])

    def test_wait_stays_with_descendants(self):
        script = f"(setsid sh -c 'sleep 1; curl -sS -o /dev/null https://{ONE}/late' &); exit 5"
        result = self.record("sh", "-c", script, options=["--wait"])
        self.assertEqual(result.returncode, 5)
        self.assertEqual(self.urls(), [f"https://{ONE}/late"])
        self.assertIn("waiting for", result.stderr)

    def test_command_runs_as_the_user_who_typed_sudo(self):
        with TemporaryUser() as user:
            words = ["sh", "-c", "id -u; id -g; id -G; echo $HOME $USER $SUDO_UID; cat /proc/self/cgroup"]
            lines = execute(*words, env={**os.environ, **user.environment}).stdout.splitlines()
            self.assertEqual(lines[:4], [str(user.uid), str(user.gid), str(user.gid), f"{user.home} {user.name}"])
            self.assertRegex("\n".join(lines), r"0::/osproxy-\d+")

    def test_signals_are_passed_on(self):
        words = ["sh", "-c", "trap 'exit 9' TERM; echo ready; while :; do sleep 0.1; done"]
        process = subprocess.Popen(command(*words), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.assertEqual(process.stdout.readline(), "ready\n")
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(PATIENCE), 9)
        process.stdout.close()

    def test_ctrl_c_on_a_terminal_reaches_the_command_only(self):
        words = command("sh", "-c", "trap 'echo caught; exit 7' INT; echo ready; while :; do sleep 0.1; done")
        pid, terminal = pty.fork()
        if pid == 0:
            os.execvp(words[0], words)
        seen = b""

        def read_until(text):
            nonlocal seen
            while text not in seen:
                seen += os.read(terminal, 4096)

        read_until(b"ready")
        os.write(terminal, b"\x03")
        read_until(b"caught")
        try:
            while os.read(terminal, 4096):
                pass
        except OSError:
            pass  # the terminal's other end is closed
        _, status = os.waitpid(pid, 0)
        self.assertEqual(os.waitstatus_to_exitcode(status), 7)
        os.close(terminal)

    def test_nothing_is_inherited_but_the_standard_streams(self):
        result = execute("sh", "-c", "ls /proc/self/fd", pass_fds=[os.open("/dev/null", os.O_RDONLY)])
        self.assertEqual(set(result.stdout.split()) - {"3"}, {"0", "1", "2"})  # 3: ls's own

    def test_limits_are_those_of_whoever_typed_it(self):
        result = execute("sh", "-c", "ulimit -Sn; ulimit -Hn", preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (777, 888)))
        self.assertEqual(result.stdout.split(), ["777", "888"])

    def test_rules_touch_no_other_program(self):
        process = subprocess.Popen(command("sleep", "600"), stderr=subprocess.DEVNULL)
        self.addCleanup(process.kill)
        table = wait_for(lambda: "redirect" in world.run("nft", "list", "ruleset").stdout and world.run("nft", "list", "ruleset").stdout, "the rules")
        self.assertIn("socket cgroupv2 level 1", table)
        worker = next(pid for pid in children_of(process.pid) if os.readlink(f"/proc/{pid}/exe") == os.path.realpath(OSPROXY)
                      and status_of(pid)["Gid"].split()[0] != "0")
        self.assertEqual(world.curl("https://one.test/", trust="origin").stdout, "hello from one.test\n")
        before = len(os.listdir(f"/proc/{worker}/fd"))
        with_connection = world.python(f"import socket; s = socket.create_connection(('{ONE}', 443)); print(1, flush=True); input()",
                                       stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        with_connection.stdout.readline()
        self.assertEqual(len(os.listdir(f"/proc/{worker}/fd")), before)
        with_connection.kill()
        process.send_signal(signal.SIGTERM)
        self.assertEqual(process.wait(PATIENCE), 128 + 15)


if __name__ == "__main__":
    main()
