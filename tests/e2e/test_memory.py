"""Bodies of any size stream through: broker and worker together stay under 64 MiB."""
import re
import subprocess
import unittest

from harness import ASAN, Osproxy, World, main, wait_for
from test_http2 import NGINX_H2

world = None
GIB = 1 << 30
LIMIT_KIB = 64 << 10
H2_PORT, FLOOD_PORT, LATE_PORT = 9643, 8002, 8003

# Takes uploads on 8000 (says how much came), sends argv[1] bytes to who asks on 8001.
ORIGIN = """
import http.server, sys, threading
class Sink(http.server.BaseHTTPRequestHandler):
    def do_PUT(self):
        left = int(self.headers["Content-Length"]); total = 0
        while total < left: total += len(self.rfile.read1(min(1 << 20, left - total)))
        self.send_response(200); self.end_headers(); self.wfile.write(b"%d" % total)
    def do_GET(self):
        size = int(self.path[1:]); block = bytes(1 << 20)
        self.send_response(200); self.send_header("Content-Length", str(size)); self.end_headers()
        for _ in range(size >> 20): self.wfile.write(block)
    def log_message(self, *a): pass
s = http.server.ThreadingHTTPServer(("0.0.0.0", 8000), Sink); print(1, flush=True); s.serve_forever()
"""

# HTTP/2 by hand, for what no real program does. As a server (argv[1]: where) it acknowledges what must be, and says in the body of what it
# answers at last how many frames of each type came. As a client (argv[1:3]: where to) it begins and resets 100,000 streams, pings 100,000
# times, and asks for that.
FLOOD = """
import socket, sys, threading
def frame(kind, flags, stream, payload=b""): return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload
def frames(connection):
    file = connection.makefile("rb")
    while len(head := file.read(9)) == 9: yield head[3], head[4], int.from_bytes(head[5:], "big"), file.read(int.from_bytes(head[:3], "big"))
MANY, GET, ASK = 100000, bytes([0x82, 0x86, 0x84, 0x01, 1]) + b"a", bytes([0x82, 0x86, 0x85, 0x01, 1]) + b"a"
def serve(port):
    listener = socket.create_server(("0.0.0.0", port)); print(1, flush=True)
    while True:
        connection, _ = listener.accept()
        connection.recv(24, socket.MSG_WAITALL); connection.sendall(frame(4, 0, 0))
        came = {}
        for kind, flags, stream, payload in frames(connection):
            came[kind] = came.get(kind, 0) + 1
            if kind == 6: connection.sendall(frame(6, 1, 0, payload))
            if kind == 4 and flags == 0: connection.sendall(frame(4, 1, 0))
            if kind == 1 and payload == ASK: connection.sendall(frame(1, 4, stream, bytes([0x88])) + frame(0, 1, stream, repr(came).encode()))
def ask(host, port):
    connection = socket.create_connection((host, int(port)), 60)
    connection.sendall(b"PRI * HTTP/2.0\\r\\n\\r\\nSM\\r\\n\\r\\n" + frame(4, 0, 0))
    def talk():
        connection.sendall(frame(4, 1, 0))
        for at in range(0, MANY, 1000):
            connection.sendall(b"".join(frame(1, 5, 2 * i + 1, GET) + frame(3, 0, 2 * i + 1, bytes([0, 0, 0, 8])) for i in range(at, at + 1000)))
        for at in range(0, MANY, 1000): connection.sendall(frame(6, 0, 0, bytes(8)) * 1000)
        connection.sendall(frame(1, 5, 2 * MANY + 1, ASK))
    pongs = 0
    for kind, flags, stream, payload in frames(connection):
        if kind == 4 and flags == 0: threading.Thread(target=talk, daemon=True).start()
        pongs += kind == 6
        if kind == 0: print(pongs, payload.decode()); break
serve(int(sys.argv[1])) if len(sys.argv) == 2 else ask(*sys.argv[1:])
"""

