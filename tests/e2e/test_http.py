"""HTTP/1 between real programs and scripted peers: framing, interim answers, upgrades, and what is refused."""
import base64
import select
import subprocess
import time
import unittest

from harness import PATIENCE, Osproxy, World, main

world = None
PORTS = ["--ports", "80,443,8000-8010"]

# Answers each connection with the bytes given for its path; keeps what it was sent, which /last returns.
ORIGIN = r"""
import socket, threading
ANSWERS = {
  "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5;ext=1\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 11\r\n\r\n",
  "eof": b"HTTP/1.1 200 OK\r\n\r\nuntil the end",
  "old": b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\nold",
  "bytes": b"HTTP/1.1 200 OK\r\nX-Odd: \xff\xfe\r\nx-CASE: Kept\r\nContent-Length: 0\r\n\r\n",
  "upgrade": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n",
  "garbage": b"this is not HTTP at all\r\n\r\n",
  "smuggle": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
  "twolengths": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
  "names": b"HTTP/1.1 200 OK\r\nSecured by X : y\r\ncache -control: x\r\nno colon\r\nX-Low: \x01\x1b[2J\r\nContent-Length: 2\r\n\r\nok",
  "icy": b"ICY 200 OK\r\nicy-name: radio\r\n\r\nmusic",
  "low": b"HTTP/1.1 099 Low\r\nContent-Length: 3\r\n\r\nlow",
  "early": b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
}
last = b""
def serve(c):
    global last
    got = b""
    while b"\r\n\r\n" not in got:
        more = c.recv(65536)
        if not more: return c.close()
        got += more
    path = got.split(b" ")[1][1:].decode()
    if path == "last":
        c.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(last) + last)
    else:
        last = got
        c.sendall(ANSWERS.get(path, b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n"))
    if path == "upgrade":
        while (more := c.recv(65536)): c.sendall(more)
    c.close()
s = socket.create_server(("0.0.0.0", 8000)); print(1, flush=True)
while True: threading.Thread(target=serve, args=(s.accept()[0],)).start()
"""
UPLOAD = """
import http.server
class H(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_PUT(self):
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            body = b""
            while (n := int(self.rfile.readline(), 16)): body += self.rfile.read(n); self.rfile.readline()
            self.rfile.readline()
        else: body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(201); self.send_header("Content-Length", "0"); self.send_header("X-Got", str(len(body))); self.end_headers()
    def log_message(self, *a): pass
s = http.server.ThreadingHTTPServer(("0.0.0.0", 8001), H); print(1, flush=True); s.serve_forever()
"""
# Asked for /poll it thinks, asked for /stream it has begun; tells when it was asked, and when the program has left.
PATIENT = r"""
import socket
s = socket.create_server(("0.0.0.0", 8002)); print("ready", flush=True)
while True:
    c, _ = s.accept(); got = b""
    while b"\r\n\r\n" not in got: got += c.recv(65536)
    if got.startswith(b"GET /stream"): c.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: 1\n\n")
    print("asked for", "h2c" if b"\r\nUpgrade: h2c\r\n" in got else "an answer", flush=True)
    try: c.recv(65536)
    except OSError: pass
    print("left", flush=True); c.close()
"""
# Answers an upload when it has seen some of it, and closes: what comes after draws a reset.
UNWILLING = r"""
import socket
s = socket.create_server(("0.0.0.0", 8003)); print(1, flush=True)
while True:
    c, _ = s.accept(); c.recv(20000)
    c.sendall(b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Length: 3\r\n\r\nno\n"); c.close()
"""
# Looks for an answer once it can send no more, which curl does not always do.
UPLOADER = r"""
import socket
s = socket.create_connection(("192.0.2.2", 8003), 20)
s.sendall(b"PUT /up HTTP/1.1\r\nHost: a\r\nContent-Length: 50000000\r\n\r\n")
try:
    while True: s.sendall(bytes(65536))
except OSError: pass
print(s.recv(65536).split(b"\r\n")[0].decode())
"""
# Each answer is cut short by the end of the connection.
CUT = r"""
import socket, threading
CUTS = {
  b"length": b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
  b"chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nhalf",
  b"chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nhalf\r\n",
  b"head": b"HTTP/1.1 200 OK\r\nContent-Le",
  b"close": b"HTTP/1.0 200 OK\r\n\r\nhalf",
}
s = socket.create_server(("0.0.0.0", 8004)); print(1, flush=True)
while True:
    c, _ = s.accept(); got = b""
    while b"\r\n\r\n" not in got: got += c.recv(65536)
    c.sendall(CUTS[got.split(b" ")[1][1:]]); c.close()
"""
# Takes the connection over, as Docker does: lines come back in capitals. /last ends when the program has ended, /first before.
ATTACH = r"""
import socket, threading
def serve(c):
    f = c.makefile("rwb", buffering=0)
    path = f.readline().split()[1]
    while f.readline() != b"\r\n": pass
    f.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n")
    for line in f:
        f.write(line.upper())
        if path == b"/first" and line == b"bye\n": break
    if path == b"/first":
        c.shutdown(socket.SHUT_WR)
        print("behind its end:", f.read().decode().strip(), flush=True)
    else:
        f.write(b"ended\n")
    c.close()
s = socket.create_server(("0.0.0.0", 8005)); print("ready", flush=True)
while True: threading.Thread(target=serve, args=(s.accept()[0],)).start()
"""
ATTACHED = r"""
import socket, sys
path, more = sys.argv[1:]
s = socket.create_connection(("192.0.2.2", 8005), 60); f = s.makefile("rwb", buffering=0)
f.write(f"POST {path} HTTP/1.1\r\nHost: docker\r\n{more}Content-Length: 0\r\n\r\n".encode())
while f.readline() != b"\r\n": pass
for line in (b"ls\n", b"GET / HTTP/1.1\n", b"\x00\xff\n", b"bye\n"):
    f.write(line); print(f.readline())
if path == "/first": print("end:", f.read()); f.write(b"still here\n")
s.shutdown(socket.SHUT_WR); print("rest:", f.read())
"""


