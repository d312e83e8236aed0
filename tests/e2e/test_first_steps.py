"""What somebody tries in the first hour: mistyped words, scripts as FILTER, hosts on the command line, pipes for the flows, who talks to whom."""
import json
import os
import shutil
import subprocess
import unittest

from harness import HOSTS, OSPROXY, PATIENCE, V4, V6, Osproxy, TemporaryUser, World, main, run, wait_for

world = None
ONE = HOSTS["one.test"][0]

# Fetches argv[1] by HTTP once a line comes.
FETCH = """
import sys, urllib.request
print("ready", flush=True)
for line in sys.stdin: print(urllib.request.urlopen(sys.argv[1]).read().decode(), end="", flush=True)
"""


def setUpModule():
    global world
    world = World()


def tearDownModule():
    world.close()


def osproxy(*words, **options):
    return world.run(OSPROXY, *words, check=False, **options)


class Mistyped(unittest.TestCase):
    """Refused before anything is opened or made."""

    def refused(self, words, text, code=2):
        result = osproxy(*words, "--ca-dir", f"{world.dir}/none")
        self.assertEqual((result.returncode, result.stdout, result.stderr), (code, "", text), words)
        self.assertFalse(os.path.exists(f"{world.dir}/none"))
        self.assertEqual(world.tables(), "")

    def test_what_names_nothing(self):
        more = "--wait-for starts all the same and waits for it\n"
        self.refused(["crul"], f"osproxy: no program like 'crul' runs or is installed; did you mean curl? {more}")
        self.refused(["--mode", "local:crul"], f"osproxy: no program like 'crul' runs or is installed; did you mean curl? {more}")
        self.refused(["lerned"], f"osproxy: no program like 'lerned' runs or is installed; did you mean learned? {more}")
        self.refused(["zz-no-such"], f"osproxy: no program like 'zz-no-such' runs or is installed; {more}")
        self.refused(["curl,user:nosuch"], f"osproxy: there is no user 'nosuch'; {more}")
        self.refused(["group:nosuch"], f"osproxy: there is no group 'nosuch'; {more}")
        self.refused(["cgroup:/nosuch"], f"osproxy: no process is in the cgroup '/nosuch'; {more}")

    def test_an_output_file_stays_as_it_is(self):
        path = f"{world.dir}/precious"
        with open(path, "w") as file:
            file.write("flows of yesterday")
        self.refused(["crul", "-o", path], osproxy("crul").stderr)
        untrusted = osproxy("curl", "-o", path, "--ca-dir", f"{world.dir}/none")
        self.assertEqual(untrusted.returncode, 1)
        with open(path) as file:
            self.assertEqual(file.read(), "flows of yesterday")

    def test_without_a_store_that_has_the_ca_it_does_not_start(self):
        result = osproxy("curl", "--ca-dir", f"{world.dir}/none")
        lines = result.stderr.splitlines()
        self.assertEqual((result.returncode, len(lines)), (1, 4), result)
        self.assertEqual(lines[0], "osproxy: no trust store of this machine has osproxy's CA: TLS would fail in every program that is intercepted. Choose one:")
        for line, start in zip(lines[1:], (f"sudo osproxy ca install --ca-dir {world.dir}/none ", f"sudo osproxy exec --ca-dir {world.dir}/none -- COMMAND ",
                                           "--allow-untrusted ")):
            self.assertTrue(line.startswith("osproxy:   " + start), lines)
        self.assertFalse(os.path.exists(f"{world.dir}/none"))

    def test_what_is_left_out_in_vain_is_said(self):
        with Osproxy(world, "curl,!zz-no-such") as with_wait:
            self.assertNotIn("zz-no-such' runs", with_wait.stderr())
        without_wait = Osproxy(world, "curl,!zz-no-such")
        without_wait.command.remove("--wait-for")
        with without_wait:
            self.assertIn("osproxy: the filter leaves out what does not exist: no program like 'zz-no-such' runs or is installed\n", without_wait.stderr())
            world.curl("http://one.test/", "-o", "/dev/null")
            without_wait.wait_for_flow(type="http")

    def test_the_config_files_filter_is_only_told(self):
        path = f"{world.dir}/filter.json"
        with open(path, "w") as file:
            file.write('// what is waited for\n{"filter": "zz-no-such"}')
        run_of_service = Osproxy(world, "--config", path)
        run_of_service.command.remove("--wait-for")
        with run_of_service:
            self.assertIn("osproxy: no program like 'zz-no-such' runs or is installed\n", run_of_service.stderr())
        told = osproxy("exec", "--ca-dir", world.ca_dir, "--config", path, "--", "true").stderr
        self.assertIn("osproxy: the config file's filter ('zz-no-such') is not used: exec intercepts the command and what it starts\n", told)

    def test_a_file_before_the_command(self):
        result = osproxy("exec", "-w", "out.flow", "--", "true")
        self.assertEqual((result.returncode, result.stderr), (2, "osproxy: -w takes no value, so 'out.flow' would be the command; write osproxy exec "
                                                                 "[options] -- CMD [ARG ...] (flows go to a file with -o FILE)\n"))


