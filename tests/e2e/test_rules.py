"""Rules that change messages: what curl gets and what a real server sees, over TLS."""
import json
import os
import shutil
import subprocess
import tempfile
import unittest

from harness import NGINX, OSPROXY, Osproxy, World, main, run, wait_for

# Versions of HTTP that osproxy can change messages of.
VERSIONS = ["--http1.1", "--http2"]

world = None

# nginx before a server that says what it was asked.
CONFIG = NGINX.replace("listen 443 ssl backlog=4096;", "listen 443 ssl http2 backlog=4096;").replace(
    "location /nothing", "location /echo {{ proxy_pass http://127.0.0.1:9998; proxy_set_header Accept-Encoding $http_accept_encoding; }}\n    location /nothing")

ECHO = """
import gzip, http.server, json
class H(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        told = {"method": self.command, "path": self.path, "body": body, "fields": {k.lower(): v for k, v in self.headers.items()}}
        data = json.dumps(told).encode()
        coded = "gzip" in self.path
        if coded: data = gzip.compress(data)
        self.send_response(200); self.send_header("Content-Type", "application/json"); self.send_header("X-Server", "echo")
        self.send_header("Set-Cookie", "session=secret; Path=/"); self.send_header("Content-Length", str(len(data)))
        if coded: self.send_header("Content-Encoding", "gzip")
        self.end_headers(); self.wfile.write(data)
    do_GET = do_POST = do_PUT = answer
    def log_message(self, *a): pass
s = http.server.ThreadingHTTPServer(("127.0.0.1", 9998), H); print(1, flush=True); s.serve_forever()
"""


def setUpModule():
    global world
    world = World(nginx=CONFIG)
    echo = world.python(ECHO, where=world.origin, stdout=subprocess.PIPE)
    echo.stdout.readline()


def tearDownModule():
    world.close()