def setUpModule():
    global world, patient, attach
    world = World()
    for script in (ORIGIN, UPLOAD, UNWILLING, CUT):
        world.python(script, where=world.origin, stdout=subprocess.PIPE).stdout.readline()
    patient = world.python(PATIENT, where=world.origin, stdout=subprocess.PIPE).stdout
    patient.readline()
    attach = world.python(ATTACH, where=world.origin, stdout=subprocess.PIPE).stdout
    attach.readline()


def tearDownModule():
    world.close()


def talk(data, port=8000, host="192.0.2.2"):
    """Everything a raw client gets back for `data`."""
    script = ("import socket, sys; s = socket.create_connection((sys.argv[1], int(sys.argv[2])), 60); s.sendall(sys.stdin.buffer.read());"
              " out = b''\n"
              "try:\n while (more := s.recv(65536)): out += more\nexcept OSError as e: print(e.__class__.__name__, file=sys.stderr)\n"
              "sys.stdout.buffer.write(out)")
    result = subprocess.run(world.inside(["/usr/bin/python3", "-c", script, host, str(port)]), input=data, capture_output=True, timeout=PATIENCE * 4)
    return result.stdout


class Answers(unittest.TestCase):
    def test_bytes_pass_unchanged(self):
        """The same request with and without osproxy: the same bytes arrive, in both directions."""
        request = b"GET /%s HTTP/1.1\r\nhOsT: a\r\nX-B: 2\r\nx-a:  1 \r\nX-Odd: \xff\xfe\r\nX-B: 3\r\n\r\n"
        for path in (b"chunked", b"eof", b"old", b"bytes", b"early", b"names", b"icy", b"low"):
            direct = talk(request % path), talk(b"GET /last HTTP/1.1\r\n\r\n")
            with Osproxy(world, "python", *PORTS) as osproxy:
                answer = talk(request % path)
                flow = osproxy.wait_for_flow(type="http")
            self.assertEqual((path, answer), (path, direct[0]))
            self.assertEqual(talk(b"GET /last HTTP/1.1\r\n\r\n"), direct[1], path)
            self.assertIsNone(flow["error"], path)
            self.assertEqual([name for name, _ in flow["request_headers"]], ["hOsT", "X-B", "x-a", "X-Odd", "X-B"])

    def test_flows_of_framings(self):
        cases = {"chunked": 11, "eof": 13, "old": 3, "early": 2}
        with Osproxy(world, "curl", *PORTS) as osproxy:
            for path, size in cases.items():
                world.curl(f"http://192.0.2.2:8000/{path}")
                self.assertEqual(osproxy.wait_for_flow(url=f"http://192.0.2.2:8000/{path}")["response_bytes"], size, path)

    def test_head_204_302_and_keep_alive(self):
        with Osproxy(world, "curl") as osproxy:
            world.curl("https://one.test/", "-I", trust="osproxy")
            world.curl("https://one.test/nothing", "--next", "-sS", "--cacert", world.trusting("osproxy"), "--resolve", "one.test:443:192.0.2.2",
                       "-L", "https://one.test/moved", trust="osproxy")
            flows = osproxy.wait_for_flows(4, type="http")
        self.assertEqual(sorted((flow["method"], flow["status"]) for flow in flows), [("GET", 200), ("GET", 204), ("GET", 302), ("HEAD", 200)])

    def test_uploads_with_expect_and_chunks(self):
        path = f"{world.dir}/upload"
        with open(path, "wb") as file:
            file.write(b"x" * 3_000_000)
        with Osproxy(world, "curl", *PORTS) as osproxy:
            for options in (["-H", "Expect: 100-continue"], ["-H", "Transfer-Encoding: chunked"], ["-H", "Expect:"]):
                answer = world.curl("http://192.0.2.2:8001/up", "-T", path, "-D", "-", *options)
                self.assertIn("X-Got: 3000000", answer.stdout)
            for flow in osproxy.wait_for_flows(3, method="PUT"):
                self.assertEqual((flow["status"], flow["request_bytes"]), (201, 3000000))

    def test_upgrade_becomes_raw(self):
        with Osproxy(world, "python", *PORTS) as osproxy:
            script = ("import socket; s = socket.create_connection(('192.0.2.2', 8000), 60); f = s.makefile('rwb', buffering=0);"
                      "f.write(b'GET /upgrade HTTP/1.1\\r\\nHost: a\\r\\nUpgrade: echo\\r\\nConnection: Upgrade\\r\\n\\r\\n')\n"
                      "while f.readline() != b'\\r\\n': pass\nf.write(b'\\x00\\xffraw\\n'); print(f.readline())")
            self.assertEqual(world.run("/usr/bin/python3", "-c", script).stdout, "b'\\x00\\xffraw\\n'\n")
            self.assertEqual(osproxy.wait_for_flow(type="http")["status"], 101)

    def test_a_program_that_takes_over_the_connection_is_heard(self):
        """docker attach without an upgrade, and with one that the server does not answer to."""
        for path in ("/last", "/first"):
            for more in ("", "Connection: Upgrade\r\nUpgrade: tcp\r\n"):
                with self.subTest(path=path, upgrade=bool(more)):
                    script = ["/usr/bin/python3", "-c", ATTACHED, path, more]
                    direct = world.run(*script).stdout
                    heard = attach.readline() if path == "/first" else None
                    with Osproxy(world, "python", *PORTS, "--bodies", "1k") as osproxy:
                        self.assertEqual(world.run(*script).stdout, direct)
                        if path == "/first":
                            self.assertEqual(attach.readline(), heard)
                        flow = osproxy.wait_for_flow(type="http", event="end")
                        self.assertEqual(osproxy.flows(type="http", event="start")[0]["id"], flow["id"])
                    said = b"ls\nGET / HTTP/1.1\n\x00\xff\nbye\n" + (b"still here\n" if path == "/first" else b"")
                    self.assertEqual((flow["status"], flow["error"], flow["request_bytes"]), (200, None, len(said)))
                    self.assertEqual(base64.b64decode(flow["request_body"]), said)

    def test_empty_lines_before_a_request_and_a_long_one(self):
        with Osproxy(world, "python") as osproxy:
            for start, path in ((b"\r\n\r\n", b"empty"), (b"", b"long?" + b"x" * 70000)):
                answer = talk(start + b"GET /%s HTTP/1.1\r\nHost: one.test\r\nConnection: close\r\n\r\n" % path, port=80)
                self.assertTrue(answer.startswith(b"HTTP/1.1 "), answer)
                flow = osproxy.wait_for_flow(url=f"http://one.test/{path.decode()}")
                self.assertEqual(str(flow["status"]).encode(), answer.split(b" ")[1])

    def test_pipelined_requests_are_answered_in_order(self):
        requests = b"".join(b"GET /%d HTTP/1.1\r\nHost: one.test\r\n\r\n" % i for i in range(99)) + b"GET /99 HTTP/1.1\r\nHost: one.test\r\nConnection: close\r\n\r\n"
        with Osproxy(world, "python") as osproxy:
            self.assertEqual(talk(requests, port=80).count(b"HTTP/1.1 200 OK\r\n"), 100)
            flows = osproxy.wait_for_flows(100, type="http")
        self.assertEqual([flow["url"] for flow in flows], [f"http://one.test/{i}" for i in range(100)])