# Answers when nothing has come for a moment, all at once.
LATE = """
import socket, sys, threading
def serve(connection):
    connection.settimeout(0.1)
    due, tail = 0, b""
    while True:
        try:
            got = connection.recv(1 << 20)
            if not got: break
            tail += got; due += tail.count(b"\\r\\n\\r\\n"); tail = tail[-3:] if not tail.endswith(b"\\r\\n\\r\\n") else b""
        except TimeoutError:
            connection.sendall(b"HTTP/1.1 204 No Content\\r\\n\\r\\n" * due); due = 0
listener = socket.create_server(("0.0.0.0", int(sys.argv[1]))); print(1, flush=True)
while True: threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"""
PIPELINED = """
import socket, sys, threading
MANY, HEAD = 64, b"GET / HTTP/1.1\\r\\nHost: a\\r\\nx: " + b"x" * 240000 + b"\\r\\n\\r\\n"
connections = [socket.create_connection((sys.argv[1], int(sys.argv[2])), 120) for _ in range(4)]
for connection in connections: threading.Thread(target=connection.sendall, args=(HEAD * MANY,), daemon=True).start()
def answers(connection):
    file = connection.makefile("rb"); count = 0
    while count < MANY: count += file.readline().startswith(b"HTTP/1.1 204")
    return count
print(*map(answers, connections))
"""


def setUpModule():
    global world
    world = World()
    world.python(ORIGIN, where=world.origin, stdout=subprocess.PIPE).stdout.readline()
    world.python(FLOOD, FLOOD_PORT, where=world.origin, stdout=subprocess.PIPE).stdout.readline()
    world.python(LATE, LATE_PORT, where=world.origin, stdout=subprocess.PIPE).stdout.readline()
    with open(f"{world.dir}/h2.conf", "w") as file:
        file.write(NGINX_H2.format(dir=world.dir, port=H2_PORT))
    world.spawn(["nginx", "-c", f"{world.dir}/h2.conf", "-g", "daemon off;"], where=world.origin)
    with open(f"{world.dir}/www/files/gib", "wb") as file:
        file.truncate(GIB)
    wait_for(lambda: h2_curl("/", check=False).returncode == 0, "nginx with HTTP/2")


def tearDownModule():
    world.close()


def h2_curl(path, *more, **options):
    return world.curl(f"https://192.0.2.2:{H2_PORT}{path}", "-m", "120", *more, **options)


def high_water_kib(*pids):
    return sum(int(re.search(r"VmHWM:\s+(\d+)", open(f"/proc/{pid}/status").read()).group(1)) for pid in pids)


