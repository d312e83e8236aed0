"""`osproxy exec -- CMD`: CMD is the user's own process, intercepted with everything it starts, and nothing else is."""
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import termios
import time
import unittest

from harness import ASAN, HOSTS, OSPROXY, PATIENCE, TemporaryUser, Terminal, World, children_of, main, run, status_of, wait_briefly, wait_for

world = None
ONE = HOSTS["one.test"][0]


# Answers with as many pieces of 1000 bytes as the path says, one every 20 ms.
DRIP = """
import socket, time
s = socket.create_server(("0.0.0.0", 8000)); print("ready", flush=True)
c = s.accept()[0]; count = int(c.recv(65536).split(b" ")[1].strip(b"/")); print("begun", flush=True)
c.sendall(b"HTTP/1.0 200 OK\\r\\n\\r\\n")
for i in range(count): c.sendall(b"x" * 1000); time.sleep(0.02)
"""


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
        quoted = execute("curl -s https://one.test/")
        self.assertEqual(quoted.returncode, 127)
        self.assertIn("osproxy: cannot run 'curl -s https://one.test/': No such file or directory; this is one word; leave the quotes out: "
                      "osproxy exec -- curl -s https://one.test/\n", quoted.stderr)
        forbidden = execute("/etc/passwd")
        self.assertEqual(forbidden.returncode, 126)
        self.assertIn("osproxy: cannot run '/etc/passwd': Permission denied\n", forbidden.stderr)

    def test_standard_input_and_output_pass(self):
        self.assertEqual(execute("tr", "a-z", "A-Z", input="hello\n").stdout, "HELLO\n")

    def test_curl_trusts_it_and_its_flow_goes_to_stderr(self):
        result = execute("curl", "-sS", f"https://{ONE}/shown")
        self.assertEqual(result.stdout, f"hello from {ONE}\n", result.stderr)
        self.assertRegex(result.stderr, rf"curl\[\d+\] GET https://{ONE}/shown → 200 OK")

    def test_the_cas_of_the_callers_variables_are_believed(self):
        """exec overwrites these variables: what they name is taken over, for servers and for what passes."""
        ca, url = f"{world.dir}/ca.pem", f"https://{ONE}/own-ca"
        words = world.inside([OSPROXY, "exec", "--ca-dir", f"{world.dir}/ca-of-variables"])
        for name in ("CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "REQUESTS_CA_BUNDLE"):
            with self.subTest(name):
                environment = {**os.environ, name: ca}
                result = run(*words, "--", "curl", "-sS", url, env=environment, check=False)
                self.assertEqual(result.stdout, f"hello from {ONE}\n", result.stderr)
                passing = run(*words, "-x", f"{ONE}/32", "--", "curl", "-sS", url, env=environment, check=False)
                self.assertEqual(passing.stdout, f"hello from {ONE}\n", passing.stderr)
                only = run(*words, "--upstream-ca-only", f"{world.dir}/ca-of-variables/root-ca.pem", "--", "curl", "-sS", url, env=environment, check=False)
                self.assertEqual(only.returncode, 35, only.stderr)
        self.assertEqual(run(*words, "--", "curl", "-sS", url, check=False).returncode, 35)

    def test_the_cas_of_upstream_ca_are_believed_where_hosts_pass(self):
        """There the command verifies the server itself."""
        url, words = f"https://{ONE}/passed", world.inside([OSPROXY, "exec", "--ca-dir", f"{world.dir}/ca-for-passing"])
        for option in ("--upstream-ca", "--upstream-ca-only"):
            with self.subTest(option):
                passing = run(*words, option, f"{world.dir}/ca.pem", "--pass", ONE, "-d", "2", "--", "curl", "-sS", url, check=False)
                self.assertEqual(passing.stdout, f"hello from {ONE}\n", passing.stderr)
                self.assertNotIn("GET", passing.stderr)
        self.assertEqual(run(*words, "--pass", ONE, "--", "curl", "-sS", url, check=False).returncode, 60)

    def test_a_program_with_its_own_cas_is_told_of_the_file(self):
        result = self.record("curl", "-sS", "--cacert", f"{world.dir}/ca.pem", f"https://{ONE}/")
        self.assertEqual(result.returncode, 60)  # peer certificate cannot be authenticated
        error = next(flow["error"] for flow in self.flows() if flow["type"] == "tls_error")
        self.assertIn(f"name {world.ca_dir}/ca-bundle.pem to it (curl --cacert FILE", error)
        self.assertIn("whether it would trust the server's own certificate, issued by CN = e2e CA, is not known", error)
        self.assertNotIn("osproxy exec", error)
        told = self.record("curl", "-sS", "--cacert", f"{world.ca_dir}/ca-bundle.pem", f"https://{ONE}/")
        self.assertEqual(told.returncode, 0, told.stderr)

    def test_says_that_no_connection_was_seen_and_where_it_looked(self):
        with socket.create_server(("127.0.0.1", 0)) as unused:
            port = unused.getsockname()[1]
        own = ["curl", "-sS", "-m", "3", f"http://127.0.0.1:{port}/"]
        elsewhere = ["curl", "-sS", "-m", "3", "-o", "/dev/null", f"http://{ONE}:9080/"]
        where = {"all": "any TCP port", "five": "ports 80,443,8000,8080,8443"}
        cases = [
            (own, [], f"no connection of curl was seen on {where['all']}; not looked at: connections to this machine itself (--loopback)"),
            (elsewhere, ["--engine", "redirect"], f"no connection of curl was seen on {where['five']}; not looked at: other ports (--ports), "
                                                  "connections to this machine itself (--loopback)"),
            (elsewhere, ["--ports", "443", "--loopback"], "no connection of curl was seen on ports 443; not looked at: other ports (--ports)"),
            (["true"], ["--loopback"], f"no connection of true was seen on {where['all']}"),
        ]
        for words, options, line in cases:
            with self.subTest(words=words, options=options):
                self.assertEqual(execute(*words, options=options).stderr.splitlines()[-1], f"osproxy: {line}")
        for words, options in [(own, ["--loopback"]), (elsewhere, []), (elsewhere, ["--engine", "redirect", "--ports", "9080"])]:
            with self.subTest(words=words, options=options):
                errors = execute(*words, options=options).stderr
                self.assertIn("curl[", errors)
                self.assertNotIn("was seen", errors)

    def test_a_blocked_connection_was_seen(self):
        path = f"{world.dir}/block.json"
        with open(path, "w") as file:
            json.dump({"rules": [{"port": 80, "action": "block"}]}, file)
        for engine in ("packet", "redirect"):
            errors = execute("curl", "-sS", f"http://{ONE}/", options=["-c", path, "--engine", engine]).stderr
            self.assertRegex(errors, r"curl\[\d+\] block ", engine)
            self.assertNotIn("was seen", errors, engine)

    def test_says_that_the_reader_has_gone(self):
        script = f"curl -sS -o /dev/null https://{ONE}/first; sleep 0.5; curl -sS -o /dev/null https://{ONE}/second; sleep 0.5"
        process = subprocess.Popen(command("sh", "-c", script, options=["-o", "-", "-d", "1"]), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.assertIn("/first", process.stdout.readline())
        process.stdout.close()
        errors = process.stderr.read()
        process.stderr.close()
        process.wait(PATIENCE)
        self.assertIn("osproxy: --output - has no reader any more: interception ends, the command goes on without it\n", errors)

    def test_the_command_outlives_the_worker(self):
        """Its caller gets its status, whatever becomes of us; from then on its connections are its own."""
        for how in (signal.SIGKILL, signal.SIGSTOP):
            script = f"echo begun; read go; curl -sS http://{ONE}/direct; exit 7"
            process = subprocess.Popen(command("sh", "-c", script), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            self.assertEqual(process.stdout.readline(), "begun\n")
            worker = next(pid for pid in children_of(process.pid) if status_of(pid)["Gid"].split()[1] != "0")
            os.kill(worker, how)
            why = {signal.SIGKILL: "the worker was killed by signal 9 (Killed)", signal.SIGSTOP: "the worker was stopped"}[how]
            line = process.stderr.readline()
            while "capturing" in line:
                line = process.stderr.readline()
            self.assertEqual(line, f"osproxy: {why}; the rules are taken out; the command goes on without interception\n")
            self.assertEqual(world.tables(), "".join(t for t in world.tables().splitlines(True) if "_guard_" in t))
            self.assertIsNone(process.poll())
            output, errors = process.communicate("\n", PATIENCE)
            self.assertEqual((process.returncode, output, errors), (7, "hello from " + ONE + "\n", ""))

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
        with Terminal(command("sh", "-c", "trap 'echo caught; exit 7' INT; echo ready; while :; do sleep 0.1; done")) as terminal:
            terminal.read_until(b"ready")
            terminal.write(b"\x03")
            terminal.read_until(b"caught")
            self.assertEqual(terminal.wait(), 7)

    def test_modes_of_the_terminal_are_restored(self):
        with Terminal(command("sh", "-c", "stty raw -echo; stty -a")) as terminal:
            before = termios.tcgetattr(terminal.fd)
            terminal.read_until(b"-icanon")
            self.assertEqual(terminal.wait(), 0)
            self.assertEqual(termios.tcgetattr(terminal.fd), before)

    def test_ctrl_z_and_fg(self):
        """In a shell of the terminal: what CMD was loading goes on where it was."""
        url = f"http://{ONE}:8000/100"
        drip = world.python(DRIP, where=world.origin, stdout=subprocess.PIPE, text=True)
        drip.stdout.readline()
        with Terminal(["bash", "--norc", "--noprofile", "-i"], {"PS1": "prompt> "}) as terminal:
            terminal.read_until(b"prompt> ")
            words = command("curl", "-sS", "-N", "-w", "loaded %{size_download} %{exitcode}", "-o", f"{world.dir}/loaded", url)
            terminal.write((" ".join(f"'{word}'" for word in words) + "\r").encode())
            self.assertEqual(drip.stdout.readline(), "begun\n")
            wait_for(lambda: os.path.exists(f"{world.dir}/loaded") and os.path.getsize(f"{world.dir}/loaded") > 0, "the first bytes")
            terminal.write(b"\x1a")
            terminal.read_until(b"Stopped")
            time.sleep(1.5)
            self.assertEqual(world.curl("https://one.test/", trust="origin").stdout, "hello from one.test\n")
            terminal.write(b"fg\r")
            terminal.read_until(b"loaded 100000 0")
            terminal.read_until(b"prompt> ")
            terminal.write(b"exit $?\r")
            self.assertEqual(terminal.wait(), 0)

    def test_cgroups_that_cannot_be_made(self):
        """As in Docker, which mounts them read-only: CMD and its descendants are told by their descent."""
        mounted = next(line.split()[1] for line in open("/proc/self/mounts") if line.split()[2] == "cgroup2")
        script = f"mount -o remount,bind,ro {mounted} && exec setpriv --bounding-set=-sys_admin --inh-caps=-sys_admin \"$@\""
        curl = f"curl -sS -o /dev/null https://{ONE}"
        words = [OSPROXY, "exec", "--ca-dir", world.ca_dir, "--upstream-ca", f"{world.dir}/ca.pem", "-f", "jsonl", "-o", self.path, "--",
                 "sh", "-c", f"{curl}/child; (setsid {curl}/grandchild); cat /proc/self/cgroup"]
        result = world.run("unshare", "--mount", "sh", "-c", script, "sh", *words)
        self.assertNotIn("/osproxy-", result.stdout)
        self.assertRegex(result.stderr, r"(?m)^osproxy: cannot make the cgroup osproxy-\d+: Read-only file system; the command's processes are known by their descent$")
        self.assertEqual(sorted(self.urls()), [f"https://{ONE}/child", f"https://{ONE}/grandchild"])

    def test_a_command_that_takes_long_to_begin(self):
        """The guard kills a broker that is silent for two seconds; this one waits for the user's groups to be looked up."""
        if ASAN:
            self.skipTest("ASan wants to be the first library")
        source, library = f"{world.dir}/slow.c", f"{world.dir}/slow.so"
        with open(source, "w") as file:
            file.write("#include <unistd.h>\n#include <grp.h>\nint initgroups(const char *user, gid_t group) { sleep(4); return setgroups(1, &group); }\n")
        run("gcc", "-shared", "-fPIC", "-o", library, source)
        result = execute("echo", "begun", env={**os.environ, "LD_PRELOAD": library})
        self.assertEqual((result.returncode, result.stdout), (0, "begun\n"), result.stderr)

    def kill_all_but_the_command(self):
        """A run whose command goes on; the name of its cgroup and the command's process."""
        process = world.spawn([*command("sh", "-c", f"while :; do curl -s -m 5 http://{ONE}/; sleep 0.05; done")[2:]], stdout=subprocess.PIPE, text=True)
        self.assertEqual(process.stdout.readline(), f"hello from {ONE}\n")
        name = f"osproxy-{process.pid}"
        shell = next(pid for pid in children_of(process.pid) if name in open(f"/proc/{pid}/cgroup").read())
        self.addCleanup(os.kill, shell, signal.SIGKILL)
        children = [pid for pid in children_of(process.pid) if pid != shell]
        guard = next(pid for pid in children if os.getsid(pid) == pid)
        os.kill(guard, signal.SIGSTOP)  # or it may be quicker
        for pid in [process.pid, *children]:
            os.kill(pid, signal.SIGKILL)
        process.wait(PATIENCE)
        wait_for(lambda: "osproxy" not in world.tables(), "the rules' end", 1)
        served = len(world.access_log())
        wait_for(lambda: len(world.access_log()) > served + 5, "further requests of the command")
        self.assertIn(name, open(f"/proc/{shell}/cgroup").read())
        return name, shell

    def test_everything_killed_leaves_the_command_and_its_network(self):
        name, shell = self.kill_all_but_the_command()
        self.assertIn(name, world.run(OSPROXY, "cleanup").stdout)
        self.assertNotIn(name, open(f"/proc/{shell}/cgroup").read())
        self.assertEqual(world.run(OSPROXY, "cleanup").stdout, "nothing to clean up\n")

    def test_what_everything_killed_has_left_is_removed_by_the_next_start(self):
        name, shell = self.kill_all_but_the_command()
        result = execute("true")
        self.assertEqual(result.returncode, 0)
        self.assertIn(f"osproxy: of an earlier run that was killed: removed the cgroup {name}, removed the journal of process {name[len('osproxy-'):]}\n",
                      result.stderr)
        self.assertNotIn(name, open(f"/proc/{shell}/cgroup").read())
        self.assertEqual(world.run(OSPROXY, "cleanup").stdout, "nothing to clean up\n")

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