class Ends(unittest.TestCase):
    def told(self, seconds):
        """The next line of PATIENT."""
        return patient.readline().decode().strip() if select.select([patient], [], [], seconds)[0] else "nothing"

    def test_server_hears_of_a_program_that_leaves_while_its_upgrade_is_open(self):
        """curl --http2 asks for h2c with every plain request."""
        with Osproxy(world, "curl", *PORTS) as osproxy:
            for path in ("poll", "stream"):
                curl = world.spawn(["curl", "-sS", "-N", "--http2", f"http://192.0.2.2:8002/{path}"])
                self.assertEqual(self.told(30), "asked for h2c")
                time.sleep(0.2)
                curl.kill()
                self.assertEqual((path, self.told(2)), (path, "left"))
                flow = osproxy.wait_for_flow(url=f"http://192.0.2.2:8002/{path}")
                # A stream has no length: the server's end makes it whole.
                self.assertEqual("the program closed its side" in (flow["error"] or ""), path == "poll")

    def test_answer_to_an_upload_arrives_before_the_reset(self):
        with Osproxy(world, "python", *PORTS) as osproxy:
            for number in range(1, 21):
                result = world.run("/usr/bin/python3", "-c", UPLOADER, check=False)
                self.assertEqual(result.stdout, "HTTP/1.1 413 Too Large\n", result.stderr)
                self.assertEqual(osproxy.wait_for_flows(number, method="PUT")[-1]["status"], 413)

    def test_answers_that_are_cut_short_look_as_they_do_without_osproxy(self):
        script = ("import sys, urllib.request\ntry: print(urllib.request.urlopen(sys.argv[1]).read())\n"
                  "except Exception as error: print(type(error).__name__)")
        paths = {"length": 18, "chunk": 18, "chunks": 18, "head": None, "close": 0}

        def seen(path):
            url = f"http://192.0.2.2:8004/{path}"
            return world.curl(url, check=False).returncode, world.run("/usr/bin/python3", "-c", script, url).stdout
        direct = {path: seen(path) for path in paths}
        with Osproxy(world, "curl,python", *PORTS) as osproxy:
            for path, code in paths.items():
                answer = seen(path)
                flow = osproxy.wait_for_flow(url=f"http://192.0.2.2:8004/{path}")
                self.assertEqual(flow["error"] is None, path == "close")
                if code is None:  # no answer yet: here osproxy has one
                    self.assertEqual(flow["status"], 502)
                    continue
                self.assertEqual((path, answer), (path, direct[path]))
                self.assertEqual((path, answer[0]), (path, code))