class Rules(unittest.TestCase):
    """Each in every version of HTTP."""

    def each(self, rules=None, options=()):
        """(version, osproxy, get): `get` is curl, and returns (status, fields, body)."""
        words = list(options)
        if rules is not None:
            path = f"{world.dir}/rules.json"
            with open(path, "w", encoding="utf-8") as file:
                json.dump({"rules": rules}, file)
            words += ["--config", path]
        for version in VERSIONS:
            with self.subTest(version=version), Osproxy(world, "curl", *words) as osproxy:
                def get(path, *more, check=True, version=version):
                    result = world.curl(f"https://one.test{path}", version, "-i", *more, check=check)
                    if result.returncode != 0:
                        return result.returncode, {}, result.stderr
                    head, body = result.stdout.split("\n\n", 1)
                    lines = head.splitlines()
                    return int(lines[0].split()[1]), {k.lower(): v for k, v in (line.split(": ", 1) for line in lines[1:])}, body
                yield osproxy, get

    def edited(self, osproxy, count=1):
        return [flow.get("edits") for flow in osproxy.wait_for_flows(count, type="http")]

    def test_fields_of_requests_and_responses(self):
        rules = [{"name": "in", "request": {"set_header": {"X-Added": "yes"}, "remove_header": "user-agent", "set_cookie": {"a": "1"},
                                            "set_query": {"q": "2 3"}}},
                 {"name": "out", "match": "~c 200", "response": {"set_header": {"X-Server": "rule"}, "status": 201, "remove_cookie": "session"}}]
        for osproxy, get in self.each(rules):
            status, fields, body = get("/echo?q=1&r=5")
            told = json.loads(body)
            self.assertEqual((status, fields["x-server"], fields.get("set-cookie")), (201, "rule", None))
            self.assertEqual((told["path"], told["fields"]["x-added"], told["fields"]["cookie"]), ("/echo?q=2%203&r=5", "yes", "a=1"))
            self.assertNotIn("user-agent", told["fields"])
            flow = osproxy.wait_for_flow(type="http")
            self.assertEqual(flow["edits"]["by"], ["in", "out"])
            self.assertEqual(flow["status"], 200)
            self.assertEqual(flow["edits"]["response"]["status"], 201)
            self.assertEqual(flow["url"], "https://one.test/echo?q=1&r=5")
            self.assertEqual(flow["edits"]["request"]["target"], "/echo?q=2%203&r=5")

    def test_bodies(self):
        rules = [{"name": "json", "match": "~u /echo", "request": {"json_merge": {"added": [1]}},
                  "response": {"replace_body": {"regex": "\"(method)\": \"(\\w+)\"", "with": "\"\\1\": \"\\2-ED\""}}}]
        for osproxy, get in self.each(rules):
            for path in ("/echo", "/echo/gzip"):
                status, fields, body = get(path, "-d", '{"a": 1}', "-H", "Content-Type: application/json", "--compressed")
                told = json.loads(body)
                self.assertEqual((status, told["method"], json.loads(told["body"])), (200, "POST-ED", {"a": 1, "added": [1]}))
                self.assertEqual(int(fields["content-length"]), len(body))
                self.assertNotIn("content-encoding", fields)
            self.assertEqual([edits["by"] for edits in self.edited(osproxy, 2)], [["json"], ["json"]])
            # What no rule changes passes as it came.
            self.assertEqual(get("/")[2], "hello from one.test\n")

    def test_answers_reach_no_server(self):
        # A symbolic link to another directory, of which the worker may read, too.
        path = f"{world.dir}/answer.json"
        elsewhere = tempfile.mkdtemp(prefix="osproxy-rules-")
        self.addCleanup(shutil.rmtree, elsewhere)
        os.chmod(elsewhere, 0o755)
        with open(f"{elsewhere}/answer.json", "w", encoding="utf-8") as file:
            file.write('{"mocked": true}')
        os.symlink(f"{elsewhere}/answer.json", path)
        self.addCleanup(os.unlink, path)
        rules = [{"name": "mock", "match": "~u /mock", "respond": {"file": path}},
                 {"name": "teapot", "match": "~u /tea", "respond": {"status": 418, "headers": {"X-Pot": "small"}, "body": "short\n"}},
                 {"name": "gone", "match": "~u /gone", "block": True}]
        for osproxy, get in self.each(rules):
            before = len(world.access_log())
            status, fields, body = get("/mock/x")
            self.assertEqual((status, fields["content-type"], json.loads(body)), (200, "application/json", {"mocked": True}))
            status, fields, body = get("/tea", "-d", "leaves")
            self.assertEqual((status, fields["x-pot"], body), (418, "small", "short\n"))
            self.assertIn(get("/gone", check=False)[0], (35, 52, 56, 92))
            self.assertEqual(len(world.access_log()), before)
            by = [(edits["by"], edits.get("answered")) for edits in self.edited(osproxy, 3)]
            self.assertEqual(by, [(["mock"], True), (["teapot"], True), (["gone"], None)])

    def test_mitmproxys_options(self):
        site = f"{world.dir}/site"
        os.makedirs(f"{site}/css", exist_ok=True)
        with open(f"{site}/css/a.css", "w", encoding="utf-8") as file:
            file.write("a { color: red }")
        options = ["--modify-headers", "/~q & ~u echo/X-Sent/one", "--modify-headers", "/~s/X-Server/", "--modify-body", "/~s & ~u echo/GET/GOT",
                   "--map-local", f"|~m GET|one.test/static|{site}", "--block-list", ":~u /ads:403", "--anticache", "--anticomp"]
        for osproxy, get in self.each(options=options):
            status, fields, body = get("/echo", "--compressed", "-H", "If-None-Match: x")
            told = json.loads(body)
            self.assertEqual((status, told["method"], told["fields"]["x-sent"], told["fields"]["accept-encoding"]), (200, "GOT", "one", "identity"))
            self.assertNotIn("if-none-match", told["fields"])
            self.assertNotIn("x-server", fields)
            self.assertEqual(get("/static/css/a.css")[1:], ({"content-type": "text/css", "content-length": "16"}, "a { color: red }"))
            self.assertEqual(get("/static/none")[0], 404)
            self.assertEqual((get("/ads/1")[0], get("/ads/1")[2]), (403, ""))
            # An editor writes a new file in the place of the old one.
            with open(f"{site}/css/new", "w", encoding="utf-8") as file:
                file.write("b")
            os.rename(f"{site}/css/new", f"{site}/css/a.css")
            self.assertEqual(get("/static/css/a.css")[2], "b")
            with open(f"{site}/css/a.css", "w", encoding="utf-8") as file:
                file.write("a { color: red }")

    def test_limits_and_delay(self):
        rules = [{"name": "once", "times": 1, "match": "~u /tea", "respond": {"status": 418}}, {"name": "slow", "match": "~u /slow", "delay": "700ms"}]
        for osproxy, get in self.each(rules):
            self.assertEqual([get("/tea")[0], get("/tea")[0]], [418, 200])
            self.assertEqual(get("/slow")[0], 200)
            flow = osproxy.wait_for_flow(url="https://one.test/slow")
            self.assertGreaterEqual(flow["duration_ms"], 700)
            self.assertEqual(flow["edits"], {"by": ["slow"]})


