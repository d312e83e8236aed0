"""Flows that last: sessions written by run and exec, and what query makes of them."""
import base64
import contextlib
import json
import os
import shlex
import shutil
import signal
import sqlite3
import subprocess
import time
import unittest

from harness import OSPROXY, Osproxy, TemporaryUser, World, main, run, tree_of, wait_for

world = None
BIG = 3 << 20


def setUpModule():
    global world
    world = World()
    os.makedirs(f"{world.dir}/www/files", exist_ok=True)
    with open(f"{world.dir}/www/files/big", "wb") as file:
        file.write(os.urandom(BIG))


def tearDownModule():
    world.close()


def query(*words, code=0, program=(), **options):
    result = world.run(*program, OSPROXY, "query", *words, check=False, **options)
    assert result.returncode == code, f"query {words} ended with {result.returncode}\n{result.stdout}{result.stderr}"
    return result.stdout


def entries_of(har):
    return json.loads(har)["log"]["entries"]


class Session(unittest.TestCase):
    def setUp(self):
        self.directory = f"{world.dir}/sessions-{self._testMethodName}"
        os.mkdir(self.directory)
        self.path = f"{self.directory}/s.osp"

    def files(self):
        return sorted(os.listdir(self.directory))

    def test_exec_then_query(self):
        """The README's example: a filter in mitmproxy's words, a HAR, and what it says of the program."""
        world.run(OSPROXY, "ca", "create", "--ca-dir", world.ca_dir, check=False)  # unless another test has: curl is told to trust it
        curl = shlex.join(world.curl_command("https://one.test/files/missing"))
        script = f"for i in 1 2; do {curl}; done; {shlex.join(world.curl_command('http://two.test/hello'))}"
        world.run(OSPROXY, "exec", "--ca-dir", world.ca_dir, "--upstream-ca", f"{world.dir}/ca.pem", "--save", self.path, "--", "sh", "-c", script)
        self.assertEqual(self.files(), ["s.osp"])
        self.assertEqual(os.stat(self.path).st_mode & 0o7777, 0o600)
        found = entries_of(query(self.path, "~p curl & ~c 4xx", "--format", "har"))
        self.assertEqual([entry["request"]["url"] for entry in found], ["https://one.test/files/missing"] * 2)
        self.assertEqual({entry["_process"]["name"] for entry in found}, {"curl"})
        self.assertEqual(query(self.path, "--count"), "3\n")
        self.assertEqual(self.files(), ["s.osp"])
        for words in ((), ("-f", "jsonl")):
            piped = subprocess.run(["sh", "-c", f"{shlex.join([OSPROXY, 'query', self.path, *words])} | head -c 1"], capture_output=True, check=True)
            self.assertEqual(piped.stderr, b"")
        self.assertEqual(query(self.path, "--count", 'host == "two.test" and scheme == "http"'), "1\n")
        self.assertRegex(query(self.path, "~d two"), r"curl\[\d+\] GET http://two\.test/hello → 200 OK 20b ")
        flow, = map(json.loads, query(self.path, "~d two", "-f", "jsonl", "-b", "1k").splitlines())
        self.assertEqual((flow["id"], flow["process"]["name"], flow["response_body"]), (3, "curl", "aGVsbG8gZnJvbSB0d28udGVzdAo="))

    def test_bodies_are_whole_and_stored_once(self):
        with Osproxy(world, "curl", "--save", self.path, "--bodies", "10") as osproxy:
            for _ in range(2):
                world.curl("http://one.test/files/big", "-o", "/dev/null")
            flows = osproxy.wait_for_flows(2, type="http")
            # What is shown is as long as was asked for there.
            self.assertEqual([len(flow["response_body"]) for flow in flows], [16, 16])
        with open(f"{world.dir}/www/files/big", "rb") as file:
            expected = file.read()
        raw = subprocess.run([OSPROXY, "query", self.path, "-f", "har"], capture_output=True, check=True).stdout
        for entry in entries_of(raw):
            content = entry["response"]["content"]
            self.assertEqual(base64.b64decode(content["text"]) if content.get("encoding") == "base64" else content["text"].encode(), expected)
        with contextlib.closing(sqlite3.connect(self.path)) as session:
            self.assertEqual(session.execute("SELECT sum(length(data)) FROM chunk").fetchone(), (BIG,))

    def test_a_limit_on_bodies(self):
        with Osproxy(world, "curl", "--save", self.path, "--save-bodies", "100k") as osproxy:
            world.curl("http://one.test/files/big", "-o", "/dev/null")
            osproxy.wait_for_flow(type="http")
        flow, = map(json.loads, query(self.path, "-f", "jsonl", "-b", "10M").splitlines())
        self.assertEqual((len(flow["response_body"]) * 3 // 4, flow["response_body_cut"], flow["response_bytes"]), ((100 << 10) + 2, True, BIG))  # base64 fills up

    def test_raw_connections_have_what_was_said(self):
        server = world.python("import socket\ns = socket.create_server(('192.0.2.2', 8025))\nwhile True:\n c, _ = s.accept(); c.sendall(b'220 hello\\r\\n'); c.recv(10); c.close()",
                              where=world.origin)
        self.addCleanup(server.kill)
        script = "import socket; s = socket.create_connection(('192.0.2.2', 8025), 60); print(s.recv(100)); s.sendall(b'QUIT'); print(s.recv(10))"
        with Osproxy(world, "python", "--save", self.path) as osproxy:
            wait_for(lambda: world.run("/usr/bin/python3", "-c", script, check=False).returncode == 0, "the server")
            osproxy.wait_for_flow(type="tcp", server="192.0.2.2:8025")
        self.assertEqual(query(self.path, "~tcp & ~bq QUIT & ~bs hello", "--count").strip(), query(self.path, "port == 8025 and ~tcp", "--count").strip())

    def test_a_session_of_the_users(self):
        """sudo: the file belongs to who typed it, and is read without root."""
        with TemporaryUser() as user:
            path = f"{user.home}/s.osp"
            world.run("env", *(f"{k}={v}" for k, v in user.environment.items()), OSPROXY, "exec", "--ca-dir", world.ca_dir, "--save", path, "--",
                      *world.curl_command("http://one.test/"))
            facts = os.stat(path)
            self.assertEqual((facts.st_uid, facts.st_mode & 0o7777), (user.uid, 0o600))
            self.assertEqual([name for name in os.listdir(user.home) if name.startswith("s.osp")], ["s.osp"])
            as_user = ["setpriv", f"--reuid={user.uid}", f"--regid={user.gid}", "--clear-groups"]
            self.assertEqual(query(path, "--count", program=as_user), "1\n")
            link = f"{user.home}/link.osp"
            os.symlink(path, link)
            result = world.run("env", *(f"{k}={v}" for k, v in user.environment.items()), OSPROXY, "exec", "--ca-dir", world.ca_dir, "--save", link, "--",
                               "true", check=False)
            self.assertEqual((result.returncode, result.stderr), (1, f"osproxy: --save: {link} is a symbolic link; name another file\n"))

    def test_a_name_is_made(self):
        """sudo: in the directory of who typed it, and the line at the end says where."""
        with TemporaryUser() as user:
            command = ["env", *(f"{k}={v}" for k, v in user.environment.items()), OSPROXY]
            result = world.run(*command, "exec", "--ca-dir", world.ca_dir, "--save", "auto", "--", *world.curl_command("http://one.test/"))
            directory = f"{user.home}/.local/state/osproxy/sessions"
            name, = os.listdir(directory)
            self.assertRegex(name, r"^\d{8}-\d{6}-curl\.osp$")
            self.assertIn(f"osproxy: the flows are in {directory}/{name}; to see them: osproxy query {name.removesuffix('.osp')}\n", result.stderr)
            for path, mode in ((directory, 0o700), (f"{directory}/{name}", 0o600)):
                facts = os.stat(path)
                self.assertEqual((facts.st_uid, facts.st_mode & 0o7777), (user.uid, mode))
            self.assertEqual(world.run(*command, "query", name.removesuffix(".osp"), "--count").stdout, "1\n")
            self.assertIn("  closed  ", world.run(*command, "sessions", "list").stdout)
            world.run(*command, "sessions", "rm", name)
            result = world.run(*command, "exec", "--ca-dir", world.ca_dir, "--save", "auto", "--", "true")
            self.assertIn("osproxy: there were no flows: no session is kept\n", result.stderr)
            self.assertEqual(os.listdir(directory), [])

    def test_a_start_that_fails_leaves_no_session(self):
        """Of none that it has made; one that was there stays."""
        taken = world.spawn(["python3", "-c", "import socket, time\ns = socket.create_server(('127.0.0.1', 28999)); print(flush=True); time.sleep(600)"], stdout=subprocess.PIPE)
        self.addCleanup(taken.stdout.close)
        self.addCleanup(taken.wait)
        self.addCleanup(taken.kill)
        taken.stdout.readline()
        there = f"{self.directory}/there.osp"
        world.run(OSPROXY, "exec", "--ca-dir", world.ca_dir, "--save", there, "--", "true")
        with TemporaryUser() as user:
            sessions = f"{user.home}/.local/state/osproxy/sessions"
            command = ["env", *(f"{k}={v}" for k, v in user.environment.items()), OSPROXY]
            shutil.copy(there, f"{user.home}/there.osp")
            os.chown(f"{user.home}/there.osp", user.uid, user.gid)
            for words, status, text in ((["exec", "--", "/none/program"], 127, "cannot run '/none/program'"),
                                        (["exec", "--client-cert", "a.test=/none", "--", "true"], 1, "cannot read /none"),
                                        (["exec", "--listen-port", "28999", "--", "true"], 1, "28999"),
                                        (["run", "--allow-untrusted", "no-such-program"], 2, "no-such-program")):
                for session in ("auto", f"{user.home}/new.osp", f"{user.home}/there.osp"):
                    result = world.run(*command, words[0], "--ca-dir", world.ca_dir, "--save", session, *words[1:], check=False)
                    self.assertEqual(result.returncode, status, result.stderr)
                    self.assertIn(text, result.stderr)
                    self.assertEqual(os.listdir(sessions) if os.path.exists(sessions) else [], [])
                    self.assertFalse([name for name in os.listdir(user.home) if "new.osp" in name], result.stderr)
                    self.assertEqual([name for name in os.listdir(user.home) if "there.osp" in name], ["there.osp"])

    def test_a_session_has_one_writer(self):
        with Osproxy(world, "curl", "--save", self.path) as osproxy:
            world.curl("http://one.test/")
            osproxy.wait_for_flow(type="http")
            result = world.run(OSPROXY, "sessions", "list", self.path)
            self.assertIn("  being written  ", result.stdout)
            for words, before, advice in ((("sessions", "rm", self.path), "", "end that first"), (("sessions", "compact", self.path), "", "end that first"),
                                          (("exec", "--ca-dir", world.ca_dir, "--save", self.path, "--", "true"), "--save: ", "name another file")):
                result = world.run(OSPROXY, *words, check=False)
                self.assertEqual(result.returncode, 1)
                self.assertRegex(result.stderr, rf"^osproxy: {before}{self.path}: another osproxy \(\d+\) writes to it; {advice}\n$")
            wait_for(lambda: query(self.path, "--count") == "1\n", "the flow in the session")
        self.assertIn("  closed  ", world.run(OSPROXY, "sessions", "list", self.path).stdout)

    def test_followed_while_it_is_written(self):
        with Osproxy(world, "curl", "--save", self.path) as osproxy:
            world.curl("http://one.test/")
            osproxy.wait_for_flow(type="http")
            follower = world.spawn([OSPROXY, "query", self.path, "~d test", "--follow", "--fields", "url"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            self.addCleanup(follower.wait)
            self.addCleanup(follower.kill)
            self.assertEqual([follower.stdout.readline() for _ in range(2)], ["url\n", "http://one.test/\n"])
            world.curl("http://two.test/hello")
            self.assertEqual(follower.stdout.readline(), "http://two.test/hello\n")
        out, err = follower.communicate(timeout=60)
        self.assertEqual((follower.returncode, out, err), (0, "", f"osproxy: {self.path}: the run that wrote it has ended\n"))

    def test_a_view_shows_and_a_session_has_all(self):
        with Osproxy(world, "curl", "--save", self.path, "--view", "~c 404 | resp.body contains two.test") as osproxy:
            for path in ("/", "/files/missing"):
                world.curl(f"http://one.test{path}")
            world.curl("http://two.test/hello")
            shown = osproxy.wait_for_flows(2, type="http")
            wait_for(lambda: query(self.path, "--count", "~http") == "3\n", "the flows in the session")
        self.assertEqual([flow["url"] for flow in shown], ["http://one.test/files/missing", "http://two.test/hello"])

    def test_a_view_of_what_lasts(self):
        """What waits is shown at once where its request decides."""
        server = world.python("import socket\ns = socket.create_server(('192.0.2.2', 8080))\nkept = []\nwhile True: kept.append(s.accept())", where=world.origin)
        self.addCleanup(server.kill)
        wait_for(lambda: "192.0.2.2:8080 " in world.run("ss", "-Htln", where=world.origin).stdout, "the server")
        with Osproxy(world, "curl", "--view", "path == /shown or status == 500") as osproxy:
            for path in ("undecided", "shown"):
                hanging = world.spawn(["curl", "-s", f"http://192.0.2.2:8080/{path}"])
                self.addCleanup(hanging.wait)
                self.addCleanup(hanging.kill)
                time.sleep(0.2)
            self.assertEqual(osproxy.wait_for_flow(type="http", event="start")["url"], "http://192.0.2.2:8080/shown")

    def test_a_view_that_is_wrong(self):
        result = world.run(OSPROXY, "exec", "--view", "~c 40x", "--", "true", check=False)
        self.assertEqual((result.returncode, result.stderr), (
            2, "osproxy: --view: found '40x', expected a status such as 404, 4xx, 500-599 or >=400; did you mean 4xx?\nosproxy:   ~c 40x\nosproxy:      ^^^\n"))
        config = f"{self.directory}/osproxy.json"
        with open(config, "w", encoding="utf-8") as file:
            file.write('{\n"view": "~c 40x"}\n')
        result = world.run(OSPROXY, "config", "check", config, check=False)
        self.assertEqual(result.returncode, 1)
        self.assertIn(f"{config}:2: view: found '40x', expected a status", result.stderr)

    def test_a_run_continues_a_session_that_others_read_meanwhile(self):
        for count in (1, 2):
            with Osproxy(world, "curl", "--save", self.path):
                world.curl("http://one.test/")
                wait_for(lambda count=count: query(self.path, "--count") == f"{count}\n", "the flow in the session")
        self.assertEqual(self.files(), ["s.osp"])

    def test_killed(self):
        """Worker and broker at once: all but the last second is there, and what was under way is interrupted."""
        server = world.python("import socket\ns = socket.create_server(('192.0.2.2', 8080))\nkept = []\nwhile True: kept.append(s.accept())", where=world.origin)
        self.addCleanup(server.kill)
        wait_for(lambda: "192.0.2.2:8080 " in world.run("ss", "-Htln", where=world.origin).stdout, "the server")
        osproxy = Osproxy(world, "curl", "--save", self.path)
        osproxy.start()
        for _ in range(3):
            world.curl("http://one.test/")
        hanging = world.spawn(["curl", "-s", "http://192.0.2.2:8080/hanging"])
        self.addCleanup(hanging.wait)
        self.addCleanup(hanging.kill)
        began = time.monotonic()
        wait_for(lambda: query(self.path, "--count", "live") == "1\n", "the hanging request in the session")
        self.assertLess(time.monotonic() - began, 4)  # a second, and the time of a query on a busy machine
        self.assertEqual(query(self.path, "--count"), "4\n")
        for pid in reversed(tree_of(osproxy.process.pid)):
            os.kill(pid, signal.SIGKILL)
        osproxy.process.wait()
        world.run(OSPROXY, "cleanup")
        # Without another run.
        self.assertEqual(query(self.path, "--count"), "4\n")
        self.assertEqual(query(self.path, "--count", "interrupted"), "1\n")
        self.assertEqual(query(self.path, "--count", "live"), "0\n")
        found, = entries_of(query(self.path, "interrupted", "-f", "har"))
        self.assertEqual((found["request"]["url"], found["_osproxy"]["state"]), ("http://192.0.2.2:8080/hanging", "interrupted"))
        self.assertRegex(query(self.path, "interrupted"), r"GET http://192\.0\.2\.2:8080/hanging → no response ✗ interrupted: osproxy ended before it did\n")
        self.assertEqual(found["response"]["_error"], "interrupted: osproxy ended before it did")
        self.assertEqual(query(self.path, "interrupted", "--fields", "error"), "error\ninterrupted: osproxy ended before it did\n")
        world.run(OSPROXY, "exec", "--ca-dir", world.ca_dir, "--save", self.path, "--", "true")
        self.assertEqual(self.files(), ["s.osp"])
        self.assertEqual(query(self.path, "--count"), "4\n")
        self.assertIn("GET http://192.0.2.2:8080/hanging", query(self.path, "~q"))

    def test_the_script_that_an_interpreter_runs(self):
        """What selects a program for a run finds it in the session, and names it in the text."""
        script = f"{self.directory}/fetcher.py"
        with open(script, "w", encoding="utf-8") as file:
            file.write("import urllib.request; urllib.request.urlopen('http://192.0.2.2/').read()")
        with Osproxy(world, "=fetcher.py", "--save", self.path, "--bodies", "10") as osproxy:
            world.run("/usr/bin/python3", script)
            osproxy.wait_for_flow(type="http")
        for words in ("~p fetcher", "~p ^fetcher.py$", "process.name == fetcher.py", "process == fetcher.py", f"process == {script}", "process.name ~= python3"):
            self.assertEqual(query(self.path, "--count", words), "1\n", words)
        self.assertEqual(query(self.path, "--count", "process.name == npm"), "0\n")
        self.assertRegex(query(self.path), r" python3\S* fetcher\.py\[\d+\] GET http://")

    def test_a_disk_that_gets_full(self):
        """Bodies go first, the traffic never."""
        run("mount", "-t", "tmpfs", "-o", "size=70m", "none", self.directory)
        self.addCleanup(run, "umount", self.directory)
        with Osproxy(world, "curl", "--save", self.path) as osproxy:
            for _ in range(3):
                world.curl("http://one.test/files/big", "-o", "/dev/null")
                with open(f"{self.directory}/other", "ab") as file:
                    file.write(bytes(3 << 20))
                time.sleep(1.2)
            wait_for(lambda: "bodies are no longer stored; the traffic goes on" in osproxy.stderr(), "the line")
            self.assertEqual(world.curl("http://one.test/").stdout, "hello from one.test\n")
            wait_for(lambda: query(self.path, "--count") == "4\n", "the flow without its body")
        self.assertEqual(query(self.path, "--count", 'resp.body contains "hello"'), "0\n")

    def test_mitmproxy_reads_what_we_write(self):
        with Osproxy(world, "curl", "--save", self.path) as osproxy:
            world.curl("https://one.test/", "-d", "a=1")
            osproxy.wait_for_flow(type="http")
        flows = f"{self.directory}/flows.mitm"
        with open(flows, "wb") as file:
            subprocess.run([OSPROXY, "query", self.path, "-f", "mitm", "--mitm-version", "17"], stdout=file, check=True)
        shown = subprocess.run(["mitmdump", "-nr", flows], capture_output=True, text=True, check=True).stdout
        self.assertIn("POST https://one.test/", shown)
        script = "import sys; from mitmproxy.io import FlowReader; f, = FlowReader(open(sys.argv[1], 'rb')).stream(); print(f.server_conn.certificate_list[0].cn)"
        self.assertEqual(subprocess.run(["/usr/bin/python3", "-c", script, flows], capture_output=True, text=True, check=True).stdout, "one.test\n")
        self.assertEqual(query(flows, "--count", "~m POST & ~bq a=1"), "1\n")

    def test_import(self):
        """What one session has goes through each format into another one; damage is named, and the rest is taken."""
        with Osproxy(world, "curl", "--save", self.path) as osproxy:
            for host in ("one.test", "two.test"):
                world.curl(f"https://{host}/", "-d", "a=1")
            osproxy.wait_for_flows(2, type="http")
        files = []
        for form in ("har", "mitm", "jsonl"):
            files.append(f"{self.directory}/flows.{form}")
            with open(files[-1], "wb") as file:
                subprocess.run([OSPROXY, "query", self.path, "-f", form, "-b", "1M"], stdout=file, check=True)
        other = f"{self.directory}/other.osp"
        result = world.run(OSPROXY, "import", *files, self.path, "--save", other)
        self.assertEqual((result.stdout, result.stderr), (f"added 8 flows to {other}\n", ""))
        self.assertEqual(os.stat(other).st_mode & 0o7777, 0o600)
        self.assertEqual(query(other, "--count", "~m POST & ~p curl & ~d two & ~bq a=1"), "4\n")
        os.truncate(files[1], os.path.getsize(files[1]) - 10)
        result = world.run(OSPROXY, "import", files[1], "--save", other, check=False)
        self.assertEqual((result.returncode, result.stdout), (1, f"added 1 flow to {other}\n"))
        self.assertIn(f"osproxy: {files[1]}: ", result.stderr)
        fresh = f"{self.directory}/fresh.osp"
        result = world.run(OSPROXY, "import", files[0], f"{self.directory}/none", "--save", fresh, check=False)
        self.assertEqual((result.returncode, os.path.exists(fresh)), (1, False))
        for words, text in ((["x.har"], "import needs a session"), (["--save", other], "import needs a file")):
            result = world.run(OSPROXY, "import", *words, check=False)
            self.assertEqual(result.returncode, 2)
            self.assertIn(text, result.stderr)

    def test_errors(self):
        def error(*words, code=1):
            result = world.run(OSPROXY, "query", *words, check=False)
            self.assertEqual((result.returncode, result.stdout), (code, ""))
            return result.stderr
        self.assertEqual(error(f"{self.directory}/none"), f"osproxy: cannot open {self.directory}/none: No such file or directory\n")
        with Osproxy(world, "curl", "--save", self.path):
            pass
        self.assertEqual(error(self.path, "~c 40x", code=2),
                         "osproxy: FILTER: found '40x', expected a status such as 404, 4xx, 500-599 or >=400; did you mean 4xx?\n"
                         "osproxy:   ~c 40x\nosproxy:      ^^^\n")
        self.assertIn("expected content_type, duration, error, host,", error(self.path, "--sort", "x", code=2))
        self.assertIn("query needs a file", error(code=2))
        self.assertIn(f"; FILE comes first: osproxy query {self.path} FILTER\n", error("~c 404", self.path))
        self.assertIn("osproxy query --list-fields lists all operators", error(self.path, "~zz", code=2))
        self.assertIn("quote the filter: 'a b'", error(self.path, "a", "b", code=2))
        self.assertIn("--sort: ", error("/etc/passwd", "--sort", "time"))
        self.assertTrue(error("/etc/passwd").startswith("osproxy: /etc/passwd: "))


if __name__ == "__main__":
    main()