@unittest.skipIf(ASAN, "ASan's own memory is far above the limit")
class Memory(unittest.TestCase):
    def check(self, osproxy, limit_kib=LIMIT_KIB):
        self.assertLess(high_water_kib(osproxy.broker(), osproxy.worker()), limit_kib)

    def test_one_gib_each_way(self):
        with open(f"{world.dir}/zeros", "wb") as file:
            file.truncate(GIB)
        with Osproxy(world, "curl", "--bodies", "64k") as osproxy:
            for target in ("http://192.0.2.2:8000", "https://192.0.2.2"):
                if target.startswith("http:"):
                    answer = world.curl(f"{target}/up", "-T", f"{world.dir}/zeros", "-m", "250", timeout=300, trust="osproxy")
                    self.assertEqual(answer.stdout, str(GIB))
                    self.assertEqual(osproxy.wait_for_flow(method="PUT")["request_bytes"], GIB)
                    answer = world.curl(f"{target}/{GIB}", "-o", "/dev/null", "-w", "%{size_download}", "-m", "250", timeout=300, trust="osproxy")
                else:
                    answer = world.curl(f"{target}/files/gib", "-o", "/dev/null", "-w", "%{size_download}", "-m", "250", timeout=300, trust="osproxy")
                self.assertEqual(answer.stdout, str(GIB))
            osproxy.wait_for_flows(2, method="GET", response_bytes=GIB)
            self.check(osproxy)

    def test_passed_connections(self):
        with Osproxy(world, "no-such-program", "--engine", "redirect") as osproxy:
            answer = world.curl(f"http://192.0.2.2:8000/{GIB}", "-o", "/dev/null", "-w", "%{size_download}", "-m", "250", timeout=300)
            self.assertEqual(answer.stdout, str(GIB))
            osproxy.wait_for_flow(type="pass")
            self.check(osproxy)

    def test_slow_reader(self):
        """40 programs that read slowly, each of a body of 64 MiB: what they do not take waits at the origin."""
        script = ("import socket, sys, time\ns = []\nfor _ in range(40):\n c = socket.create_connection(('192.0.2.2', 8000), 30); "
                  "c.sendall(b'GET /67108864 HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n'); s.append(c)\n"
                  "for _ in range(20):\n for c in s: c.recv(4096)\n time.sleep(0.1)\nprint('read')")
        with Osproxy(world, "python") as osproxy:
            self.assertEqual(world.run("/usr/bin/python3", "-c", script).stdout, "read\n")
            self.check(osproxy)

    def test_one_gib_over_http2(self):
        with Osproxy(world, "curl", "--bodies", "64k") as osproxy:
            answer = h2_curl("/files/gib", "-o", "/dev/null", "-w", "%{http_version} %{size_download}", trust="osproxy")
            self.assertEqual(answer.stdout, f"2 {GIB}")
            osproxy.wait_for_flow(method="GET", response_bytes=GIB)
            self.check(osproxy)

    def test_slow_readers_over_http2(self):
        """20 programs whose windows are open for 32 MiB each, and that read slowly."""
        slow = ("--limit-rate", "200k", "-o", "/dev/null", "-m", "5")
        with Osproxy(world, "curl", "--bodies", "64k") as osproxy:
            command = world.curl_command(f"https://192.0.2.2:{H2_PORT}/files/gib", *slow, trust="osproxy")
            programs = [world.spawn(command) for _ in range(20)]
            self.assertEqual([program.wait(60) for program in programs], [28] * 20)  # out of time
            self.check(osproxy)
            flows = osproxy.wait_for_flows(20, method="GET")
            self.assertEqual({f["http_version"] for f in flows}, {"2"})
            self.assertLess(sum(f["response_bytes"] for f in flows), 20 * (16 << 20))

    def test_pipelined_large_heads(self):
        """4 programs with 64 requests each of 240 KB, of a server that answers nobody as long as more of them come."""
        with Osproxy(world, "python") as osproxy:
            self.assertEqual(world.run("/usr/bin/python3", "-c", PIPELINED, "192.0.2.2", str(LATE_PORT)).stdout, "64 64 64 64\n")
            self.check(osproxy, LIMIT_KIB + (32 << 10))  # the flows that wait to be written
            osproxy.wait_for_flows(200, status=204)

    def test_floods_over_http2(self):
        """Streams that are reset at once, and pings: they concern the server, which gets them all."""
        with Osproxy(world, "python") as osproxy:
            said = world.run("/usr/bin/python3", "-c", FLOOD, "192.0.2.2", str(FLOOD_PORT)).stdout
            self.assertEqual(said, "100000 {4: 2, 1: 100001, 3: 100000, 6: 100000}\n")
            self.check(osproxy, LIMIT_KIB + (32 << 10))  # the flows that wait to be written
            wait_for(lambda: b'"status":200' in open(osproxy.flows_path, "rb").read(), "the flow of the answer")
            with open(osproxy.flows_path) as file:
                resets = sum("the program reset the stream: CANCEL" in line for line in file)
        lost = re.search(r"(\d+) events were not recorded", osproxy.stderr())
        self.assertEqual(resets + (int(lost.group(1)) if lost else 0), 100000)


if __name__ == "__main__":
    main()
