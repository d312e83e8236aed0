"""Bodies of any size stream through: broker and worker together stay under 64 MiB."""
import re
import subprocess
import unittest

from harness import ASAN, Osproxy, World, main

world = None
GIB = 1 << 30
LIMIT_KIB = 64 << 10

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


def setUpModule():
    global world
    world = World()
    world.python(ORIGIN, where=world.origin, stdout=subprocess.PIPE).stdout.readline()


def tearDownModule():
    world.close()


def high_water_kib(*pids):
    return sum(int(re.search(r"VmHWM:\s+(\d+)", open(f"/proc/{pid}/status").read()).group(1)) for pid in pids)


@unittest.skipIf(ASAN, "ASan's own memory is far above the limit")
class Memory(unittest.TestCase):
    def check(self, osproxy):
        self.assertLess(high_water_kib(osproxy.broker(), osproxy.worker()), LIMIT_KIB)

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
                    path = f"{world.dir}/www/files/gib"
                    with open(path, "wb") as file:
                        file.truncate(GIB)
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


if __name__ == "__main__":
    main()