class Malformed(unittest.TestCase):
    def test_requests_that_are_refused_and_never_forwarded(self):
        head = b"POST / HTTP/1.1\r\nHost: one.test\r\n"
        cases = {
            "CL and TE": head + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG",
            "two lengths": head + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
            "space before colon": head + b"Content-Length : 5\r\n\r\nhello",
            "odd coding": head + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
            "folded coding": head + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
            "hidden length": head + b"X-A: 1\r\n Content-Length: 3\r\n\r\nabc",
            "length behind no field": head + b"no colon\r\nContent-Length: 3\r\n\r\nabc",
            "negative length": head + b"Content-Length: -1\r\n\r\n",
            "NUL": head + b"X-A: a\x00b\r\n\r\n",
        }
        with Osproxy(world, "python,curl") as osproxy:
            before = len(world.access_log())
            for number, (name, data) in enumerate(cases.items(), 1):
                answer = talk(data, port=80)
                self.assertTrue(answer.startswith(b"HTTP/1.1 400 "), f"{name}: {answer}")
                flows = osproxy.wait_for_flows(number, type="http")
                self.assertIn("malformed", flows[-1]["error"], name)
                self.assertEqual(base64.b64decode(flows[-1]["refused"]), data, name)
            world.curl("http://one.test/alive")
            osproxy.wait_for_flow(url="http://one.test/alive")
        self.assertEqual([line for line in world.access_log()[before:] if "alive" not in line], [])

    def test_odd_requests_are_the_servers_to_judge(self):
        for line in (b"X-A: 1\r\n 2", b": x", b"no colon", b"X A : 1", b"X-A: \x01"):
            data = b"GET /odd HTTP/1.1\r\nHost: one.test\r\nConnection: close\r\n%s\r\n\r\n" % line
            direct = talk(data, port=80).split(b"\r\n")[0]
            with Osproxy(world, "python") as osproxy:
                self.assertEqual((line, talk(data, port=80).split(b"\r\n")[0]), (line, direct))
                flow = osproxy.wait_for_flow(type="http")
            self.assertEqual((flow["status"], flow["error"]), (int(direct.split()[1]), None), line)

    def test_a_body_that_goes_bad_half_way_ends_in_a_reset(self):
        data = b"PUT /up HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nfffffffffffffffff\r\n"
        with Osproxy(world, "python", *PORTS) as osproxy:
            self.assertNotIn(b" 201 ", talk(data, port=8001))
            self.assertIn("malformed", osproxy.wait_for_flow(type="http")["error"])

    def test_answers_that_are_refused(self):
        with Osproxy(world, "curl", *PORTS) as osproxy:
            for path in ("smuggle", "twolengths"):
                answer = world.curl(f"http://192.0.2.2:8000/{path}", "-o", "/dev/null", "-w", "%{http_code}")
                self.assertEqual((path, answer.stdout), (path, "502"))
                flow = osproxy.wait_for_flow(url=f"http://192.0.2.2:8000/{path}")
                self.assertTrue(flow["error"], path)
                self.assertIn(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n", base64.b64decode(flow["refused"]))
            world.curl("http://one.test/alive")

    def test_what_is_not_HTTP_arrives(self):
        direct = talk(b"GET /garbage HTTP/1.1\r\n\r\n")
        with Osproxy(world, "python", *PORTS, "--bodies", "1k") as osproxy:
            self.assertEqual(talk(b"GET /garbage HTTP/1.1\r\n\r\n"), direct)
            flow = osproxy.wait_for_flow(type="http")
        self.assertEqual((flow["status"], flow["error"]), (None, "the server's answer is not HTTP"))
        self.assertEqual(base64.b64decode(flow["response_body"]), direct)


if __name__ == "__main__":
    main()