class Start(unittest.TestCase):
    """What is wrong is said at the start."""

    def refused(self, *words):
        result = world.run(OSPROXY, "exec", "--ca-dir", world.ca_dir, *words, "--", "true", check=False)
        self.assertNotEqual(result.returncode, 0)
        return result.stderr

    def test_errors(self):
        self.assertEqual(self.refused("--map-local", "|x|/nonexistent/d"), "osproxy: --map-local: /nonexistent/d: No such file or directory\n")
        self.assertIn("--block-list: expected /FILTER/STATUS", self.refused("--block-list", "x"))
        self.assertIn("--modify-body: expected a regular expression of RE2", self.refused("--modify-body", "/(/b"))
        path = f"{world.dir}/wrong.json"
        with open(path, "w", encoding="utf-8") as file:
            file.write('{"rules": [\n{"match": "~d a",\n "set_heder": {"a": "b"}}]}')
        with open(f"{world.dir}/gone.json", "w", encoding="utf-8") as file:
            file.write('{"rules": [{"name": "mock", "respond": {"file": "/nonexistent/x"}}]}')
        self.assertEqual(self.refused("--config", f"{world.dir}/gone.json"),
                         "osproxy: rule 'mock': respond.file: /nonexistent/x: No such file or directory\n")
        self.assertIn("--block-list: filter '~e': failed (~e) is known only when the flow has ended", self.refused("--block-list", "/~e/404"))
        self.assertIn(f"{path}:3: rules[0].set_heder: unknown key; did you mean set_header?", self.refused("--config", path))


class Text(unittest.TestCase):
    def test_marks(self):
        with Osproxy(world, "curl", "--block-list", "/~u ads/403", "--modify-headers", "/~q & ~u other/x/1", "--output",
                     f"{world.dir}/marks", jsonl=False):
            for path in ("/ads", "/other", "/none"):
                world.curl(f"https://one.test{path}", "--http1.1")
            def lines():
                with open(f"{world.dir}/marks", encoding="utf-8") as file:
                    return [line for line in file.read().splitlines() if "https://one.test" in line]
            wait_for(lambda: len(lines()) == 3, "three flows")
            ads, other, none = lines()
        self.assertTrue(ads.endswith(" answered by --block-list /~u ads/403"), ads)
        self.assertTrue(other.endswith(" edited by --modify-headers /~q & ~u other/x/1"), other)
        self.assertNotIn("edited", none)


class Stored(unittest.TestCase):
    def test_the_session_knows_what_was_changed(self):
        session = f"{world.dir}/edited.osp"
        with Osproxy(world, "curl", "--save", session, "--block-list", "/~u ads/403", "--modify-headers", "/~q & ~u other/x/1") as osproxy:
            for path in ("/ads", "/other", "/none"):
                world.curl(f"https://one.test{path}", "--http1.1")
            osproxy.wait_for_flows(3, type="http")
        for text, count in (("edited", 2), ("!edited", 1), ('edited.by contains "block-list"', 1), ("edited & ~c 403", 1)):
            self.assertEqual(run(OSPROXY, "query", session, text, "--count").stdout, f"{count}\n", text)
        flow = json.loads(run(OSPROXY, "query", session, "~u other", "-f", "jsonl").stdout)
        self.assertIn(["x", "1"], flow["edits"]["request"]["headers"])
        self.assertNotIn(["x", "1"], flow["request_headers"])


class DryRun(unittest.TestCase):
    def test_counts(self):
        session = f"{world.dir}/dry.osp"
        with Osproxy(world, "curl", "--save", session) as osproxy:
            for path in ("/a", "/ads/1", "/ads/2"):
                world.curl(f"https://one.test{path}", "--http1.1")
            osproxy.wait_for_flows(3, type="http")
        path = f"{world.dir}/dry.json"
        with open(path, "w", encoding="utf-8") as file:
            json.dump({"rules": [{"name": "mine", "match": "~u /a", "set_header": {"a": "b"}}, {"match": "~d two.test", "block": True}]}, file)
        result = run(OSPROXY, "rules", "--dry-run", session, "--config", path, "--block-list", "/~u ads/404")
        self.assertEqual(result.stdout.splitlines(), ["2  --block-list /~u ads/404", "3  mine", "0  rules[1]"])


if __name__ == "__main__":
    main()