class Scripts(unittest.TestCase):
    """A program is called by argv[0] and by its script as well."""

    def test_script_and_argv0(self):
        script = f"{world.dir}/zz-fetch.py"
        with open(script, "w") as file:
            file.write("#!/usr/bin/python3\n" + FETCH)
        os.chmod(script, 0o755)
        link = f"{world.dir}/zz-python"
        os.symlink("/usr/bin/python3", link)
        for spec, words in (("zz-fetch.py", ["/usr/bin/python3", "-u", script]), ("=zz-fetch.py", [script]), ("=python3", ["python3", script]),
                            ("=zz-python", [link, script])):
            with self.subTest(spec), Osproxy(world, spec) as run_of_it:
                process = world.spawn([*words, f"http://{ONE}/{spec.strip('=')}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
                self.assertEqual(process.stdout.readline(), "ready\n")
                process.stdin.write("go\n")
                process.stdin.close()
                process.wait(PATIENCE)
                self.assertTrue(run_of_it.wait_for_flow(type="http")["url"].endswith("/" + spec.strip("=")))

    def test_what_a_script_starts(self):
        script = f"{world.dir}/zz-build"
        with open(script, "w") as file:
            file.write(f"#!/bin/sh\ncurl -sS http://{ONE}/child\nexit 0\n")
        os.chmod(script, 0o755)
        with Osproxy(world, "=zz-build+") as run_of_it:
            world.run(script)
            self.assertTrue(run_of_it.wait_for_flow(type="http", process_name="curl")["url"].endswith("/child"))

    def test_npm(self):
        """Node that runs npm-cli.js and calls itself npm."""
        npm = f"{world.dir}/npm"
        with open(npm, "w") as file:
            file.write("#!/usr/bin/env node\nprocess.title = 'npm ping';\n"
                       f"require('http').get('http://{ONE}/npm', (r) => r.resume());\n")
        os.chmod(npm, 0o755)
        for spec in ("npm", "=npm"):
            with self.subTest(spec), Osproxy(world, spec) as run_of_it:
                world.run(npm)
                self.assertTrue(run_of_it.wait_for_flow(type="http", process_name="node")["url"].endswith("/npm"))


class NothingSeen(unittest.TestCase):
    def test_who_did_connect_is_told(self):
        """As with git, for which git-remote-http connects."""
        remote = f"{world.dir}/zz-remote-http"
        shutil.copy(os.path.realpath("/usr/bin/curl"), remote)
        for engine in ("packet", "redirect"):
            with Osproxy(world, "=zz", "--engine", engine) as run_of_it:
                world.run(remote, "-sS", "-o", "/dev/null", "http://one.test/", "--resolve", f"one.test:80:{ONE}")
            said = [line for line in run_of_it.stderr().splitlines() if "no connection of =zz was seen" in line]
            self.assertRegex(said[0], r"; programs that connected and were not selected: ([^,]+, )*zz-remote-http(, |$)")


class Hosts(unittest.TestCase):
    def test_pass_and_block(self):
        with Osproxy(world, "curl", "--pass", "one.test", "--block", "two.test") as run_of_it:
            self.assertIn("hello", world.curl("https://one.test/", trust="origin").stdout)
            self.assertNotEqual(world.curl("https://two.test/", trust="both", check=False).returncode, 0)
            self.assertEqual(run_of_it.wait_for_flow(type="pass")["reason"], "--pass, host one.test")
            self.assertEqual(run_of_it.wait_for_flow(type="block")["reason"], "--block, host two.test")

    def test_addresses(self):
        """Whatever name the program uses, and where it sends none: then a SNI cannot say it."""
        address = V4[0]
        for url in ("https://one.test/", f"https://{address}/", "http://one.test/"):
            with self.subTest(url), Osproxy(world, "curl", "--block", address) as run_of_it:
                self.assertNotEqual(world.curl(url, check=False).returncode, 0)
                self.assertEqual(run_of_it.wait_for_flow(type="block")["reason"], f"--block, host {address}")
        with Osproxy(world, "curl", "--pass", address) as run_of_it:
            self.assertIn("hello", world.curl("https://one.test/", trust="origin").stdout)
            self.assertEqual(run_of_it.wait_for_flow(type="pass")["reason"], f"--pass, host {address}")
        with Osproxy(world, "curl", "--only", address) as run_of_it:
            world.curl("https://one.test/", trust="osproxy")
            self.assertEqual(run_of_it.wait_for_flow(type="http")["url"], "https://one.test/")

    def test_only(self):
        with Osproxy(world, "curl", "--only", "*.example,two.test") as run_of_it:
            self.assertIn("hello", world.curl("https://one.test/", trust="origin").stdout)
            self.assertIn("hello", world.curl("https://two.test/", trust="osproxy").stdout)
            self.assertEqual(run_of_it.wait_for_flow(type="http")["url"], "https://two.test/")
            self.assertEqual(run_of_it.wait_for_flow(type="pass")["reason"], "not a host of --only")

    def test_exec(self):
        result = osproxy("exec", "--ca-dir", world.ca_dir, "--upstream-ca", f"{world.dir}/ca.pem", "--block", "two.test", "-f", "jsonl", "-o",
                         f"{world.dir}/exec.jsonl", "--", *world.curl_command("https://two.test/"))
        self.assertNotEqual(result.returncode, 0)
        with open(f"{world.dir}/exec.jsonl") as file:
            self.assertIn("--block, host two.test", [json.loads(line).get("reason") for line in file])


class Outputs(unittest.TestCase):
    """Where flows can go to while a command prints on its own."""

    def exec(self, *options, words=("sh", "-c", f"echo of the command; curl -sS http://{ONE}/piped; echo end")):
        return [OSPROXY, "exec", "--ca-dir", world.ca_dir, "-f", "jsonl", *options, "--", *words]

    def check_flows(self, text):
        flows = [json.loads(line) for line in text.splitlines()]
        self.assertTrue(any(flow["type"] == "http" and flow["url"].endswith("/piped") for flow in flows), flows)

    def test_standard_output_is_the_flows_alone(self):
        result = run(*world.inside(self.exec("-o", "-")))
        self.check_flows(result.stdout)
        for text in ("of the command\n", "hello from", "end\n"):
            self.assertIn(text, result.stderr)

    def test_a_shells_pipe(self):
        """>(...) is /dev/fd/63. The command inherits none of it."""
        for option in ("-o", "--pcap"):
            path = f"{world.dir}/piped{option}"
            words = self.exec(*([] if option == "-o" else ["-o", "/dev/null"]), words=("sh", "-c", f"ls /proc/self/fd; curl -sS http://{ONE}/piped"))
            at = words.index("--")
            line = " ".join(f"'{word}'" for word in words[:at]) + f" {option} >(cat >'{path}') -- " + " ".join(f"'{word}'" for word in words[at + 1:])
            result = run(*world.inside(["bash", "-c", line + "; wait $!"]), check=False)
            self.assertEqual(result.returncode, 0, result)
            self.assertEqual(result.stdout, f"0\n1\n2\n3\nhello from {ONE}\n", "ls itself opens 3")
            if option == "-o":
                wait_for(lambda: "/piped" in open(path).read(), "the flows")
                self.check_flows(open(path).read())
            else:
                wait_for(lambda: b"GET /piped" in open(path, "rb").read(), "the packets")

    def test_a_descriptor_of_ones_own_with_the_users_rights(self):
        reader, writer = os.pipe()
        os.set_inheritable(writer, True)
        with TemporaryUser() as user:
            process = subprocess.Popen(world.inside(self.exec("-o", f"/proc/self/fd/{writer}")), pass_fds=[writer], stdout=subprocess.PIPE,
                                       stderr=subprocess.PIPE, text=True, env={**os.environ, **user.environment})
            os.close(writer)
            with open(reader) as flows:
                text = flows.read()
            self.assertEqual((process.wait(PATIENCE), process.communicate()[0].splitlines()[0]), (0, "of the command"))
        self.check_flows(text)

    def test_one_that_sudo_has_closed(self):
        result = osproxy("exec", "--ca-dir", world.ca_dir, "-o", "/dev/fd/63", "--", "true")
        self.assertEqual(result.returncode, 1)
        self.assertIn("osproxy: --output: /dev/fd/63 is not open here; sudo closes all descriptors above 2: put the whole line under sudo", result.stderr)


class Who(unittest.TestCase):
    """Which program talks to that host?"""

    @classmethod
    def setUpClass(cls):
        script = ("import socket, sys\ns = socket.create_connection((sys.argv[1], 80))\nt = socket.create_connection((sys.argv[2], 443))\n"
                  "print(s.getsockname()[1], t.getsockname()[1], flush=True); input()")
        cls.name = f"{world.dir}/zz-talker"
        shutil.copy(os.path.realpath("/usr/bin/python3"), cls.name)
        cls.talker = world.spawn([cls.name, "-c", script, V4[0], V6[0]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        cls.ports = cls.talker.stdout.readline().split()

    def who(self, *words, code=0, before=()):
        result = world.run(*before, OSPROXY, "who", *words, check=False)
        self.assertEqual(result.returncode, code, result)
        return result.stdout if code == 0 else result.stderr

    def ports_of(self, *words, before=()):
        rows = [json.loads(line) for line in self.who(*words, "-f", "jsonl", before=before).splitlines()]
        return {row["local"].rsplit(":", 1)[1] for row in rows if row["process"] and row["process"]["pid"] == self.talker.pid}

    def test_by_address_port_and_program(self):
        http, https = self.ports
        for word, expected in ((V4[0], {http}), (V6[0], {https}), (f"[{V6[0]}]", {https}), (f"{V4[0]}:80", {http}), ("80", {http}), (":443", {https}),
                               ("443", {https}), (http, {http}), ("zz-talker", {http, https}), ("=zz-talker", {http, https}), (self.name, {http, https}),
                               (str(self.talker.pid), {http, https}), ("user:root", {http, https})):
            with self.subTest(word):
                self.assertEqual(self.ports_of(word), expected)

    def test_by_host(self):
        """All its addresses, with a port or without."""
        hosts = f"{world.dir}/hosts"
        with open(hosts, "w") as file:
            file.write(f"{V4[0]} api.test\n{V6[0]} api.test\n192.0.2.88 other.test\n")
        before = ["unshare", "--mount", "sh", "-c", f"mount --bind {hosts} /etc/hosts && exec \"$@\"", "sh"]
        http, https = self.ports
        for word, expected in (("api.test", {http, https}), ("api.test:443", {https}), ("api.test:80", {http})):
            with self.subTest(word):
                self.assertEqual(self.ports_of(word, before=before), expected)
        self.assertIn("is at other.test:443, which has the addresses 192.0.2.88; to see who connects next: sudo osproxy who other.test:443 --follow\n", self.who("other.test:443", code=1, before=before))
        self.assertEqual(self.who("nosuch.test:443", code=1, before=before), "osproxy: there is no host 'nosuch.test'\n")

    @staticmethod
    def leave_one_behind():
        """What is left of a connection that its process has closed first; for a minute."""
        world.run("curl", "-sS", "-o", "/dev/null", f"http://{V4[0]}/")

    def test_sockets_without_a_process_are_counted(self):
        self.leave_one_behind()
        lines = self.who(V4[0]).splitlines()
        self.assertIn("zz-talker", lines[1])
        self.assertRegex(lines[-1], r"^\d+ more ha(s|ve) no process that can be seen: \d+ in TIME-WAIT \(-f jsonl lists (it|them)\)$")
        rows = [json.loads(line) for line in self.who(V4[0], "-f", "jsonl").splitlines()]
        self.assertEqual((rows[-1]["state"], rows[-1]["process"]), ("TIME-WAIT", None))

    def test_says_how_to_see_the_next_one(self):
        """Where what is left of connections has no process any more."""
        self.leave_one_behind()
        port = [json.loads(line) for line in self.who(V4[0], "-f", "jsonl").splitlines()][-1]["local"].rsplit(":", 1)[1]
        result = world.run(OSPROXY, "who", port)
        self.assertEqual(result.stdout, "1 socket has no process that can be seen: 1 in TIME-WAIT (-f jsonl lists it)\n")
        self.assertEqual(result.stderr, f"osproxy: to see who connects next: sudo osproxy who {port} --follow\n")

    def test_a_script_is_named_beside_its_interpreter(self):
        script = f"{world.dir}/prog.py"
        with open(script, "w") as file:
            file.write("import socket, sys\ns = socket.create_connection((sys.argv[1], 80))\nprint('ready', flush=True); input()\n")
        program = world.spawn(["/usr/bin/python3", script, V4[0]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.assertEqual(program.stdout.readline(), "ready\n")
        self.assertRegex(self.who("prog.py"), r"ESTAB +\d+ +root +/usr/bin/python3\S* prog\.py\n")
        program.communicate("\n")

    def test_a_url_is_no_host(self):
        self.assertEqual(self.who("https://api.test/", code=2), "osproxy: 'https://api.test/' is not a host; expected a name, *.name for all below it, or "
                         "an address, without a port; for example example.org, *.example.org, 192.0.2.1\n")

    def test_nothing_there(self):
        self.assertEqual(self.who("zz-nothing", code=1), "osproxy: no program that 'zz-nothing' selects has a TCP socket, and there is no host of that name\n")
        self.assertEqual(self.who("=zz-nothing", code=1), "osproxy: no program that '=zz-nothing' selects has a TCP socket; to see who connects next: sudo osproxy who =zz-nothing --follow\n")
        self.assertEqual(self.who("192.0.2.77", code=1), "osproxy: no TCP socket of this network namespace is at 192.0.2.77; to see who connects next: sudo osproxy who 192.0.2.77 --follow\n")
        self.assertIn("item 2 is empty", self.who("curl,", code=2))


if __name__ == "__main__":
    main()
